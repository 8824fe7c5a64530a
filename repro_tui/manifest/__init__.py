"""Manifests: models, loading, problems, pins."""
