"""Image formats that this project reads."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""The `formats` of every `PIL.Image.open`. By default Pillow tries over forty, and one of them, EPS, runs Ghostscript
on the content of a file, whatever its name."""
