"""The pictures of a run on every rank: opened by one for all, or once per machine and compared."""

from accelerate import Accelerator

from trainer.comparison import same_everywhere
from trainer.config import RunConfig
from trainer.images.hub_dataset import HubDataset
from trainer.images.pairs import DatasetPairs, ValidationImages
from trainer.images.sources import ImageSource
from trainer.images.stream import Shards
from trainer.opening import open_images, prove
from trainer.ranks import on_main, once_per_machine

Opened = tuple[ImageSource | Shards, ValidationImages | None]
WHAT = "opening the pictures"


def open_everywhere(accelerator: Accelerator, config: RunConfig) -> tuple[Opened, dict[int, str]]:
    """The pictures to train and validate on, on every rank alike, and those of a small set that cannot be read.

    Rank 0 opens and proves them, and sends what it found. A dataset, which is open as files in the cache of a machine,
    is opened by each rank, first by one on each machine, which may have to download it.

    Raises Mistake, on every rank, where they cannot be had, or are others on another machine.
    """
    mine: list[Opened] = []

    def first() -> tuple[Opened | None, dict[int, str]]:
        mine.append(open_images(config))
        return None if _is_local(config) else mine[0], prove(mine[0][0])

    sent, bad = on_main(accelerator, first, WHAT)
    if sent is not None:
        return sent, bad

    def own() -> Opened:
        if not mine:
            mine.append(open_images(config))
        return mine[0]

    once_per_machine(accelerator, own, WHAT)
    source, validation = own()
    facts: dict[str, object] = {"images": source.identity.content}
    if validation:
        facts["validation.source"] = validation.content
    same_everywhere(accelerator, facts, "every machine needs the same data under that key.")
    return (source, validation), bad


def _is_local(config: RunConfig) -> bool:
    """Whether some of it can only be opened where it is read."""
    validation = config.validation.source if config.validation else None
    sources = (config.images.source, config.images.pairs, validation)
    return any(isinstance(source, HubDataset | DatasetPairs) for source in sources)
