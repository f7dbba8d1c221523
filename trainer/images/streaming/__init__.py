"""Hugging Face datasets that are streamed: shards, their order, one forward sweep."""
