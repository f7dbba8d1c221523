"""Many processes: how a batch is shared out, what ranks agree on, and how they wait for each other."""
