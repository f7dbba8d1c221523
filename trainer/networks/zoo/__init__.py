"""Spandrel's super-resolution architectures as generators: facts on each, their configuration, and files of them."""
