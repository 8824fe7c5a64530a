"""GPUs: what this host has, which of them a run gets, how each engine hands them on, and how they do."""
