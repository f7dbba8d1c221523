"""Given pairs, to train and validate on: two folders whose names match, or two columns of a dataset."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from trainer.files.paths import PathText
from trainer.images.hub_dataset import HubDataset, Rows
from trainer.images.identity import Identity, combined
from trainer.images.listing import find_images
from trainer.images.lists import check_present, examples, read_list
from trainer.images.matching import files_by_stem, partner, template_of, without_ending
from trainer.images.opened import BUDGET, Budget, Unreadable
from trainer.images.program import ProgramImages
from trainer.images.radiometry import Radiometry, raster_library
from trainer.images.sources import ImageSource, files_below
from trainer.mistakes import Mistake


@dataclass(frozen=True, slots=True)
class PairSource:
    """Ground truth and low-quality pictures of the same scenes, under the same numbers."""

    gt: ImageSource
    lq: ImageSource
    key: str

    @property
    def where(self) -> str:
        """Both sources, for error messages."""
        return f"{self.gt.where} and {self.lq.where}"

    @property
    def identity(self) -> Identity:
        """Identity of both sources."""
        return combined(self.gt.identity, self.lq.identity)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on how the pictures were found, a sentence each."""
        return tuple(dict.fromkeys(self.gt.notes + self.lq.notes))

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
        self.check(index, lq, gt, scale)
        return lq, gt

    def check(self, index: int, lq: Tensor, gt: Tensor, scale: int) -> None:
        """Raise Unreadable unless the ground truth of pair `index` is exactly `scale` times as large as its LQ."""
        if [scale * side for side in lq.shape[1:]] != list(gt.shape[1:]):
            wanted = f"wanted exactly x{scale}, {scale * lq.shape[2]}x{scale * lq.shape[1]}"
            raise Unreadable(
                self.name(index), f"it is {_size(gt)} and {self.lq.name(index)!r} is {_size(lq)}; {wanted}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFolders:
    """Two folders of pictures matched by name: good ones, and poor ones of the same scenes."""

    gt: PathText
    """The folder of the good pictures (ground truth), each exactly `scale` times as large as its partner."""
    lq: PathText
    """The folder of the poor pictures (low quality); the endings of partners may differ."""
    lq_name: str = "{}"
    """The name of a good picture's partner, {} being the good one's name without its ending: '{}x4' pairs 0001.png with
    0001x4.png, as in DIV2K (upstream's `filename_tmpl`)."""
    list: PathText | None = None
    """A text file of the pairs to take: on each line `gt, lq`, names in the two folders, which may then be one; or `gt`
    alone, whose partner follows from `lq_name` (upstream's `meta_info`). null takes all."""
    radiometry: Radiometry | None = None
    """For multi-band files, such as GeoTIFF: their bands and what their numbers mean. null: photographs."""
    type: Literal["pairs"] = "pairs"

    def __post_init__(self) -> None:
        if re.fullmatch(r"[^{}/]*\{\}[^{}/]*", self.lq_name) is None:
            raise ValueError(f"lq_name: got {self.lq_name!r}; must be a name with one {{}} in it, as in '{{}}x4'")

    def open(self, budget: Budget = BUDGET) -> PairSource:
        """Match the two folders, or find the pairs of `list`.

        Raises:
            Mistake: a folder is missing or has no picture, two pictures share a name, or one has no partner; see
                `read_list` and `check_present` for those about a list.
        """
        if self.radiometry:
            raster_library()
        if self.list is not None:
            return self._source(self._listed(self.list), budget)
        gt, lq = files_by_stem(self.gt, "gt"), files_by_stem(self.lq, "lq")
        if Path(self.gt).samefile(self.lq):
            partners = {partner(stem, self.lq_name) for stem in gt}
            gt = {stem: file for stem, file in gt.items() if stem not in partners}
            lq = {stem: file for stem, file in lq.items() if stem in partners}
            if not gt:
                raise Mistake(f"lq: {self.lq!r} is the folder of gt too; wanted another, or lq_name, or a list.")
        wanted = {partner(stem, self.lq_name): stem for stem in gt}
        if wanted.keys() != lq.keys():
            raise Mistake(self._unmatched_message(gt, lq, wanted))
        return self._source([(gt[stem], lq[partner(stem, self.lq_name)]) for stem in sorted(gt)], budget)

    def _listed(self, path: str) -> Sequence[tuple[str, str]]:
        """The pairs of a list, good and poor, in its order."""
        there = find_images(self.gt, "gt"), find_images(self.lq, "lq")
        lines = read_list(path)
        check_present(path, self.gt, (names[0] for names in lines), there[0])
        if any(len(names) == 1 for names in lines):
            poor = files_by_stem(self.lq, "lq")
            alone = [name for name, *rest in lines if not rest and self._partner(name) not in poor]
            if alone:
                raise Mistake(f"lq: {self._missing(alone, len(lines))}.")
            lines = [names if len(names) == 2 else [names[0], poor[self._partner(names[0])]] for names in lines]
        check_present(path, self.lq, (names[1] for names in lines), there[1])
        return [(good, bad) for good, bad in lines]

    def _partner(self, file: str) -> str:
        return partner(without_ending(file), self.lq_name)

    def _unmatched_message(self, gt: dict[str, str], lq: dict[str, str], wanted: dict[str, str]) -> str:
        """Error message about pictures without partners, on either side, with the `lq_name` that would pair them."""
        unmatched = sorted(gt[stem] for name, stem in wanted.items() if name not in lq)
        others = sorted(lq[stem] for stem in lq.keys() - wanted.keys())
        parts = [self._missing(unmatched, len(gt))] if unmatched else []
        if others:
            parts.append(f"{len(others)} of the {len(lq)} of {self.lq!r} are no partner of any: {examples(others)}")
        hint = template_of(gt, lq)
        remedy = f"; lq_name: '{hint}' would pair them all" if hint and hint != self.lq_name else ""
        return f"lq: {'; '.join(parts)}{remedy}."

    def _missing(self, files: Sequence[str], total: int) -> str:
        looked_for = "" if self.lq_name == "{}" else f", named {self.lq_name!r}"
        count = f"{len(files)} of the {total} pictures of {self.gt!r}"
        return f"{count} have no partner in {self.lq!r}{looked_for}: {examples(files)}"

    def _source(self, pairs: Sequence[tuple[str, str]], budget: Budget) -> PairSource:
        good, poor = (
            files_below(folder, key, (pair[side] for pair in pairs), self.radiometry, budget)
            for side, (key, folder) in enumerate((("gt", self.gt), ("lq", self.lq)))
        )
        return PairSource(good, poor, "gt")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetPairs:
    """A Hugging Face dataset with a column of good pictures and one of poor pictures of the same scenes."""

    path: PathText
    """`user/name` on the hub, a folder written by `save_to_disk`, or a parquet file, folder or `tiles/*.parquet`."""
    gt_column: str
    """The column of the good pictures, each exactly `scale` times as large as its partner."""
    lq_column: str
    """The column of the poor pictures."""
    name: str | None = None
    """The configuration (subset) of the dataset, if it has several."""
    split: str = "train"
    """The split to read."""
    revision: str | None = None
    """A branch, tag or commit on the hub; by default the newest."""
    radiometry: Radiometry | None = None
    """For multi-band pictures, arrays or encoded rasters: their bands and what their numbers mean."""
    type: Literal["dataset_pairs"] = "dataset_pairs"

    def open(self, budget: Budget = BUDGET) -> PairSource:
        """Load the dataset and find both columns; Mistake if it cannot be loaded or lacks one."""
        gt = self._column("gt_column", self.gt_column, budget)
        return PairSource(gt, self._column("lq_column", self.lq_column, budget), "path")

    def _column(self, key: str, column: str, budget: Budget) -> Rows:
        dataset = HubDataset(
            path=self.path,
            name=self.name,
            split=self.split,
            image_column=column,
            revision=self.revision,
            radiometry=self.radiometry,
        )
        try:
            return dataset.open(budget)
        except Mistake as mistake:
            raise Mistake(str(mistake).replace("image_column:", f"{key}:", 1)) from None


TrainingPairs = PairFolders | DatasetPairs | ProgramImages
"""Sources of pairs to train on; a configuration chooses by `type`."""


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
