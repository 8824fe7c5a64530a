"""One widget a file; each takes plain data and knows nothing of the app."""
