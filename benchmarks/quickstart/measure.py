"""The quickstart's network against bicubic on three sets, over several seeds.

    python benchmarks/quickstart/measure.py RUN [RUN ...] [--pictures FOLDER] [--strip FILE]

The sets are made of the photographs that the runs validate on, or of those in FOLDER: under the run's own fixed
degradations, degraded by Pillow alone as `pillow.yaml` beside this file says, and clean, shrunk by Pillow's bicubic.
The rival is torch's bicubic (Keys' a = -0.75), with which validation compares too: on these inputs it is 0.1 dB better
than Pillow's (a = -0.5). Prints for each set PSNR and SSIM of bicubic and the margins of the networks over it: mean,
smallest and largest of the runs.
"""

import argparse
import io
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageFilter
from torch import Tensor

from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.images.levels import quantised, unit
from trainer.images.sources import Folder
from trainer.images.validation import open_validation
from trainer.networks.loading.generators import open_generator
from trainer.pairs.synthesis import Synthesis
from trainer.validation.psnr_ssim import psnr, ssim
from trainer.validation.sample_sheet import Column, save_png, sheet, strip
from trainer.validation.validator import bicubic

SETS = ("own degradations", "Pillow, mild to strong", "clean, Pillow's bicubic")
Pair = tuple[str, str, Tensor, Tensor]
"""Set, caption, LQ and ground truth, uint8 [3, H, W]."""
Figures = dict[str, tuple[float, float]]
"""PSNR and SSIM by set."""


def to_picture(values: Tensor) -> Image.Image:
    """A PIL image of uint8 [3, H, W]."""
    return Image.fromarray(values.permute(1, 2, 0).numpy())


def to_tensor(picture: Image.Image) -> Tensor:
    """uint8 [3, H, W] of an RGB image."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def coded(picture: Image.Image, how: dict[str, Any]) -> Image.Image:
    """The picture after it was written and read as a file."""
    file = io.BytesIO()
    picture.save(file, how["format"], quality=how["quality"])
    return Image.open(file).convert("RGB")


def shrunk(picture: Image.Image, how: dict[str, Any], scale: int) -> Image.Image:
    """A line of `pillow.yaml`, done."""
    if how["blur"]:
        picture = picture.filter(ImageFilter.GaussianBlur(how["blur"]))
    for factor in (2, scale // 2) if how.get("twice") else (scale,):
        size = (picture.width // factor, picture.height // factor)
        picture = coded(picture.resize(size, Image.Resampling[how["filter"].upper()]), how)
    return picture


def pairs(config: RunConfig, pictures: str | None) -> Iterator[Pair]:
    """All three sets."""
    assert config.validation is not None
    settings, scale = config.validation, config.scale
    source = Folder(path=pictures) if pictures else settings.source
    synthesis = Synthesis(config.degradation, config.seed, scale, config.gt_size, False)
    pieces, whole = open_validation(source, scale, settings.max_side), open_validation(source, scale, None)
    for number in range(len(pieces) * settings.draws):
        gt = pieces[number % len(pieces)].gt
        lq, recipe = synthesis.degrade(gt, settings.seed, number)
        yield SETS[0], recipe.caption(0), lq, gt
    recipes = yaml.safe_load((Path(__file__).parent / "pillow.yaml").read_text(encoding="utf-8"))
    for number in range(len(whole)):
        gt = whole[number].gt
        for how in recipes:
            yield SETS[1], str(how), to_tensor(shrunk(to_picture(gt), how, scale)), gt
        small = to_picture(gt).resize((gt.shape[2] // scale, gt.shape[1] // scale), Image.Resampling.BICUBIC)
        yield SETS[2], "clean", to_tensor(small), gt


def means(results: list[Tensor], chosen: list[Pair], scale: int) -> Figures:
    """PSNR and SSIM (Y of BT.601, a border of the scale), averaged in each set."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for result, (name, _, _, gt) in zip(results, chosen, strict=True):
        rows.setdefault(name, []).append((psnr(result, gt, scale, "y"), ssim(result, gt, scale, "y")))
    return {name: tuple(statistics.mean(column) for column in zip(*row, strict=True)) for name, row in rows.items()}


@torch.no_grad()
def enlarged(run: Path, chosen: list[Pair]) -> list[Tensor]:
    """The results of a run's network."""
    net = open_generator(str(run), str(run)).eval()
    return [quantised(net(unit(lq[None]))[0].clamp(0, 1), torch.uint8) for _, _, lq, _ in chosen]


def margins(figures: list[Figures], plain: Figures, name: str, column: int, digits: int) -> str:
    """Mean, smallest and largest advance of the runs over bicubic."""
    values = [one[name][column] - plain[name][column] for one in figures]
    mean, least, most = (f"{value:+.{digits}f}" for value in (statistics.mean(values), min(values), max(values)))
    return f"{mean} ({least} to {most})"


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="The quickstart's network against bicubic on three sets.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, one for each seed")
    parser.add_argument("--pictures", help="folder of clean pictures; default: those of the runs' validation")
    parser.add_argument("--strip", type=Path, help="PNG to draw: the Pillow set, by the first run")
    options = parser.parse_args()

    config = load_config(RunConfig, options.runs[0] / "config.yaml", [])
    chosen = list(pairs(config, options.pictures))
    plain = [bicubic(lq, config.scale) for _, _, lq, _ in chosen]
    results = [enlarged(run, chosen) for run in options.runs]
    base = means(plain, chosen, config.scale)
    figures = [means(one, chosen, config.scale) for one in results]
    print(f"{len(options.runs)} runs | bicubic, dB | network | bicubic, SSIM | network\n--|--:|--:|--:|--:")
    for name in SETS:
        decibels, similarity = margins(figures, base, name, 0, 2), margins(figures, base, name, 1, 4)
        print(f"{name} | {base[name][0]:.2f} | {decibels} | {base[name][1]:.4f} | {similarity}")
    if options.strip:
        shown = [
            strip([Column("bicubic", low), Column("network", high), Column("ground truth", gt)], caption)
            for (name, caption, _, gt), low, high in zip(chosen, plain, results[0], strict=True)
            if name == SETS[1]
        ]
        save_png(sheet(shown), options.strip)


if __name__ == "__main__":
    main()
