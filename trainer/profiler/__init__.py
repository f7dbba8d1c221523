"""The time of a training step: `python -m trainer.profiler CONFIG` writes a table of its parts, and a trace."""
