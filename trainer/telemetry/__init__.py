"""What a run reports: figures, timings, warnings, trackers."""
