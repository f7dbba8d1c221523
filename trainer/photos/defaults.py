"""Kinds of pictures and default durations; read for `--help` too, so nothing heavy is imported here."""

from typing import Any

MINUTES = {"cpu": 10.0, "cuda": 60.0}
"""By device: the minutes of a run if none are given."""
LIKE: dict[str, dict[str, Any]] = {
    "photo": {},
    "anime": {"noise_prob": 0.3, "noise_prob2": 0.3, "jpeg_range": [60, 100], "second_blur_prob": 0.6},
    "text": {"blur_sigma": [0.2, 2.0], "noise_range": [1, 8], "noise_range2": [1, 8], "resize_range": [0.7, 1.3]},
}
"""By kind of picture: the options of the degradation that differ from the template's."""
