"""Parts of the networks: residual blocks, normalisations, upsamplers, initialisation."""
