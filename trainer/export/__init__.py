"""Handing a generator on: the files that other programs open, each compared with torch before it gets its name."""
