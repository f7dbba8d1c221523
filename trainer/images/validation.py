"""The pictures to validate on: the same every time, and all read once before any training."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from torch import Tensor

from trainer.files.paths import PathText
from trainer.images.hub_dataset import HubDataset, Rows
from trainer.images.identity import sha256_of
from trainer.images.lists import examples
from trainer.images.matching import without_ending
from trainer.images.opened import BUDGET, Budget, Unreadable
from trainer.images.pairs import DatasetPairs, PairFolders, PairSource
from trainer.images.radiometry import Radiometry
from trainer.images.sources import Files, Folder, ImageSource, Package, files_of
from trainer.mistakes import Mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class LowQuality:
    """A folder of low-quality pictures without ground truth, such as photographs as they are found."""

    path: PathText
    """The folder. Its sub-folders count too; names that begin with a dot do not."""
    list: PathText | None = None
    """A text file that chooses among its pictures, a name on each line (`meta_info_file`). null takes all."""
    radiometry: Radiometry | None = None
    """For multi-band files, such as GeoTIFF: their bands and what their numbers mean. null: photographs."""
    type: Literal["lq"] = "lq"

    def open(self, budget: Budget = BUDGET) -> Files:
        """List the pictures; Mistake as for a `Folder`."""
        return files_of(self.path, self.list, self.radiometry, budget)


ValidationSource = Folder | Package | HubDataset | PairFolders | DatasetPairs | LowQuality
"""Sources of pictures to validate on; a configuration chooses by `type`."""


@dataclass(frozen=True, slots=True)
class ValidationPair:
    """One picture to validate on."""

    name: str
    lq: Tensor | None
    """[C, h, w], uint8 or uint16; None if the caller is to make it from `gt` by a keyed degradation."""
    gt: Tensor | None
    """[C, scale*h, scale*w] of the same type, contiguous; None without ground truth."""
    is_cut: bool = False
    """True if rows or columns of the ground truth's file were cut off: see `modcropped`."""


