"""Start of a training on this machine: its processes, a check before them, then forks or `accelerate launch`."""
