"""Adversarial training: its configuration, its phases, and the pause of a discriminator that is winning."""
