"""Preparation of a data set: `python -m trainer.prepare SRC... DST` cuts photographs into tiles in parquet shards."""
