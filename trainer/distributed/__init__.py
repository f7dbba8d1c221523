"""Several processes: shares of a batch, decisions that all ranks take together, and waits with a limit."""
