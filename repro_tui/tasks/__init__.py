"""What runs inside the container: one file a task; imports nothing of the host but `wire`."""
