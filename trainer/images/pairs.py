"""Given pairs, to train and validate on; and what validation looks at, the same every time."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from torch import Tensor

from trainer.images.decode import Unreadable
from trainer.images.hub_dataset import HubDataset, Rows
from trainer.images.radiometry import Radiometry, raster_library
from trainer.images.sources import Files, Folder, ImageSource, Package, find_images
from trainer.mistakes import Mistake


@dataclass(frozen=True, slots=True)
class PairSource:
    """Good pictures, and poor ones of the same scenes under the same numbers."""

    gt: ImageSource
    lq: ImageSource
    key: str

    @property
    def where(self) -> str:
        """Both sources in the words of an error."""
        return f"{self.gt.where} and {self.lq.where}"

    def __len__(self) -> int:
        return len(self.gt)

    def name(self, index: int) -> str:
        """The name of the ground truth."""
        return self.gt.name(index)

    def read(self, index: int, scale: int) -> tuple[Tensor, Tensor]:
        """Pair `index`: LQ [C, h, w] and GT [C, scale*h, scale*w], uint8 or uint16.

        Raises:
            Unreadable: one of the two cannot be decoded, or the ground truth is not exactly `scale` times as large.
        """
        gt, lq = self.gt.read(index), self.lq.read(index)
        if [scale * side for side in lq.shape[1:]] != list(gt.shape[1:]):
            wanted = f"wanted exactly x{scale}, {scale * lq.shape[2]}x{scale * lq.shape[1]}"
            raise Unreadable(
                self.name(index), f"it is {_size(gt)} and {self.lq.name(index)!r} is {_size(lq)}; {wanted}"
            )
        return lq, gt


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Two folders of pictures with the same names: good ones, and poor ones of the same scenes."""

    gt: str
    """The folder of the good pictures (ground truth), each exactly `scale` times as large as its partner."""
    lq: str
    """The folder of the poor pictures (low quality), with the same names; the endings may differ."""
    radiometry: Radiometry | None = None
    """For multi-band files, such as GeoTIFF: their bands and what their numbers mean. null: photographs."""
    type: Literal["pairs"] = "pairs"

    def open(self) -> PairSource:
        """Match the two folders.

        Raises:
            Mistake: a folder is missing or has no picture, two pictures share a name, or one has no partner.
        """
        if self.radiometry:
            raster_library()
        gt, lq = self._named("gt", self.gt), self._named("lq", self.lq)
        alone = [f"{Path(self.gt, gt[stem])}" for stem in sorted(gt.keys() - lq.keys())]
        alone += [f"{Path(self.lq, lq[stem])}" for stem in sorted(lq.keys() - gt.keys())]
        if alone:
            examples = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
            raise Mistake(f"lq: {len(alone)} pictures of {self.gt!r} and {self.lq!r} have no partner: {examples}.")
        return PairSource(self._files("gt", self.gt, gt), self._files("lq", self.lq, lq), "gt")

    def _files(self, key: str, folder: str, named: dict[str, str]) -> Files:
        files = tuple(named[stem] for stem in sorted(named))
        return Files(f"folder {folder!r}", key, folder, files, self.radiometry)

    def _named(self, key: str, folder: str) -> dict[str, str]:
        """Relative path without its ending -> relative path."""
        named: dict[str, str] = {}
        for file in find_images(folder, key):
            stem = str(PurePosixPath(file).with_suffix(""))
            if stem in named:
                raise Mistake(f"{key}: {named[stem]!r} and {file!r} in folder {folder!r} have the same name.")
            named[stem] = file
        return named


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetPairs:
    """A Hugging Face dataset with a column of good pictures and one of poor pictures of the same scenes."""

    path: str
    """`user/name` on the hub, what `save_to_disk` wrote, or a parquet file, folder or `tiles/*.parquet`."""
    gt_column: str
    """The column of the good pictures, each exactly `scale` times as large as its partner."""
    lq_column: str
    """The column of the poor pictures."""
    name: str | None = None
    """The configuration (subset) of the dataset, where it has several."""
    split: str = "train"
    """The split to read."""
    revision: str | None = None
    """A branch, tag or commit on the hub; by default the newest."""
    radiometry: Radiometry | None = None
    """For multi-band pictures, arrays or encoded rasters: their bands and what their numbers mean."""
    type: Literal["dataset_pairs"] = "dataset_pairs"

    def open(self) -> PairSource:
        """Load the dataset and find both columns; Mistake where it cannot be had or lacks one."""
        return PairSource(self._column("gt_column", self.gt_column), self._column("lq_column", self.lq_column), "path")

    def _column(self, key: str, column: str) -> Rows:
        dataset = HubDataset(
            path=self.path,
            name=self.name,
            split=self.split,
            image_column=column,
            revision=self.revision,
            radiometry=self.radiometry,
        )
        try:
            return dataset.open()
        except Mistake as mistake:
            raise Mistake(str(mistake).replace("image_column:", f"{key}:", 1)) from None


