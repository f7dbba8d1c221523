"""The files of a run: its folder, and checkpoints that are complete or absent."""
