"""Why two results differ: what is not the same on two sides, the likeliest cause first (docs/explaining.md)."""
