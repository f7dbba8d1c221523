"""Which stream of pictures a run reads, and how far it has come."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Stream:
    """Which stream the run reads, and how far it has come."""

    pictures: int
    """How many pictures there are, or shards of a streamed dataset: with another number every position shows another
    one."""
    names: str
    """A checksum of what they are called below their folder, in their order."""
    position: int = 0
    """The next sample to make: all before it were trained on, or lie in the pool."""
    lengths: dict[int, int] = field(default_factory=dict)
    """How many pictures the shards of a streamed dataset hold, as far as they were read: a resumed run passes over."""
    content: str = ""
    """A checksum of names and sizes, or of what rows hold: by this pictures are recognised, wherever they lie."""
    times: str = ""
    """A checksum of when the files were modified."""
