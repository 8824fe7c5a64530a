"""What a project folder tells about itself, read and never run."""
