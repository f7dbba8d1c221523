"""Look at a degradation: ``python -m degradations.preview photo.jpg --config C --out sheet.png --count 24``.

Makes a contact sheet of one or several pictures under many draws, with the recipe under every tile. ``--op jpeg`` (or
gaussian, poisson, blur, resize, sharpen) shows one operation over its range instead, ``--op kernels`` the blur kernels.
The config is a degradation, or a whole training config with a `degradation` section. Needs Pillow, and PyYAML if a
config is given.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # at Ctrl-C it ends without a word; an exception amid the imports is lost in them
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from degradations.formats import FORMATS
from degradations.keyed_random import Keys, Purpose, normals, uniforms
from degradations.operations.blur import filter2d
from degradations.operations.jpeg import libjpeg
from degradations.operations.kernels import build_kernels
from degradations.operations.noise import add_gaussian, add_poisson
from degradations.operations.resize import MODES, resize
from degradations.operations.sharpen import usm_sharpen
from degradations.parse import Degradation, parse_degradation
from degradations.second_order import SecondOrder

if TYPE_CHECKING:
    from PIL.Image import Image

_PAPER, _INK, _FAINT = (250, 249, 246), (40, 40, 40), (120, 116, 108)
_MAX_BYTES, _MAX_DEPTH = 2**20, 32
_GAP, _LINE, _FONT = 14, 15, 12
# the font that Pillow carries has no Greek
_TRANSLITERATION = str.maketrans(
    {"×": "x", "σ": "sigma ", "ω": "cut ", "π": " pi", "β": "beta ", "ρ": "corr ", "γ": "gamma ", "–": "-"}
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, float32 [C, H, W] in [0, 1], and the lines under it."""

    picture: Tensor
    lines: tuple[str, ...]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """The parts of a config that the preview uses."""

    degradation: Degradation
    scale: int = 4
    sharpen: bool = False


def read_setting(path: Path) -> Setting:
    """A degradation from a YAML file: a config of its own, or the `degradation` section of a training config."""
    tree = _read_yaml(path)
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(tree).__name__}")
    if "degradation" in tree or "type" not in tree:
        degradation = parse_degradation({"type": "second_order"} | tree.get("degradation", {}))
        return Setting(degradation, int(tree.get("scale", 4)), bool(tree.get("gt_usm", False)))
    return Setting(parse_degradation(tree))


