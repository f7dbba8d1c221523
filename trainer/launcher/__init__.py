"""Start of a training on this machine: its processes, a check before they start, then `accelerate launch`."""
