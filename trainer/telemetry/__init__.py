"""Reports of a run: metrics, timings, warnings, trackers."""