def _read_yaml(path: Path) -> Any:
    """Parse a YAML file that may come from a stranger: a regular file of bounded size and depth, without aliases.

    Raises:
        ValueError: if it is not YAML, or exceeds a limit.
    """
    import yaml

    if not path.is_file():
        raise ValueError(f"{path} is no file" if path.exists() else f"{path} does not exist")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_BYTES // 2**20} MiB, which no config is")
    depth = 0
    try:
        for event in yaml.parse(content):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise ValueError(f"{path} is nested more than {_MAX_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{path} repeats a part by '*{event.anchor}'; write it out")
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def read_picture(path: Path, side: int, multiple: int) -> Tensor:
    """The middle of a picture, float32 [3, h, w] in [0, 1], at most `side` pixels a side, multiples of `multiple`."""
    from PIL import Image, ImageOps

    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")
    with Image.open(path, formats=FORMATS) as file:
        rgb = ImageOps.exif_transpose(file).convert("RGB")
    width, height = (min(side, length) // multiple * multiple for length in rgb.size)
    if min(width, height) == 0:
        raise ValueError(f"{path} must be at least {multiple} pixels a side, got {rgb.size[0]}x{rgb.size[1]}")
    left, top = (rgb.size[0] - width) // 2, (rgb.size[1] - height) // 2
    data = bytearray(rgb.crop((left, top, left + width, top + height)).tobytes())
    pixels = torch.frombuffer(data, dtype=torch.uint8)
    return rearrange(pixels, "(row column rgb) -> rgb row column", row=height, column=width) / 255


def draw_tiles(pictures: Sequence[tuple[str, Tensor]], setting: Setting, count: int, seed: int) -> Iterator[Tile]:
    """The clean picture and `count` draws of it, for each picture; positions go on from one to the next."""
    position = 0
    for name, picture in pictures:
        height, width = picture.shape[-2:]
        keys = Keys(seed, torch.arange(position, position + count))
        position += count
        recipe = setting.degradation.draw(keys, height, width, setting.scale)
        clean = usm_sharpen(picture[None])[0] if setting.sharpen else picture
        yield Tile(picture, (name, f"clean, {width}×{height}"), strong=True)
        # the recipe is of this degradation's class, which Python's types cannot express for a union
        degraded = setting.degradation.apply(clean.expand(count, -1, -1, -1), recipe)  # type: ignore[arg-type]
        for i, lq in enumerate(degraded):
            yield Tile(lq, tuple(part.strip() for part in recipe.caption(i).split("|")))


def _series(low: float, high: float, count: int, *, geometric: bool = False) -> list[float]:
    """`count` values from `low` to `high`."""
    steps = [i / max(count - 1, 1) for i in range(count)]
    return [low * (high / low) ** t if geometric else low + t * (high - low) for t in steps]


def operation_tiles(name: str, picture: Tensor, config: SecondOrder, count: int, seed: int) -> Iterator[Tile]:
    """One operation of the first order over its range, on one picture."""
    keys = Keys(seed, torch.zeros(1, dtype=torch.int64))
    field = normals(keys, Purpose.NOISE_1_FIELD, picture.numel()).view_as(picture)

    def blurred(sigma: float) -> Tensor:
        row = [torch.tensor([value]) for value in (sigma, sigma, 0.0, 1.0, 1.0)]
        size = config.blur_kernel_size
        return filter2d(picture, build_kernels(torch.tensor([0]), torch.tensor([size]), *row, canvas=size)[0])

    def shrunk(scale: float, mode: str) -> Tensor:
        height, width = (max(int(side * scale), 1) for side in picture.shape[-2:])
        return resize(picture, (height, width), mode)

    yield Tile(picture, ("clean",), strong=True)
    if name == "resize":
        for scale in _series(config.resize_range[0], 1, -(-count // len(MODES)), geometric=True):
            for mode in MODES:
                yield Tile(shrunk(scale, mode), (f"×{scale:.2f} {mode}",))
        return
    operations: dict[str, tuple[Sequence[float], str, Callable[[float], Tensor]]] = {
        "jpeg": (_series(*config.jpeg_range, count), "JPEG {:.0f}", lambda q: libjpeg(picture[None], round(q))[0]),
        "gaussian": (_series(*config.noise_range, count), "gauss {:.1f}", lambda s: add_gaussian(picture, s, field)),
        "poisson": (
            _series(*config.poisson_scale_range, count), "poisson {:.2f}", lambda s: add_poisson(picture, s, field)
        ),
        "blur": (_series(*config.blur_sigma, count), "iso σ{:.2f}", blurred),
        "sharpen": (_series(0, 1, count), "USM weight {:.2f}", lambda w: usm_sharpen(picture[None], w)[0]),
    }  # fmt: skip
    values, label, operate = operations[name]
    for value in values:
        yield Tile(operate(value), (label.format(value),))


OPERATIONS = ("jpeg", "gaussian", "poisson", "blur", "resize", "sharpen", "kernels")


def kernel_tiles(config: SecondOrder, count: int, seed: int) -> Iterator[Tile]:
    """Blur kernels of the first order as pictures, each scaled to its peak; blue is negative."""
    drawn = config.first()[0].draw(uniforms(Keys(seed, torch.arange(count)), Purpose.BLUR_1, 12))
    for i, kernel in enumerate(drawn.kernel):
        value = kernel / kernel.abs().max()
        rise, fall = value.clamp_min(0).sqrt(), (-value).clamp_min(0).sqrt()
        yield Tile(torch.stack([rise, rise + 0.3 * fall, rise + fall]).clamp(0, 1), (drawn.describe(i),))


def _fitted(picture: Tensor, side: int) -> Tensor:
    """Resize to fit side x side: nearest pixels when enlarging, means over areas when shrinking."""
    factor = side / max(picture.shape[-2:])
    height, width = (max(round(length * factor), 1) for length in picture.shape[-2:])
    return F.interpolate(picture[None], size=(height, width), mode="nearest-exact" if factor >= 1 else "area")[0]


def _wrap(text: str, font: Any, width: int) -> Iterator[str]:
    """Break a caption between its parts so that every line fits."""
    line = ""
    for word in text.translate(_TRANSLITERATION).split(" · "):
        longer = f"{line} · {word}" if line else word
        if line and font.getlength(longer) > width:
            yield line
            line = word
        else:
            line = longer
    yield line


def _columns(count: int) -> int:
    """Number of columns of a grid that is a little wider than high, with few empty places."""
    root = math.sqrt(count)
    choices = range(max(math.floor(root), 1), math.ceil(1.6 * root) + 1)
    return min(choices, key=lambda c: (-count % c, abs(c - 1.2 * root)))


def make_sheet(tiles: Sequence[Tile], title: str, side: int) -> Image:
    """Arrange tiles in a grid, captions below, on paper."""
    from PIL import Image, ImageDraw, ImageFont

    font, headline = ImageFont.load_default(_FONT), ImageFont.load_default(_FONT + 4)
    captions = [[line for text in tile.lines for line in _wrap(text, font, side)] for tile in tiles]
    columns = _columns(len(tiles))
    rows = -(-len(tiles) // columns)
    pictures = [_fitted(tile.picture, side) for tile in tiles]
    spans = [slice(row * columns, (row + 1) * columns) for row in range(rows)]
    heights = [
        max(p.shape[1] for p in pictures[span]) + max(map(len, captions[span])) * _LINE + 2 * _GAP for span in spans
    ]
    paper = Image.new("RGB", (columns * (side + _GAP) + _GAP, sum(heights) + 3 * _GAP), _PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((_GAP, _GAP), title.translate(_TRANSLITERATION), fill=_INK, font=headline)
    top = 3 * _GAP
    for span, height in zip(spans, heights, strict=True):
        for column, (picture, lines, tile) in enumerate(zip(pictures[span], captions[span], tiles[span], strict=True)):
            left = _GAP + column * (side + _GAP)
            paper.paste(_to_image(picture), (left, top))
            for i, line in enumerate(lines):
                place = (left, top + picture.shape[1] + 4 + i * _LINE)
                pen.text(place, line, fill=_INK if tile.strong else _FAINT, font=font)
        top += height
    return paper


def _to_image(picture: Tensor) -> Image:
    from PIL import Image

    levels = (picture * 255).round().clamp(0, 255).to(torch.uint8).expand(3, -1, -1)
    pixels = rearrange(levels, "rgb row column -> (row column rgb)")
    return Image.frombytes("RGB", (levels.shape[2], levels.shape[1]), bytes(pixels.tolist()))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m degradations.preview", description="Look at a degradation.")
    parser.add_argument("images", nargs="*", type=Path, help="pictures to degrade (none for --op kernels)")
    parser.add_argument("--config", type=Path, help="YAML: a degradation, or a training config (default: Real-ESRGAN)")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"), help="where to write (default: %(default)s)")
    parser.add_argument("--count", type=int, default=24, help="draws in all, shared out over the pictures")
    parser.add_argument("--scale", type=int, help="pixels a side for one of the result (default: the config's, or 4)")
    parser.add_argument("--seed", type=int, default=0, help="key of the draws (default: %(default)s)")
    parser.add_argument("--tile", type=int, default=256, help="largest side of a tile, pixels (default: %(default)s)")
    parser.add_argument("--op", choices=OPERATIONS, help="one operation over its range, in place of the whole")
    options = parser.parse_args(arguments)
    if options.op != "kernels" and not options.images:
        parser.error("name at least one picture")
    if options.count < 1:
        parser.error(f"--count must be at least 1, got {options.count}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; exit status 0, or 2 after an error, which stderr names in one sentence."""
    options = _arguments(arguments)
    try:
        print(f"{options.out}: {_write_sheet(options)} tiles", flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _write_sheet(options: argparse.Namespace) -> int:
    """Write the sheet and return the number of its tiles."""
    setting = read_setting(options.config) if options.config else Setting(SecondOrder())
    if options.scale:
        setting = Setting(setting.degradation, options.scale, setting.sharpen)
    side = options.tile // 2 if options.op else options.tile  # enlarged twice, to show the artefacts of an operation
    pictures = [(path.name, read_picture(path, side, setting.scale)) for path in options.images]
    config = setting.degradation if isinstance(setting.degradation, SecondOrder) else SecondOrder()
    source = options.config.name if options.config else "Real-ESRGAN's numbers"
    if options.op == "kernels":
        tiles, title = list(kernel_tiles(config, options.count, options.seed)), "blur kernels of the first order"
    elif options.op:
        picture = pictures[0][1]
        tiles, title = list(operation_tiles(options.op, picture, config, options.count, options.seed)), options.op
    else:
        share = -(-options.count // len(pictures))
        tiles = list(draw_tiles(pictures, setting, share, options.seed))
        title = f"×{setting.scale} degradation"
    make_sheet(tiles, f"{title} · {source} · seed {options.seed}", options.tile).save(options.out)
    return len(tiles)


if __name__ == "__main__":
    sys.exit(main())
