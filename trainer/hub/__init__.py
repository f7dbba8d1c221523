"""A run on the model hub: repository, model card, and pushes that never stop the training."""
