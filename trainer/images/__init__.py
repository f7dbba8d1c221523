"""Training and validation pictures: sources, order, decoding and crops, up to a batch in host memory."""
