"""Training images: sample number `position` is always the same crop of the same picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from degradations.keyed_random import words
from trainer.images.away import Away
from trainer.images.hub_dataset import HubDataset
from trainer.images.levels import bits
from trainer.images.machine import WORKERS
from trainer.images.opened import Budget, Unreadable
from trainer.images.pairs import TrainingPairs
from trainer.images.positions import DataPurpose, image_at
from trainer.images.program import ProgramImages
from trainer.images.radiometry import Radiometry
from trainer.images.sources import Folder, ImageSource, Package
from trainer.images.streaming.dataset import StreamedDataset
from trainer.mistakes import Mistake

ATTEMPTS = 8
"""Replacements tried for one sample. At the 1 % of bad pictures that end a run, 9 in a row are bad once in 10^18
samples; a disk that is unavailable is met earlier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImagesConfig:
    """The pictures that training cuts its samples from, and how they are cut."""

    source: Folder | Package | HubDataset | StreamedDataset | ProgramImages | None = None
    """The clean pictures, which are degraded; null if all pairs are given."""
    pairs: TrainingPairs | None = None
    """Pairs to train on as they are, such as photographs of two cameras; null has none."""
    pair_prob: float | None = None
    """The probability of a sample to be a given pair; required if there are both clean pictures and pairs, else
    null."""
    crop_size: int = 400
    """Side in pixels of the square that is cut from a clean picture; a smaller picture is mirrored to it."""
    use_hflip: bool = True
    """Mirror half of the crops left to right."""
    use_rot: bool = False
    """Also turn half of the crops upside down and transpose half: with `use_hflip`, all 8 orientations."""
    dataloader_num_workers: int = WORKERS
    """Processes per rank that decode pictures; 0 decodes in the training process. A streamed dataset is read by one
    process, so there it is threads. No more are used than a process has cores."""
    cache_mib: int = 64
    """Decoded pictures that each worker keeps, in MiB, so that a small set is decoded once. 0 keeps none, and of a
    streamed dataset none are kept."""

    max_picture_mib: int = 2048
    """The largest picture that is decoded, in MiB of memory while that is done, in each worker that does it: 11 bytes
    per pixel of RGB (15 of AVIF, 19 of WebP, 21 of JPEG 2000), 5 of gray; 100 megapixels take 1050. Validation too."""

    def __post_init__(self) -> None:
        least_values = {"crop_size": 1, "dataloader_num_workers": 0, "cache_mib": 0, "max_picture_mib": 1}
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if (self.pair_prob is not None) != (self.source is not None and self.pairs is not None):
            got = "null" if self.pair_prob is None else self.pair_prob
            raise ValueError(f"pair_prob: got {got}; must be given where there are both a source and pairs, only there")
        if self.pair_prob is not None and not 0 < self.pair_prob < 1:
            raise ValueError(f"pair_prob: got {self.pair_prob}; must be above 0 and below 1")
        if self.source and self.pairs and self.source.radiometry != self.pairs.radiometry:
            raise ValueError("pairs: their radiometry must be that of the source")

    @property
    def radiometry(self) -> Radiometry | None:
        """Meaning of the numbers of multi-band pictures; None for photographs."""
        return next((part.radiometry for part in (self.source, self.pairs) if part), None)

    @property
    def budget(self) -> Budget:
        """Limit for the memory of decoding one picture."""
        return Budget(self.max_picture_mib)

    @property
    def bands(self) -> int:
        """Channels of every picture."""
        return len(self.radiometry.bands) if self.radiometry else 3


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """One sample cut from a clean picture."""

    pixels: Tensor
    """uint8 or uint16 [C, crop, crop], contiguous."""
    position: int
    unreadable: tuple[int, ...]
    """Numbers of the pictures that could not be decoded for this sample."""


@dataclass(frozen=True, slots=True)
class GivenPairs:
    """Given pairs of one micro-batch, cut to the patches that are trained on."""

    lq: Tensor
    """uint8 or uint16 [m, C, gt_size/scale, gt_size/scale]."""
    gt: Tensor
    """The same type, [m, C, gt_size, gt_size]."""
    places: Tensor
    """int64 [m], on the host, ascending: their places in the micro-batch."""


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """The samples of one micro-batch."""

    pixels: Tensor | None
    """uint8 or uint16 [n, C, crop, crop]: those to be degraded; None if all are given pairs."""
    positions: Tensor
    """int64 [b], on the host: the keys of the degradations."""
    unreadable: list[int]
    """Numbers of the pictures that could not be decoded and were replaced, one entry per failure."""
    reasons: dict[int, str] = field(default_factory=dict)
    """Name and reason of each picture of a stream that could not be decoded: it cannot be looked up again."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Lengths, in pictures, of shards of a stream that were read to their end since the batch before."""
    given: GivenPairs | None = None
    """The given pairs among the samples, b - n of them."""

    def pin_memory(self) -> "ImageBatch":
        """The batch in page-locked memory, from which copies to the device overlap with work there; DataLoader calls
        this."""
        given = self.given and replace(self.given, lq=self.given.lq.pin_memory(), gt=self.given.gt.pin_memory())
        pixels = None if self.pixels is None else self.pixels.pin_memory()
        return replace(self, pixels=pixels, positions=self.positions.pin_memory(), given=given)


def collate(samples: Sequence[TrainingImage]) -> ImageBatch:
    """Stack samples into a batch, in their order."""
    return ImageBatch(
        pixels=torch.stack([sample.pixels for sample in samples]),
        positions=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        unreadable=[index for sample in samples for index in sample.unreadable],
    )


Decoded = tuple[Tensor, ...]
"""A picture, or the two of a given pair."""


