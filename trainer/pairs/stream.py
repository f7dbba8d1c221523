"""The stream of pictures that a run reads, and its position in it."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Stream:
    """Identity of the stream that a run reads, and its position in it."""

    pictures: int
    """The number of pictures, or of shards of a streamed dataset: with another one positions show other pictures."""
    names: str
    """A checksum of their names below their folder, in their order."""
    position: int = 0
    """The next sample to make: all before it were trained on, or lie in the pool."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Pictures in each shard of a streamed dataset that was read whole: a resumed run skips it."""
    content: str = ""
    """A checksum of names and sizes, or of what rows hold: by this pictures are recognised, wherever they lie."""
    times: str = ""
    """A checksum of when the files were modified."""
