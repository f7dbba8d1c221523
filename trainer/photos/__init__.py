"""From a folder of photographs to a configuration for this machine, as `./launch/local.sh PHOTOS` trains by."""
