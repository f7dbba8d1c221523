"""What a run reports: metrics, timings, warnings, trackers."""