@dataclass
class ImageCache:
    """Cache of decoded pictures by number, without eviction: the first ones that fit stay.

    An epoch is a permutation, so an LRU cache that holds half of the set would serve 15 % of the reads
    (1/2 - ln(2)/2); one that never evicts serves 50 %.
    """

    limit: int  # bytes
    used: int = 0
    images: dict[int, Decoded] = field(default_factory=dict)

    def read(self, index: int, decode: Callable[[int], Decoded]) -> Decoded:
        """Picture `index`, decoded at most once if there is room."""
        images = self.images.get(index)
        if images is None:
            images = decode(index)
            size = sum(image.nbytes for image in images)
            if self.used + size <= self.limit:
                self.images[index] = images
                self.used += size
        return images


def first_readable_sample(
    position: int, numbers: range, seed: int, read: Callable[[int], Decoded], what: str
) -> tuple[Decoded, tuple[int, ...]]:
    """Read the picture of sample `position` out of `numbers`, or the first of `ATTEMPTS` replacements that can be read.

    Returns:
        The decoded picture or pair, and the numbers of those that could not be read.

    Raises:
        Mistake: none could be read; `what` is the noun for them.
        Away: the disk is unavailable.
    """
    n = len(numbers)
    others = words(seed, position, DataPurpose.REPLACEMENT, ATTEMPTS)
    unreadable: list[int] = []
    for index in (image_at(position, n, seed), *(word_below(word, n) for word in others)):
        try:
            return read(numbers[index]), tuple(unreadable)
        except Away:
            raise  # the disk is at fault and not the picture, so there is no replacement
        except Unreadable as error:
            unreadable.append(numbers[index])
            last = error
    raise Mistake(f"{len(unreadable)} {what} in a row could not be used; last {last}.")


class TrainingImages(Dataset[TrainingImage]):
    """Crops of pictures by position, endless: every position from 0 on is a sample."""

    def __init__(
        self, source: ImageSource, config: TrainingImagesConfig, seed: int, cache: ImageCache | None = None
    ) -> None:
        """Cut `config.crop_size` squares from `source`; `seed` is the run's; `cache` may be shared with others."""
        self.source, self.config, self.seed = source, config, seed
        self.cache = cache or ImageCache(limit=config.cache_mib * 2**20)

    @property
    def processes(self) -> int:
        """Worker processes that may read it."""
        return self.config.dataloader_num_workers

    def collate(self, samples: Sequence[TrainingImage]) -> ImageBatch:
        """The batch: see `collate`."""
        return collate(samples)

    def __getitem__(self, position: int) -> TrainingImage:
        """Sample `position`.

        Raises:
            Mistake: neither its picture nor `ATTEMPTS` others could be decoded.
        """
        numbers = range(len(self.source))
        (image,), unreadable = first_readable_sample(
            position, numbers, self.seed, self._read, f"pictures of {self.source.where}"
        )
        return TrainingImage(training_crop(image, position, self.config, self.seed), position, unreadable)

    def describe(self, position: int) -> str:
        """Number and picture of sample `position`, for messages."""
        return f"position {position}: {self.source.name(image_at(position, len(self.source), self.seed))}"

    def _read(self, index: int) -> Decoded:
        return self.cache.read(index, lambda number: (self.source.read(number),))


def training_crop(image: Tensor, position: int, config: TrainingImagesConfig, seed: int) -> Tensor:
    """Cut and augment the picture of sample `position`.

    Args:
        image: uint8 or uint16 [C, H, W].
        position: of the training stream.
        config: how samples are cut.
        seed: the run's.

    Returns:
        [C, crop_size, crop_size] of the same type, contiguous; see `augment`.
    """
    row, column = words(seed, position, DataPurpose.CROP, 2)
    return augment(square_at(image, row, column, config.crop_size), position, config, seed)


def augment(pixels: Tensor, position: int, config: TrainingImagesConfig, seed: int) -> Tensor:
    """Augment sample `position` [C, H, H] as BasicSR's `augment`: flips and transposition, each with probability
    1/2."""
    hflip, vflip, transpose = (word & 1 for word in words(seed, position, DataPurpose.FLIP, 3))
    dtype, pixels = pixels.dtype, bits(pixels)
    if config.use_hflip and hflip:
        pixels = pixels.flip(2)
    if config.use_rot and vflip:
        pixels = pixels.flip(1)
    if config.use_rot and transpose:
        pixels = pixels.transpose(1, 2)
    return pixels.contiguous().view(dtype)


def square_at(image: Tensor, row: int, column: int, size: int) -> Tensor:
    """Cut a square from a picture at a place chosen by two 32-bit words.

    A picture smaller than the square is continued to the right and below by mirroring without repeating the
    edge (OpenCV's BORDER_REFLECT_101, as upstream), again and again if it must be.

    Args:
        image: [C, H, W].
        row, column: uniform words in [0, 2**32).
        size: side of the square.

    Returns:
        [C, size, size]; a view of `image` if that is large enough.
    """
    for axis, word in ((1, row), (2, column)):
        length = image.shape[axis]
        if length >= size:
            image = image.narrow(axis, word_below(word, length - size + 1), size)
        else:
            image = image.index_select(axis, reflected_indices(length, size))
    return image


def reflected_indices(length: int, size: int) -> Tensor:
    """Indices that continue a row by mirroring, 0, 1, ..., length-1, length-2, ..., 1, 0, 1, ... : int64 [size]."""
    if length == 1:
        return torch.zeros(size, dtype=torch.int64)
    phase = torch.arange(size) % (2 * length - 2)
    return torch.minimum(phase, 2 * length - 2 - phase)


def word_below(word: int, n: int) -> int:
    """Map a uniform 32-bit word to `range(n)`: multiply and shift; the bias is below n / 2**32."""
    return (word * n) >> 32
