"""Optimization of a network: optimizer, learning rate, loss scale, moving average, compilation."""
