"""The configuration of a run: its schema, YAML and overrides, and what of it may be published."""
