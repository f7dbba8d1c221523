"""The order of a streamed dataset, as a function of the position alone.

The shards of all epochs, each epoch permuted by key, make one endless sequence. It is dealt out to a fixed number of
logical streams: stream k of S reads the shards k, k + S, k + 2 S, ... of the sequence one after another, so uneven
shards leave no stream without pictures and none ahead of the others. Position p of the training stream is a picture of
one logical stream, and is found by reading that stream from its beginning, independent of ranks, workers and restarts.
There is no shuffle buffer: the streams are read side by side, and the pool mixes.
"""

from dataclasses import dataclass

from trainer.images.positions import image_at


@dataclass(frozen=True, slots=True)
class ShardSchedule:
    """Assignment of shards to logical streams, and of positions to the streams' pictures."""

    shards: int
    streams: int
    block: int
    """Positions in a row that belong to one stream: with `streams * block` the global batch, a rank that holds a
    contiguous part of the batch reads its own streams only."""
    seed: int

    def place(self, position: int) -> tuple[int, int]:
        """The logical stream of a position, and the number of its picture in it, counted from 0."""
        block, within = divmod(position, self.block)
        turn, stream = divmod(block, self.streams)
        return stream, turn * self.block + within

    def shard(self, stream: int, turn: int) -> int:
        """The shard that a logical stream reads at its turn 0, 1, 2, ...: every one once per epoch."""
        return image_at(turn * self.streams + stream, self.shards, self.seed)

    def shared(self, ranks: int) -> bool:
        """True if a stream must be read by more than one of so many ranks, each for its own pictures."""
        return self.streams % ranks != 0


def shard_schedule(shards: int, logical_streams: int, global_size: int, seed: int) -> ShardSchedule:
    """The schedule for a global batch: as many streams, up to `logical_streams` and `shards`, as divide it."""
    most = min(shards, logical_streams, global_size)
    streams = next(number for number in range(most, 0, -1) if global_size % number == 0)
    return ShardSchedule(shards, streams, global_size // streams, seed)
