"""The operations in plain PyTorch: each draws its parameters for each sample, and applies them."""
