"""Training on given pairs, alone or mixed with clean pictures by probability: sample `position` is always the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from degradations.keyed_random import words
from trainer.images.crops import (
    Decoded,
    GivenPairs,
    ImageBatch,
    ImageCache,
    TrainingImage,
    TrainingImages,
    TrainingImagesConfig,
    augment,
    collate,
    first_readable_sample,
    word_below,
)
from trainer.images.identity import Identity, combined
from trainer.images.opened import Unreadable
from trainer.images.pairs import PairSource
from trainer.images.positions import DataPurpose, image_at
from trainer.images.sources import ImageSource


@dataclass(frozen=True, slots=True)
class Mixture:
    """Clean pictures, then given pairs, under one numbering, by which they are named and read."""

    clean: ImageSource | None
    pairs: PairSource
    scale: int
    gt_size: int
    """The least side of a pair's ground truth."""
    pair_prob: float | None = None
    """The probability of a sample to be a pair; None, without clean pictures, is always."""

    @property
    def where(self) -> str:
        """All sources, for error messages."""
        return f"{self.clean.where} and pairs of {self.pairs.where}" if self.clean else f"pairs of {self.pairs.where}"

    @property
    def identity(self) -> Identity:
        """Identity of all sources, with the count of the mixture."""
        parts = (self.clean.identity, self.pairs.identity) if self.clean else (self.pairs.identity,)
        return replace(combined(*parts), pictures=len(self))

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on how the pictures were found, a sentence each."""
        return (self.clean.notes if self.clean else ()) + self.pairs.notes

    @property
    def key(self) -> str:
        """The configuration key that errors about a pair begin with."""
        return self.pairs.key

    @property
    def first(self) -> int:
        """The number of the first pair."""
        return len(self.clean) if self.clean else 0

    def __len__(self) -> int:
        return self.first + len(self.pairs)

    def is_given(self, position: int, seed: int) -> bool:
        """True if sample `position` is a given pair, which is not degraded."""
        return self.pair_prob is None or words(seed, position, DataPurpose.GIVEN, 1)[0] < self.pair_prob * 2**32

    def name(self, index: int) -> str:
        """The picture's name; of a pair, its ground truth's."""
        if self.clean and index < self.first:
            return self.clean.name(index)
        return self.pairs.name(index - self.first)

    def read(self, index: int) -> Tensor:
        """The picture, or the ground truth of the pair; Unreadable if it cannot be decoded, or its pair does not fit
        it."""
        if self.clean and index < self.first:
            return self.clean.read(index)
        return self.pair(index - self.first)[1]

    def pair(self, number: int) -> tuple[Tensor, Tensor]:
        """Pair `number`, LQ and ground truth; Unreadable if it cannot be decoded, the sizes do not match, or no patch
        fits in."""
        lq, gt = self.pairs.read(number, self.scale)
        if min(gt.shape[1:]) < self.gt_size:
            size = f"{gt.shape[2]}x{gt.shape[1]}"
            raise Unreadable(self.pairs.name(number), f"{size} is smaller than gt_size, {self.gt_size}")
        return lq, gt


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """One sample that is a given pair."""

    lq: Tensor
    gt: Tensor
    position: int
    unreadable: tuple[int, ...]
    """Numbers, in the mixture, of the pairs that could not be read for this sample."""


class TrainingMixture(Dataset[TrainingImage | TrainingPair]):
    """Samples by position, endless: with probability `pair_prob` (always, if there are no clean pictures) a patch of
    a given pair, else a crop of a clean picture."""

    def __init__(self, source: Mixture, config: TrainingImagesConfig, seed: int) -> None:
        self.source, self.config, self.seed = source, config, seed
        self.cache = ImageCache(limit=config.cache_mib * 2**20)  # by the mixture's numbers
        self.images = TrainingImages(source.clean, config, seed, self.cache) if source.clean else None

    @property
    def processes(self) -> int:
        """Worker processes that may read it."""
        return self.config.dataloader_num_workers

    def __getitem__(self, position: int) -> TrainingImage | TrainingPair:
        """Sample `position`; Mistake if neither its picture nor `ATTEMPTS` others can be used."""
        if self.images and not self.source.is_given(position, self.seed):
            return self.images[position]
        numbers = range(self.source.first, len(self.source))
        what = f"pairs of {self.source.pairs.where}"
        (lq, gt), unreadable = first_readable_sample(position, numbers, self.seed, self._read, what)
        lq, gt = self._patch(lq, gt, position)
        return TrainingPair(lq, gt, position, unreadable)

    def collate(self, samples: Sequence[TrainingImage | TrainingPair]) -> ImageBatch:
        """The batch: pictures to be degraded, and given pairs with their places."""
        positions = torch.tensor([sample.position for sample in samples])
        clean = [sample for sample in samples if isinstance(sample, TrainingImage)]
        pairs = [sample for sample in samples if isinstance(sample, TrainingPair)]
        unreadable = [index for sample in samples for index in sample.unreadable]
        batch = replace(collate(clean), positions=positions) if clean else ImageBatch(None, positions, [])
        if not pairs:
            return batch
        given = GivenPairs(
            lq=torch.stack([pair.lq for pair in pairs]),
            gt=torch.stack([pair.gt for pair in pairs]),
            places=torch.tensor([place for place, sample in enumerate(samples) if isinstance(sample, TrainingPair)]),
        )
        return replace(batch, unreadable=unreadable, given=given)

    def describe(self, position: int) -> str:
        """Number and picture of sample `position`, for messages."""
        if self.images and not self.source.is_given(position, self.seed):
            return self.images.describe(position)
        count = len(self.source) - self.source.first
        return f"position {position}: {self.source.name(self.source.first + image_at(position, count, self.seed))}"

    def _read(self, index: int) -> Decoded:
        return self.cache.read(index, lambda number: self.source.pair(number - self.source.first))

    def _patch(self, lq: Tensor, gt: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Cut the same random square from both and augment them alike: BasicSR's `paired_random_crop` and `augment`."""
        scale = self.source.scale
        side = self.source.gt_size // scale
        row, column = words(self.seed, position, DataPurpose.CROP, 2)
        top, left = word_below(row, lq.shape[1] - side + 1), word_below(column, lq.shape[2] - side + 1)
        lq = lq[:, top : top + side, left : left + side]
        gt = gt[:, scale * top : scale * (top + side), scale * left : scale * (left + side)]
        return augment(lq, position, self.config, self.seed), augment(gt, position, self.config, self.seed)
