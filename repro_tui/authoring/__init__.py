"""For authors: makes a manifest from a project, pins what is loose in it, records it."""
