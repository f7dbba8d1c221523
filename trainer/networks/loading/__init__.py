"""Loading weights: from files, runs, exports and the hub."""
