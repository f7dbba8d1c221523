"""What the networks are made of: blocks, normalisations, upsamplers, initialisation."""
