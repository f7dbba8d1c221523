"""The pictures of a run on every rank: opened by one for all, or once per machine and compared."""

from pathlib import Path

from accelerate import Accelerator

from trainer.config.schema import RunConfig
from trainer.distributed.comparison import same_everywhere
from trainer.distributed.ranks import on_main, once_per_machine
from trainer.distributed.waiting import WATCH, say_on_stderr
from trainer.files.paths import is_absent
from trainer.images.away import reason_away
from trainer.images.hub_dataset import HubDataset
from trainer.images.pairs import DatasetPairs
from trainer.images.program import ProgramImages
from trainer.images.sources import ImageSource
from trainer.images.streaming.dataset import Shards
from trainer.images.validation import ValidationImages
from trainer.lifecycle.check_folder import was_trained_on
from trainer.lifecycle.open_images import check_small_source, open_images
from trainer.mistakes import Mistake

Opened = tuple[ImageSource | Shards, ValidationImages | None]
Proven = tuple[Opened, dict[int, str]]
WHAT = "opening the pictures"
PAUSE = 1.0
"""Seconds until a folder that is away is looked for again."""


def open_when_there(config: RunConfig, given: ImageSource | None = None) -> Proven:
    """Open and prove the pictures; a run that goes on waits for folders that it was trained on and that are away now.

    A disk may be mounted late. Where a run begins, or its folders were named anew, an absent one is a mistake.

    Raises:
        Mistake: see `open_images` and `check_small_source`.
        Stopped, GivenUp: see `Watch.until`.
    """
    told: list[str] = []

    def attempt() -> Proven | None:
        try:
            opened = open_images(config, given)
            return opened, check_small_source(opened[0])
        except Mistake as mistake:
            if not was_trained_on(config):
                raise
            away = folder_away(config)
            # With all folders there it is tried once more: one may have come back just now.
            if not away and told[-1:] == [str(mistake)]:
                raise
            if away and away not in told:
                say_on_stderr(f"images: {away}; the run was trained on it, so it is waited for.")
            told.append(away or str(mistake))
            return None

    return WATCH.until(attempt, "waiting for the pictures", lambda: folder_away(config), pause=PAUSE)


def folder_away(config: RunConfig) -> str:
    """The reason why a local folder of the pictures counts as away (absent, empty, not readable); empty if none is."""
    validation = config.validation.source if config.validation else None
    for source in (config.images.source, config.images.pairs, validation):
        for path in (getattr(source, key, None) for key in ("path", "gt", "lq")):
            if isinstance(path, str) and (Path(path).is_dir() or is_absent(path)) and (why := reason_away(Path(path))):
                return why.removeprefix("its ")
    return ""


def open_everywhere(accelerator: Accelerator, config: RunConfig, given: ImageSource | None = None) -> Proven:
    """The pictures to train and validate on, on every rank alike, and those of a small set that cannot be read.

    Rank 0 opens and proves them, and sends what it found. A dataset, which is open as files in the cache of a machine,
    is opened by each rank, first by one on each machine, which may have to download it.

    Raises Mistake, on every rank, where they cannot be had, or are others on another machine.
    """
    mine: list[Opened] = []

    def first() -> tuple[Opened | None, dict[int, str]]:
        opened, bad = open_when_there(config, given)
        mine.append(opened)
        return None if _is_local(config) else opened, bad

    sent, bad = on_main(accelerator, first, WHAT)
    if sent is not None:
        return sent, bad

    def own() -> Opened:
        if not mine:
            mine.append(open_when_there(config, given)[0])
        return mine[0]

    once_per_machine(accelerator, own, WHAT)
    source, validation = own()
    facts: dict[str, object] = {"images": source.identity.content}
    if validation:
        facts["validation.source"] = validation.content
    same_everywhere(accelerator, facts, "every machine needs the same data under that key.")
    return (source, validation), bad


def _is_local(config: RunConfig) -> bool:
    """True if some source can only be opened in the process that reads it."""
    validation = config.validation.source if config.validation else None
    sources = (config.images.source, config.images.pairs, validation)
    return any(isinstance(source, HubDataset | DatasetPairs | ProgramImages) for source in sources)
