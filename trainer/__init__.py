"""wildsr: distributed training of blind super-resolution networks."""
