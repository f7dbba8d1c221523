"""Training pairs, made on the device: read, degraded, mixed through the pool."""
