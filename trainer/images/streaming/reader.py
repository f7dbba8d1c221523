"""Training images from a stream: the same samples by position as `TrainingImages`, read in one forward sweep.

A reader keeps a cursor in each logical stream that it is asked for, and reads on, without decoding, to the picture that
is wanted. To find its place after a restart it passes over whole shards, if it knows how many pictures they hold. These
lengths are all that a checkpoint keeps of a stream: facts about the data, true whichever rank learnt them and however
far ahead, so that exactness never depends on them.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from trainer.images.away import Away
from trainer.images.crops import ATTEMPTS, ImageBatch, TrainingImage, TrainingImagesConfig, collate, training_crop
from trainer.images.opened import Unreadable
from trainer.images.streaming.dataset import ROWS, Shards
from trainer.images.streaming.order import ShardSchedule
from trainer.mistakes import Mistake


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """One picture of a shard, not decoded."""

    number: int
    """Shard and row: see `Shards.name`."""
    content: Any


class ShardLengths:
    """Lengths of shards in pictures, of those that were read to their end."""

    def __init__(self, known: Mapping[int, int]) -> None:
        self.known = dict(known)
        self.new: dict[int, int] = {}

    def learn(self, shards: Shards, shard: int, length: int) -> None:
        """Record the length of a shard read to its end; Mistake if it had another one before: positions would have
        moved."""
        before = self.known.setdefault(shard, length)
        if before != length:
            raise Mistake(
                f"images.source: {shards.names[shard]} has {length} pictures, and had {before} earlier in this run: "
                "the stream is not the same any more. Put the file back."
            )
        self.new[shard] = length

    def pop_new(self) -> dict[int, int]:
        """The lengths recorded since the last call."""
        new, self.new = self.new, {}
        return new


class LogicalStream:
    """A cursor in one logical stream."""

    def __init__(self, shards: Shards, schedule: ShardSchedule, stream: int, lengths: ShardLengths) -> None:
        self.shards, self.schedule, self.stream, self.lengths = shards, schedule, stream, lengths
        self.kept: dict[int, StoredPicture] = {}
        self._restart()

    def picture(self, number: int) -> StoredPicture:
        """Picture `number` of the stream; one before those that are kept means reading from the beginning."""
        if number in self.kept:
            return self.kept[number]
        if number < self.next:
            self._restart()
        self._pass_over(number)
        while self.next < number:
            self._read()
        self.kept[number] = self._read()
        return self.kept[number]

    def forget(self, number: int) -> None:
        """Drop pictures before number `number`."""
        self.kept = {kept: stored for kept, stored in self.kept.items() if kept >= number}

    def _restart(self) -> None:
        self.turn = 0
        self.first = self.next = 0  # the numbers of the shard's first picture, and of the one to read next
        self.rows: Iterator[Any] | None = None

    @property
    def shard(self) -> int:
        return self.schedule.shard(self.stream, self.turn)

    def _pass_over(self, number: int) -> None:
        """Skip shards, as far as their lengths are known, that end before picture `number`."""
        while (length := self.lengths.known.get(self.shard)) is not None and self.first + length <= number:
            self._turn(self.first + length)

    def _turn(self, first: int) -> None:
        """Go to the next shard, which begins with picture `first`."""
        self.turn += 1
        self.first = self.next = first
        self.rows = None

    def _read(self) -> StoredPicture:
        """The next picture, of this shard or of those to come."""
        while True:
            shard = self.shard
            self.rows = self.rows or enumerate(self.shards.rows(shard))
            try:
                for row, content in self.rows:
                    self.next += 1
                    return StoredPicture(shard * ROWS + row, content)
            except Away:
                self._restart()  # an interruption is not the end of a shard
                raise
            self.lengths.learn(self.shards, shard, self.next - self.first)
            self._turn(self.next)


class TrainingStream(Dataset[TrainingImage]):
    """Crops of streamed pictures by position, endless; fast if positions ascend.

    One process reads, so that nothing is read twice; `dataloader_num_workers` threads of it decode.
    """

    def __init__(
        self,
        shards: Shards,
        schedule: ShardSchedule,
        config: TrainingImagesConfig,
        seed: int,
        lengths: Mapping[int, int],
    ) -> None:
        """Cut `config.crop_size` squares from the pictures of `shards`.

        Args:
            shards: the shards to read.
            schedule: the picture of each position.
            config: how samples are cut.
            seed: the run's.
            lengths: the number of pictures in shards, as far as known.
        """
        self.shards, self.schedule, self.config, self.seed = shards, schedule, config, seed
        self.lengths = ShardLengths(lengths)
        self.streams: dict[int, LogicalStream] = {}
        self.reasons: dict[int, str] = {}
        self.threads: ThreadPoolExecutor | None = None  # made on first use: it cannot be sent to a worker

    @property
    def processes(self) -> int:
        """Worker processes that may read it."""
        return min(1, self.config.dataloader_num_workers)

    def __getitem__(self, position: int) -> TrainingImage:
        """Sample `position`; Mistake if neither its picture nor the `ATTEMPTS` that follow it can be decoded."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[TrainingImage]:
        """The samples of a micro-batch, whose positions DataLoader passes at once: decoded while later ones are
        read."""
        self.threads = self.threads or ThreadPoolExecutor(max(1, self.config.dataloader_num_workers))
        # of several numbers of one stream `dict` keeps the last, which is the lowest
        lowest = dict(sorted(map(self.schedule.place, positions), reverse=True))
        for stream, number in lowest.items():
            self._stream(stream).forget(number)
        started = [
            (position, self.threads.submit(self._sample, position, self._stored(position, 0))) for position in positions
        ]
        return [self._settled(position, future) for position, future in started]

    def collate(self, samples: Sequence[TrainingImage]) -> ImageBatch:
        """The batch, with the lengths and the reasons found while reading it."""
        reasons, self.reasons = self.reasons, {}
        return replace(collate(samples), reasons=reasons, lengths=self.lengths.pop_new())

    def describe(self, position: int) -> str:
        """Number and dataset of sample `position`, for messages: its shard is known to its reader only."""
        return f"position {position} of {self.shards.where}"

    def _stream(self, stream: int) -> LogicalStream:
        if stream not in self.streams:
            self.streams[stream] = LogicalStream(self.shards, self.schedule, stream, self.lengths)
        return self.streams[stream]

    def _stored(self, position: int, later: int) -> StoredPicture:
        """The picture of a position, or the one `later` pictures behind it in its logical stream."""
        stream, number = self.schedule.place(position)
        return self._stream(stream).picture(number + later)

    def _sample(self, position: int, stored: StoredPicture) -> Tensor:
        image = self.shards.decode(stored.content, stored.number)
        return training_crop(image, position, self.config, self.seed)

    def _settled(self, position: int, sample: "Future[Tensor]") -> TrainingImage:
        """The decoded sample; if its picture cannot be decoded, of the next one of its stream that can."""
        unreadable: list[int] = []
        for later in range(ATTEMPTS + 1):
            stored = self._stored(position, later)
            try:
                pixels = self._sample(position, stored) if later else sample.result()
                return TrainingImage(pixels, position, tuple(unreadable))
            except Away:
                raise  # the disk is at fault and not the picture, so there is no replacement
            except Unreadable as error:
                unreadable.append(stored.number)
                self.reasons[stored.number] = str(error)
                last = error
        raise Mistake(f"{len(unreadable)} pictures of {self.shards.where} in a row could not be decoded; last {last}.")
