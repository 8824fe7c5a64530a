"""Environment hash, metric checks, verdict."""
