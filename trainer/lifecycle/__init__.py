"""From a configuration to a running experiment, and to its end: checks, construction, start, finish."""
