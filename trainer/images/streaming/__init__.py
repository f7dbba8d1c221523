"""Streamed Hugging Face datasets: shards, their order, and reading them in one forward pass."""
