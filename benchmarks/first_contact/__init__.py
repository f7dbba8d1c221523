"""First contact with a GPU: all checks and measurements of the trainer on one card, in ten parts by their value."""