@dataclass(frozen=True, slots=True)
class ValidationImages:
    """The pictures to validate on, by number. Small and picklable, as its source is.

    LQ has sides that are multiples of `lq_multiple`, and GT is `scale` times as large.
    """

    source: ImageSource | PairSource
    scale: int
    max_side: int | None
    lq_multiple: int
    least: int = 1
    """The least side of ground truth that can be measured."""
    lq_only: bool = False
    """True if there are low-quality pictures only, without ground truth."""
    content: str = ""
    """A checksum of the names and of all that is measured: pictures, as they were decoded and cut."""
    notes: tuple[str, ...] = ()
    """Notes on the pictures for the user, a sentence each."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def paired(self) -> bool:
        """True if the low-quality pictures are given."""
        return self.lq_only or isinstance(self.source, PairSource)

    def name(self, index: int) -> str:
        """Name of picture `index` for a caption, without local folders: the end of its path, or its row."""
        pictures = self.source.gt if isinstance(self.source, PairSource) else self.source
        return f"row {index}" if isinstance(pictures, Rows) else PurePosixPath(pictures.name(index)).name

    def result_names(self) -> list[str]:
        """Names of result files by picture number: relative paths without an ending, no two alike.

        The name is that of the low-quality picture if it is given.
        """
        pictures = self.source.lq if isinstance(self.source, PairSource) else self.source
        if not isinstance(pictures, Files):
            return [f"row-{index:08d}" for index in range(len(self))]
        stems = [without_ending(file) for file in pictures.files]
        shared = Counter(stems)
        return [stem if shared[stem] == 1 else f"{stem}-{index:08d}" for index, stem in enumerate(stems)]

    def __getitem__(self, index: int) -> ValidationPair:
        """Pair `index`: given pairs whole, others cut to at most `max_side`; rows and columns that do not divide are
        cut off.

        Raises:
            Mistake: it cannot be decoded, is too small, or not a pair at this scale.
        """
        if self.lq_only:
            return self._lq_only(index)
        try:
            if isinstance(self.source, PairSource):
                lq, whole = self.source.lq.read(index), self.source.gt.read(index)
                gt = modcropped(whole, lq, self.scale)
                self.source.check(index, lq, gt, self.scale)
                lq, is_cut = trimmed(lq, self.lq_multiple, None).contiguous(), gt.shape != whole.shape
            else:
                lq, gt, is_cut = None, self.source.read(index), False
            gt = trimmed(gt, self.scale * self.lq_multiple, None if self.paired else self.max_side)
        except Unreadable as error:
            raise Mistake(f"{self.source.key}: a picture to validate on cannot be used, {error}.") from error
        least = max(self.least, self.scale * self.lq_multiple)
        if min(gt.shape[1:]) < least:
            name, was_cut = self.source.name(index), self.max_side is not None and not self.paired
            cut = f" once cut to max_side, {self.max_side}" if was_cut else ""
            raise Mistake(f"{self.source.key}: {name} has a side below {least}{cut}, too small to validate on.")
        return ValidationPair(self.name(index), lq, gt.contiguous(), is_cut)

    def _lq_only(self, index: int) -> ValidationPair:
        """Low-quality picture `index`."""
        assert not isinstance(self.source, PairSource)
        longest = None if self.max_side is None else max(self.max_side // self.scale, self.lq_multiple)
        try:
            lq = trimmed(self.source.read(index), self.lq_multiple, longest)
        except Unreadable as error:
            raise Mistake(f"{self.source.key}: a picture to validate on cannot be used, {error}.") from error
        if min(lq.shape[1:]) < self.lq_multiple:
            name = self.source.name(index)
            raise Mistake(f"{self.source.key}: {name} has a side below {self.lq_multiple}, too small to validate on.")
        return ValidationPair(self.name(index), lq.contiguous(), None)


def modcropped(gt: Tensor, lq: Tensor, scale: int) -> Tensor:
    """Cut ground truth [C, H, W] to `scale` times its low-quality picture [C, h, w] if that was made without the last
    few rows and columns, fewer than `scale`, as benchmarks do it (Set14, BSD100) and upstream validates; else return it
    as it is."""
    height, width = (scale * side for side in lq.shape[1:])
    over = (gt.shape[1] - height, gt.shape[2] - width)
    return gt[:, :height, :width] if min(over) >= 0 and max(over) < scale else gt


def trimmed(image: Tensor, multiple: int, max_side: int | None) -> Tensor:
    """Cut [C, H, W] to sides that are multiples of `multiple`.

    A side above `max_side` is cut to its middle; else the excess is cut off at the end, as benchmarks do ("modcrop").
    """
    for axis in (1, 2):
        length = image.shape[axis]
        longest = length if max_side is None else min(length, max_side)
        side = longest - longest % multiple
        image = image.narrow(axis, (length - side) // 2 if longest < length else 0, side)
    return image


def open_validation(
    source: ValidationSource,
    scale: int,
    max_side: int | None,
    lq_multiple: int = 1,
    least: int = 1,
    budget: Budget = BUDGET,
) -> ValidationImages:
    """Open a validation source and read all of it once, so that bad pictures are found before any training, and the
    pictures can be identified later.

    Args:
        source: the pictures.
        scale: how many times larger ground truth is than its LQ.
        max_side: the largest side of a clean picture, or of a result without ground truth: of larger ones the middle is
            taken; None for all of it.
        lq_multiple: the number of which the network's input sides must be multiples.
        least: the least side of ground truth that can be measured.
        budget: the limit for the memory of decoding a picture.

    Raises:
        Mistake: see `open` of the source and `ValidationImages`; if several pictures cannot serve, with how many.
    """
    images = ValidationImages(source.open(budget), scale, max_side, lq_multiple, least, isinstance(source, LowQuality))
    checksums, problems, cut = [], [], []
    for index in range(len(images)):
        try:
            pair = images[index]
        except Mistake as mistake:
            problems.append(str(mistake))
            continue
        parts = [part for part in (pair.gt, pair.lq) if part is not None]
        checksums.append(sha256_of([pair.name, *(f"{part.shape}{part.dtype}" for part in parts), *map(_bytes, parts)]))
        if pair.is_cut:
            cut.append(pair.name)
    if problems:
        others = f" {len(problems) - 1} more of the {len(images)} cannot serve either." if len(problems) > 1 else ""
        raise Mistake(problems[0] + others)
    notes = images.source.notes
    if cut:
        notes += (
            f"{len(cut)} of the {len(images)} pictures of ground truth have sides that are no multiples of {scale}: "
            f"what is over is cut off at the end, as benchmarks do (modcrop): {examples(cut)}",
        )
    return replace(images, content=sha256_of(checksums), notes=notes)


def _bytes(image: Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()
