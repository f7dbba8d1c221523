"""Before and after adversarial training, on pictures that neither run was trained on: metrics, a strip and the curves.

    python benchmarks/adversarial/measure.py L1_RUN GAN_RUN --pictures FOLDER [--features SQUEEZENET --linear LPIPS]

Both networks enlarge the same degraded pictures: those of the GAN run's validation, or clean pictures of FOLDER under
the degradation that the run was trained with. Prints a row of the README's table for each side. The distance is
LPIPS-like (Zhang et al. 2018: SqueezeNet 1.1's features, LPIPS's linear layers, both from files): not the official
figure. `--strip FILE` draws the middle of each picture, `--curves FILE` (with matplotlib) the course of training.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.images.levels import quantised, unit
from trainer.images.sources import Folder
from trainer.images.validation import ValidationImages, open_validation
from trainer.networks.loading.generators import open_generator
from trainer.pairs.synthesis import Synthesis
from trainer.validation.psnr_ssim import luma, psnr, ssim
from trainer.validation.sample_sheet import Column, save_png, sheet, strip
from trainer.validation.validator import bicubic

Distance = Callable[[Tensor, Tensor], float]
MEAN, STD = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
POOLS, FIRES, TAPS = (2, 5, 8), (3, 4, 6, 7, 9, 10, 11, 12), (1, 4, 7, 9, 10, 11, 12)  # of torchvision's `features`


def squeezenet_distance(features: Path, linear: Path) -> Distance:
    """The LPIPS-like distance of two pictures uint8 [3, H, W]; less is more alike."""
    w = torch.load(features, map_location="cpu", weights_only=True)
    lin = torch.load(linear, map_location="cpu", weights_only=True)

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        return F.relu(F.conv2d(x, w[f"features.{name}.weight"], w[f"features.{name}.bias"], **options))

    def tapped(picture: Tensor) -> list[Tensor]:
        found, x = [], conv((unit(picture[None]) - MEAN) / STD, "0", stride=2)
        for layer in range(1, 13):
            if layer in POOLS:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            if layer in FIRES:
                x = conv(x, f"{layer}.squeeze1x1")
                x = torch.cat([conv(x, f"{layer}.expand1x1"), conv(x, f"{layer}.expand3x3", padding=1)], 1)
            if layer in TAPS:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def distance(one: Tensor, other: Tensor) -> float:
        apart = [(a - b).square() for a, b in zip(tapped(one), tapped(other), strict=True)]
        return sum(F.conv2d(x, lin[f"lin{tap}.model.1.weight"]).mean().item() for tap, x in enumerate(apart))

    return distance


def detail(picture: Tensor) -> float:
    """The mean gradient magnitude of the luma."""
    y = luma(picture)
    down, right = y[:, 1:, :-1] - y[:, :-1, :-1], y[:, :-1, 1:] - y[:, :-1, :-1]
    return float((down.square() + right.square()).sqrt().mean())


def enlarged(models: dict[str, str], lq: Tensor, scale: int) -> dict[str, Tensor]:
    """Enlarge uint8 [3, H, W] by bicubic and by each network."""
    results = {"bicubic": bicubic(lq, scale)}
    for name, model in models.items():
        results[name] = quantised(open_generator(model, name).eval()(unit(lq[None]))[0].clamp(0, 1), lq.dtype)
    return results


def row(name: str, results: list[Tensor], truths: list[Tensor], border: int, distance: Distance | None) -> str:
    """PSNR, SSIM, distance and detail (its share of the ground truth's), averaged over pictures."""
    pairs = list(zip(results, truths, strict=True))
    figures = [sum(psnr(a, b, border, "y") for a, b in pairs), sum(ssim(a, b, border, "y") for a, b in pairs)]
    figures += [sum(distance(a, b) for a, b in pairs)] if distance else []
    figures += [sum(detail(a) / detail(b) for a, b in pairs)]
    texts = [f"{figure / len(pairs):.{digits}f}" for figure, digits in zip(figures, (2, 4, 4, 2), strict=False)]
    return f"| {name} | " + " | ".join(texts) + " |"


def middle(picture: Tensor, side: int) -> Tensor:
    """The piece in the middle of [3, H, W]."""
    top, left = ((length - side) // 2 for length in picture.shape[1:])
    return picture[:, top : top + side, left : left + side]


def draw_curves(metrics: Path, file: Path) -> None:
    """Draw the discriminator's probabilities, the gradients' norms and the losses over the steps of a metrics.jsonl."""
    import matplotlib.pyplot as plt

    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    panels = {
        "what the discriminator believes": ("discriminator/D(y)_prob", "discriminator/D(G(x))_prob"),
        "gradient norms": ("training/grad_norm", "discriminator/grad_norm"),
        "losses of the generator": ("training/loss_perceptual", "training/loss_adversarial"),
    }
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
            axis.plot(*zip(*points, strict=True), label=name, linewidth=1.2)
        axis.set(title=title, xlabel="step")
        axis.legend(fontsize=8)
    axes[0].set_ylim(0, 1)
    axes[1].set_yscale("log")
    figure.savefig(file, dpi=80)


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Before and after adversarial training.")
    parser.add_argument("before", help="run, export, file or hub id")
    parser.add_argument("after", type=Path, help="folder of the adversarial run")
    parser.add_argument("--pictures", help="folder of clean pictures; default: those of the run's validation")
    parser.add_argument("--draws", type=int, default=2, help="degradations of each picture")
    parser.add_argument("--features", type=Path, help="SqueezeNet 1.1, `features.*`")
    parser.add_argument("--linear", type=Path, help="LPIPS's linear layers for it")
    parser.add_argument("--strip", type=Path, help="PNG to draw")
    parser.add_argument("--side", type=int, default=192, help="of the pieces in it")
    parser.add_argument("--curves", type=Path, help="PNG to draw")
    options = parser.parse_args()

    config = load_config(RunConfig, options.after / "config.yaml", [])
    assert config.validation is not None
    source = Folder(path=options.pictures) if options.pictures else config.validation.source
    images: ValidationImages = open_validation(source, config.scale, config.validation.max_side)
    synthesis = Synthesis(config.degradation, config.seed, config.scale, config.gt_size, False)
    models = {"L1 alone": options.before, "then adversarial": str(options.after)}
    distance = squeezenet_distance(options.features, options.linear) if options.features else None

    sides: dict[str, list[Tensor]] = {}
    truths, strips = [], []
    with torch.no_grad():
        for number in range(len(images) * options.draws):
            truth = images[number % len(images)].gt
            lq, recipe = synthesis.degrade(truth, config.validation.seed, number)
            results = enlarged(models, lq, config.scale)
            truths.append(truth)
            for name, result in results.items():
                sides.setdefault(name, []).append(result)
            pieces = {**results, "ground truth": truth}
            columns = [Column(name, middle(piece, options.side)) for name, piece in pieces.items()]
            strips.append(strip(columns, images.name(number % len(images)), recipe.caption(0)))
        heads = ["PSNR", "SSIM", *["distance"] * bool(distance), "detail"]
        print(f"{len(truths)} pairs\n| Y, {config.scale} px border | {' | '.join(heads)} |")
        for name, results_of_side in {**sides, "ground truth": truths}.items():
            print(row(name, results_of_side, truths, config.scale, distance))
    if options.strip:
        save_png(sheet(strips), options.strip)
    if options.curves:
        draw_curves(options.after / "metrics.jsonl", options.curves)


if __name__ == "__main__":
    main()
