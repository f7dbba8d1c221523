"""Where pictures come from, in which order, and how they are cut: up to a batch in host memory."""
