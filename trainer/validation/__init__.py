"""Validation during training: metrics and sheets of samples."""
