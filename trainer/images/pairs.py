"""What validation looks at, the same every time: pairs from two folders, or held-out pictures to be degraded."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from torch import Tensor

from trainer.images.decode import Unreadable, decode
from trainer.images.hub_dataset import HubDataset, Rows
from trainer.images.sources import Folder, ImageSource, Package, find_images
from trainer.mistakes import Mistake


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Pictures in two folders, matched by name."""

    gt_root: str
    lq_root: str
    files: tuple[tuple[str, str], ...]  # (gt, lq), relative to the roots
    key: str = "gt"

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The path of the ground truth."""
        return str(Path(self.gt_root, self.files[index][0]))

    def read(self, index: int, scale: int) -> tuple[Tensor, Tensor]:
        """Pair `index`: (lq uint8 [3, h, w], gt uint8 [3, scale*h, scale*w]).

        Raises:
            Unreadable: one of the two cannot be decoded.
            Mistake: the ground truth is not exactly `scale` times as large.
        """
        gt_file, lq_file = self.files[index]
        gt_path, lq_path = Path(self.gt_root, gt_file), Path(self.lq_root, lq_file)
        gt, lq = decode(gt_path, str(gt_path)), decode(lq_path, str(lq_path))
        if [scale * side for side in lq.shape[1:]] != list(gt.shape[1:]):
            raise Mistake(
                f"gt: {str(gt_path)!r} is {_size(gt)} and {str(lq_path)!r} is {_size(lq)}; "
                f"wanted exactly x{scale}, {scale * lq.shape[2]}x{scale * lq.shape[1]}."
            )
        return lq, gt


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Two folders of pictures with the same names: good ones, and poor ones of the same scenes."""

    gt: str
    """The folder of the good pictures (ground truth), each exactly `scale` times as large as its partner."""
    lq: str
    """The folder of the poor pictures (low quality), with the same names; the endings may differ."""
    type: Literal["pairs"] = "pairs"

    def open(self) -> PairFiles:
        """Match the two folders.

        Raises:
            Mistake: a folder is missing or has no picture, two pictures share a name, or one has no partner.
        """
        gt, lq = self._named("gt", self.gt), self._named("lq", self.lq)
        alone = [f"{Path(self.gt, gt[stem])}" for stem in sorted(gt.keys() - lq.keys())]
        alone += [f"{Path(self.lq, lq[stem])}" for stem in sorted(lq.keys() - gt.keys())]
        if alone:
            examples = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
            raise Mistake(f"lq: {len(alone)} pictures of {self.gt!r} and {self.lq!r} have no partner: {examples}.")
        return PairFiles(self.gt, self.lq, tuple((gt[stem], lq[stem]) for stem in sorted(gt)))

    def _named(self, key: str, folder: str) -> dict[str, str]:
        """Relative path without its ending -> relative path."""
        named: dict[str, str] = {}
        for file in find_images(folder, key):
            stem = str(PurePosixPath(file).with_suffix(""))
            if stem in named:
                raise Mistake(f"{key}: {named[stem]!r} and {file!r} in folder {folder!r} have the same name.")
            named[stem] = file
        return named


ValidationSource = Folder | Package | HubDataset | Pairs
"""What can be validated on; a configuration chooses by `type`."""


@dataclass(frozen=True, slots=True)
class ValidationPair:
    """One picture to validate on."""

    name: str
    lq: Tensor | None
    """uint8 [3, h, w]; None where the caller is to make it from `gt` by a keyed degradation."""
    gt: Tensor
    """uint8 [3, scale*h, scale*w], contiguous."""


@dataclass(frozen=True, slots=True)
class ValidationImages:
    """The pictures to validate on, by number. Small and picklable, as what it reads from.

    LQ has sides that are multiples of `lq_multiple`, and GT is `scale` times as large.
    """

    source: ImageSource | PairFiles
    scale: int
    max_side: int | None
    lq_multiple: int

    def __len__(self) -> int:
        return len(self.source)

    @property
    def paired(self) -> bool:
        """Whether the low-quality pictures are given."""
        return isinstance(self.source, PairFiles)

    def name(self, index: int) -> str:
        """Picture `index` for a caption: the end of its path, or its row in a dataset."""
        name = self.source.name(index)
        return name if isinstance(self.source, Rows) else PurePosixPath(name).name

    def __getitem__(self, index: int) -> ValidationPair:
        """Pair `index`: given pictures whole, a clean one cut to `max_side`, up to what does not divide.

        Raises:
            Mistake: it cannot be decoded, is too small, or not a pair at this scale.
        """
        try:
            if isinstance(self.source, PairFiles):
                lq, gt = self.source.read(index, self.scale)
                lq = trimmed(lq, self.lq_multiple, None).contiguous()
            else:
                lq, gt = None, self.source.read(index)
            gt = trimmed(gt, self.scale * self.lq_multiple, None if self.paired else self.max_side)
        except Unreadable as error:
            raise Mistake(f"{self.source.key}: a picture to validate on cannot be read, {error}.") from error
        if not gt.numel():
            name = self.source.name(index)
            least = self.scale * self.lq_multiple
            raise Mistake(f"{self.source.key}: {name} has a side below {least}, too small to validate on.")
        return ValidationPair(self.name(index), lq, gt.contiguous())


def trimmed(image: Tensor, multiple: int, max_side: int | None) -> Tensor:
    """[C, H, W] with sides that are multiples of `multiple`.

    A side above `max_side` keeps its middle; else what is over is cut at the end, as benchmarks do ("modcrop").
    """
    for axis in (1, 2):
        length = image.shape[axis]
        longest = length if max_side is None else min(length, max_side)
        side = longest - longest % multiple
        image = image.narrow(axis, (length - side) // 2 if longest < length else 0, side)
    return image


def open_validation(
    source: ValidationSource, scale: int, max_side: int | None, lq_multiple: int = 1
) -> ValidationImages:
    """Open what to validate on and read all of it once, so that a bad picture is met before any training.

    Args:
        source: where the pictures are.
        scale: how many times larger ground truth is than its LQ.
        max_side: the largest side of a clean picture, whose middle is taken; None for all of it.
        lq_multiple: what the network asks of the sides of its input.

    Raises:
        Mistake: see `open` of the source and `ValidationImages`.
    """
    images = ValidationImages(source.open(), scale, max_side, lq_multiple)
    for index in range(len(images)):
        images[index]
    return images


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
