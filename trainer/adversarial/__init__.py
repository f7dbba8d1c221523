"""The adversarial game: its configuration, its phases, and how a winning discriminator is paused."""
