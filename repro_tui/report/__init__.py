"""One report model, rendered as JSON and Markdown."""
