"""A run from its plan to its report: one file a stage."""
