"""Views of validation pictures one by one: input, bicubic, result and ground truth, for a page that compares them.

samples/views/step-00012000/
    00/               a picture: lq.png, bicubic.png, result.png, gt.png if there is ground truth, and about.json,
                      with its `name`, the `note` on its degradation, `size` of the result, and `figures`
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trainer.checkpoints.names import step_name, step_of
from trainer.files.atomic import folder_atomically
from trainer.validation.sample_sheet import Bands, composite, image_of

SIDE = 512
"""Longest side of a result's view; of a larger picture it is the middle, at full resolution."""
ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Views:
    """One validation picture, viewed."""

    number: str
    """Its place in the order of the sheet, which names its folder."""
    name: str
    note: str
    """The degradation in words."""
    figures: Mapping[str, float]
    """Its metrics by name, those of bicubic with the ending `_bicubic`."""
    pictures: Mapping[str, Tensor]
    """By view, uint8 [3, H, W] on the CPU: lq, and as large as each other bicubic, result, gt."""


def views_of(
    pictures: Mapping[str, Tensor], scale: int, composites: Mapping[str, Bands] | None
) -> list[tuple[str, dict[str, Tensor]]]:
    """The middle of a picture's views, uint8 [3, h, w], for each composite of multi-band ones under its name.

    `pictures` are [C, H, W] by view, the last of them the one whose percentiles stretch all; `composites` is None for
    photographs, which are shown as they are.
    """
    whole = {name: picture.cpu() for name, picture in pictures.items()}
    if composites is None:
        made = [("", whole)]
    else:
        made = [
            (title, dict(zip(whole, composite(list(whole.values()), bands, _reference(list(whole))), strict=True)))
            for title, bands in composites.items()
        ]
    return [(title, _middle(shown, scale)) for title, shown in made]


def save_views(views: Views, folder: Path, step: int) -> None:
    """Write the views of a picture into its folder below `folder`, which is whole or absent; OSError if refused."""
    place = folder / step_name(step)
    place.mkdir(parents=True, exist_ok=True)
    height, width = views.pictures["result"].shape[1:]
    about = {"name": views.name, "note": views.note, "size": [width, height], "figures": dict(views.figures)}
    with folder_atomically(place / views.number) as aside:
        for name, picture in views.pictures.items():
            image_of(picture).save(aside / f"{name}.png")
        (aside / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def prune_views(folder: Path, kept: Collection[int]) -> None:
    """Remove the views of all steps but `kept`, and nothing that somebody else put there; OSError if refused."""
    for place in folder.iterdir() if folder.is_dir() else ():
        step = step_of(place.name)
        if step is not None and step not in kept:
            shutil.rmtree(place)


def _reference(names: Sequence[str]) -> int:
    """The index of the picture that stretches a composite: the ground truth, else the input."""
    return names.index("gt") if "gt" in names else names.index("lq")


def _middle(pictures: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
    """The same piece of all views, from the middle."""
    height, width = pictures["lq"].shape[1:]
    most = max(1, SIDE // scale)
    rows, columns = min(height, most), min(width, most)
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = {}
    for name, picture in pictures.items():
        times = 1 if name == "lq" else scale
        cut[name] = picture[:, times * top : times * (top + rows), times * left : times * (left + columns)]
    return cut
