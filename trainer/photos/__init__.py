"""From a folder of photographs to a configuration for this machine, as `wildsr train PHOTOS` trains by."""
