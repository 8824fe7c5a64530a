"""Signed statements about runs: an in-toto statement in a DSSE envelope (docs/signing.md)."""
