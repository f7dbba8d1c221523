"""From a configuration to the parts of a model: processes, networks and their optimizers, losses, pairs."""