GivenPairs = Pairs | DatasetPairs
"""Pairs to train on; a configuration chooses by `type`."""

ValidationSource = Folder | Package | HubDataset | Pairs | DatasetPairs
"""What can be validated on; a configuration chooses by `type`."""


@dataclass(frozen=True, slots=True)
class ValidationPair:
    """One picture to validate on."""

    name: str
    lq: Tensor | None
    """[C, h, w], uint8 or uint16; None where the caller is to make it from `gt` by a keyed degradation."""
    gt: Tensor
    """[C, scale*h, scale*w] of the same type, contiguous."""


@dataclass(frozen=True, slots=True)
class ValidationImages:
    """The pictures to validate on, by number. Small and picklable, as what it reads from.

    LQ has sides that are multiples of `lq_multiple`, and GT is `scale` times as large.
    """

    source: ImageSource | PairSource
    scale: int
    max_side: int | None
    lq_multiple: int
    least: int = 1
    """The least side of ground truth that can be measured."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def paired(self) -> bool:
        """Whether the low-quality pictures are given."""
        return isinstance(self.source, PairSource)

    def name(self, index: int) -> str:
        """Picture `index` for a caption, without what only this machine knows: the end of its path, or its row."""
        pictures = self.source.gt if isinstance(self.source, PairSource) else self.source
        return f"row {index}" if isinstance(pictures, Rows) else PurePosixPath(pictures.name(index)).name

    def __getitem__(self, index: int) -> ValidationPair:
        """Pair `index`: given pictures whole, a clean one cut to `max_side`, up to what does not divide.

        Raises:
            Mistake: it cannot be decoded, is too small, or not a pair at this scale.
        """
        try:
            if isinstance(self.source, PairSource):
                lq, gt = self.source.read(index, self.scale)
                lq = trimmed(lq, self.lq_multiple, None).contiguous()
            else:
                lq, gt = None, self.source.read(index)
            gt = trimmed(gt, self.scale * self.lq_multiple, None if self.paired else self.max_side)
        except Unreadable as error:
            raise Mistake(f"{self.source.key}: a picture to validate on cannot be used, {error}.") from error
        least = max(self.least, self.scale * self.lq_multiple)
        if min(gt.shape[1:]) < least:
            name, was_cut = self.source.name(index), self.max_side is not None and not self.paired
            cut = f" once cut to max_side, {self.max_side}" if was_cut else ""
            raise Mistake(f"{self.source.key}: {name} has a side below {least}{cut}, too small to validate on.")
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
    source: ValidationSource, scale: int, max_side: int | None, lq_multiple: int = 1, least: int = 1
) -> ValidationImages:
    """Open what to validate on and read all of it once, so that a bad picture is met before any training.

    Args:
        source: where the pictures are.
        scale: how many times larger ground truth is than its LQ.
        max_side: the largest side of a clean picture, whose middle is taken; None for all of it.
        lq_multiple: what the network asks of the sides of its input.
        least: the least side of ground truth that can be measured.

    Raises:
        Mistake: see `open` of the source and `ValidationImages`.
    """
    images = ValidationImages(source.open(), scale, max_side, lq_multiple, least)
    for index in range(len(images)):
        images[index]
    return images


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
