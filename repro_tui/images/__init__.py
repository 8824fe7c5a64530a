"""Locks, assembly, OCI layout: the same locks give the same image digest on every machine."""
