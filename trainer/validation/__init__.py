"""How good the result is: metrics and sheets of samples."""
