"""Shared by all tasks: data, loop, determinism, metrics, emit."""
