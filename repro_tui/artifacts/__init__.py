"""Everything pinned by SHA-256: where it is looked for, how it is checked, where it is kept."""
