"""`repro-tui lock`: resolve and pin what is loose in a manifest, and find what is stale."""
