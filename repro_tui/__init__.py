"""Rerun a published fine-tuning result from one pinned manifest and get a verdict."""

__version__ = "0.1.0"
