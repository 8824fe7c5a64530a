"""One file a check; each finding has a remedy."""
