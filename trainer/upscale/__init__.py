"""Using a trained network: `python -m trainer.upscale`, and `Upscaler` in Python."""
