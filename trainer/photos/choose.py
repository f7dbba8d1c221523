"""Settings of `configs/my_photos.yaml` for a folder, a machine and a starting point."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.configs import FOLDER
from trainer.files.bounded_yaml import parsed
from trainer.images.listing import find_images
from trainer.mistakes import Mistake
from trainer.networks.loading.generators import open_generator, scale_of
from trainer.networks.loading.sections import section_of
from trainer.photos.defaults import LIKE

TEMPLATE, QUICKSTART = FOLDER / "my_photos.yaml", FOLDER / "quickstart.yaml"
ROOMY = 10.0
"""GiB of a GPU from which the larger network and patches fit."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The device that trains: cpu or cuda, GiB of memory of a GPU, and the number of processes."""

    kind: str
    memory: float
    processes: int


def machine_here(processes: int) -> Machine:
    """The device that this program would train on."""
    if not torch.cuda.is_available():
        return Machine("cpu", 0.0, processes)
    return Machine("cuda", torch.cuda.get_device_properties(0).total_memory / 2**30, processes)


def hold_out(photos: str) -> tuple[list[str], list[str]]:
    """The pictures below a folder to train on and those held out: one in ten, at least one and at most eight.

    Chosen by a hash of their names, so that more pictures in the folder change little.

    Raises:
        Mistake: the folder has one picture, or none.
    """
    names = list(find_images(photos, "PHOTOS"))
    if len(names) < 2:
        raise Mistake(f"PHOTOS: {photos!r} has one picture; it takes two at least, of which one measures the result.")
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    held_out = set(by_hash[: min(8, max(1, len(names) // 10))])
    return [name for name in names if name not in held_out], sorted(held_out)


def settings(
    photos: str, machine: Machine, scale: int | None, like: str, origin: str | None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """The template's tree with network, sizes, degradation and name; pictures and steps are still the template's.

    `overrides`, key=value, replace what is chosen later; options of the two-order degradation among them choose it.

    Raises:
        Mistake: the weights at `origin` cannot be opened, or are of another scale than `scale`.
    """
    tree: dict[str, Any] = parsed(TEMPLATE.read_text(encoding="utf-8"))
    tree["scale"] = scale or 4
    tree["degradation"] = degradation(tree["degradation"], machine, like, overrides)
    on_gpu, roomy = machine.kind == "cuda", machine.memory >= ROOMY
    if origin:
        tree |= start_from(origin, scale)
        tree["optimizer"]["learning_rate"] = 1e-4  # the network is good already
    elif on_gpu:
        tree["generator"] |= {"num_feat": 64, "num_conv": 32 if roomy else 16}
        tree["optimizer"]["learning_rate"] = 5e-4
    per_device = max(1, 16 // machine.processes)
    if on_gpu:
        side, per_device = (192, 24) if roomy else (128, 8)
        tree["gt_size"], tree["queue_size"] = side, 40 * per_device * machine.processes
        tree["images"] |= {"crop_size": 2 * side, "dataloader_num_workers": 4}
    tree["batch"] = {"global_size": per_device * machine.processes, "per_device": per_device}
    stem = re.sub(r"[^\w-]+", "_", Path(photos).resolve().name).strip("_-") or "my_photos"
    tree["name"] = f"{stem}_x{tree['scale']}" + "_tuned" * bool(origin)  # beside a run from scratch on the same folder
    return tree


def degradation(full: dict[str, Any], machine: Machine, like: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The degradation for a machine and a kind of pictures; `full` is the template's, of two orders.

    The minutes of a CPU are too few for it: after them the network smooths what is clean, and is below bicubic there.
    So photographs get the quickstart's, which has a share of clean inputs, and filters that antialias as those of most
    programs do. On a GPU `full` has fused kernels, which do not antialias.
    """
    if machine.kind == "cuda":
        return full | LIKE[like]
    if like == "photo" and not any(text.startswith("degradation.") for text in overrides):
        mild: dict[str, Any] = parsed(QUICKSTART.read_text(encoding="utf-8"))["degradation"]
        return mild
    return full | LIKE[like] | {"antialias": True}


def start_from(origin: str, scale: int | None) -> dict[str, Any]:
    """The scale, the generator's section and the initial weights of a network that somebody trained."""
    net = open_generator(origin, "--from")
    if scale is not None and scale != scale_of(net):
        raise Mistake(f"--scale: got {scale}; {origin} enlarges x{scale_of(net)}.")
    try:
        section = section_of(net)
    except ValueError as error:
        raise Mistake(f"--from: {origin} cannot be trained: {error}.") from error
    return {"scale": scale_of(net), "generator": section, "init": {"generator": str(origin)}}
