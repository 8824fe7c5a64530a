"""The run directory: written by one worker, read by everything else."""
