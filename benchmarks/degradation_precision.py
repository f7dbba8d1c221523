"""Effect of keeping images in fewer bits between the stages of the two-order degradation.

    python benchmarks/degradation_precision.py [FOLDER] [--crops 48]

Photographs of scikit-image, or of a folder: crops of 400 x 400 by the reference on a CPU, ×4, sharpened; what a stage
returns is rounded to the format, but for JPEG, whose results are bytes. Steps of 2^-12 of a level stand for float32
itself with sums in another order, which are that far apart. The table is that of `degradations/fused/README.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from degradation_cuda import fused_bytes
from degradation_sides import SCALE, SIDE
from degradation_stages import reference_stages
from PIL import Image
from torch import Tensor

from degradations import Keys, SecondOrder, uniforms, usm_sharpen

Format = Callable[[Tensor], Tensor]
FORMATS: dict[str, Format] = {
    "steps of 2^-12 of a level": lambda x: (255 * 4096 * x).round() / 4096 / 255,
    "float16 of 0..255": lambda x: (255 * x).half().float() / 255,
    "float16 of 0..1": lambda x: x.half().float(),
    "bfloat16 of 0..255": lambda x: (255 * x).bfloat16().float() / 255,
}
NAMES = ("astronaut", "coffee", "rocket", "retina", "hubble_deep_field", "immunohistochemistry", "chelsea")


def photographs(folder: Path | None) -> list[np.ndarray]:
    """RGB pictures, uint8 [H, W, 3]."""
    if folder is not None:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        return [np.asarray(Image.open(file).convert("RGB")) for file in files[:: max(len(files) // 48, 1)]]
    from skimage import data

    return [getattr(data, name)() for name in NAMES]


def cut(photograph: np.ndarray, u: Tensor) -> Tensor:
    """A crop at a random place, k / 255, [3, SIDE, SIDE]; smaller pictures are mirrored at their end, as upstream
    does."""
    image = torch.from_numpy(photograph.copy()).movedim(-1, 0).float() / 255
    missing = [max(SIDE - side, 0) for side in image.shape[1:]]
    image = F.pad(image, (0, missing[1], 0, missing[0]), mode="reflect")
    top, left = (int(share * (side - SIDE + 1)) for share, side in zip(u.tolist(), image.shape[1:], strict=True))
    return image[:, top : top + SIDE, left : left + SIDE]


def degraded(clean: Tensor, position: int, kept: Format) -> dict[str, Tensor]:
    """Whole levels 0..255: the ground truth, the input of the first JPEG, and the LQ."""
    config = SecondOrder()
    recipe = config.draw(Keys(0, torch.tensor([position])), SIDE, SIDE, SCALE)
    images, levels = [kept(usm_sharpen(clean[None])[0])], {}
    levels["GT"] = images[0]
    for name, stage in reference_stages(config, recipe):
        if name == "JPEG 1":
            levels["JPEG 1"] = images[0]
        images = stage(images)
        if not name.startswith("JPEG"):
            images = [kept(image) for image in images]
    levels["LQ"] = images[0]
    return {name: (255 * image).round().clamp(0, 255) for name, image in levels.items()}


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="The degradation with fewer bits between its stages.")
    parser.add_argument("folder", type=Path, nargs="?", help="of photographs; scikit-image's by default")
    parser.add_argument("--crops", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = photographs(options.folder)
    changed: dict[str, dict[str, list[Tensor]]] = {name: {} for name in FORMATS}
    for position in range(options.crops):
        u = uniforms(Keys(1, torch.tensor([position])), 0, 2)[0]
        clean = cut(pictures[position % len(pictures)], u)
        wanted = degraded(clean, position, lambda x: x)
        for name, kept in FORMATS.items():
            for place, levels in degraded(clean, position, kept).items():
                changed[name].setdefault(place, []).append((levels - wanted[place]).abs())
    full, half = (sum(fused_bytes(SecondOrder(), SIDE, 48, number).values()) / 1e9 for number in (4, 2))
    print(f"{options.crops} crops of {len(pictures)} photographs, {SIDE}x{SIDE}, x{SCALE}, torch {torch.__version__}")
    print(f"48 crops move {full:.2f} GB in float32, {half:.2f} GB in 16 bits\n")
    print("| between stages | GT differs, by > 1 | into JPEG 1 | LQ differs, by > 1 | same LQs | PSNR of LQs, dB |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in FORMATS:
        shares = {
            place: [100 * float(torch.cat([d.flatten() for d in found]).gt(least).float().mean()) for least in (0, 1)]
            for place, found in changed[name].items()
        }
        lq = changed[name]["LQ"]
        same = sum(not difference.any() for difference in lq)
        error = float(torch.stack(lq).square().mean())
        psnr = f"{10 * np.log10(255**2 / error):.1f}" if error else "-"
        gt, into, out = (", ".join(f"{share:.2f} %" for share in shares[place]) for place in ("GT", "JPEG 1", "LQ"))
        print(f"| {name} | {gt} | {into} | {out} | {same} | {psnr} |", flush=True)


if __name__ == "__main__":
    main()
