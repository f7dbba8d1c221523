"""The formats in which pictures are read, everywhere in this project."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What `PIL.Image.open` is told. Pillow by itself tries over forty, and one of them, EPS, runs Ghostscript on whatever
a file holds, however it is named."""
