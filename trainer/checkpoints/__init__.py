"""What a run leaves on the disk: its folder, and checkpoints that are complete or absent."""
