"""The terminal UI: the only layer that knows Textual."""
