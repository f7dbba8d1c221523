"""The result in use: `python -m trainer.upscale`, and `Upscaler` in Python."""
