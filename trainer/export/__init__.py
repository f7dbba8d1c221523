"""Export of a generator: files that other programs open, each compared with torch before it gets its name."""
