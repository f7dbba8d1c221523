"""How a network learns: optimizer, learning rate, loss scale, moving average, compilation."""
