"""The operations, in plain PyTorch: each says what is drawn for a sample, and applies it."""
