"""The pictures of a run: found and proven before anything is trained, and what a person should know of them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.config.schema import RunConfig
from trainer.images.away import Away
from trainer.images.crops import TrainingImages
from trainer.images.levels import unit
from trainer.images.machine import check_shared_memory, cores_of_a_process, local_processes, note_on_workers
from trainer.images.mixture import Mixture, TrainingMixture
from trainer.images.opened import Unreadable
from trainer.images.reading import TrainingDataset
from trainer.images.sources import ImageSource, first_readable
from trainer.images.streaming.dataset import Shards, StreamedDataset
from trainer.images.streaming.order import ShardSchedule, shard_schedule
from trainer.images.streaming.reader import TrainingStream
from trainer.images.unreadable import share_of, too_many
from trainer.images.validation import ValidationImages, open_validation
from trainer.mistakes import Mistake, gather
from trainer.pairs.stream import Stream

SMALL = 100
"""Pictures up to which a source is read whole before the training."""
CLIPPED, DARK = 0.5, 0.02
"""A declared white is doubted where more than this share of a picture is above it, or all of it below that share."""


def open_images(
    config: RunConfig, given: ImageSource | None = None
) -> tuple[ImageSource | Shards, ValidationImages | None]:
    """Find the pictures to train and validate on; Mistake, naming the configuration keys, where none decodes."""
    source, pictures = gather(lambda: open_training(config, given), lambda: open_pictures(config))
    return source, pictures


def open_pictures(config: RunConfig) -> ValidationImages | None:
    """Find the pictures to validate on; None where the run has no validation."""
    if (settings := config.validation) is None:
        return None
    with under_key("validation.source"):
        multiple = config.generator.input_multiple(config.scale)
        least = settings.least_side(config.scale)
        budget = config.images.budget
        return open_validation(settings.source, config.scale, settings.max_side, multiple, least, budget)


def open_training(config: RunConfig, given: ImageSource | None = None) -> ImageSource | Shards:
    """Find the clean pictures, the given pairs, or both; Mistake where none can be used."""
    images = config.images
    clean: ImageSource | None = None
    if images.source:
        with under_key("images.source"):
            opened = given or images.source.open(images.budget)
            if isinstance(opened, Shards):  # which were opened by decoding one
                return opened
            first_readable(clean := opened)
    if images.pairs is None:
        assert clean is not None, "a configuration has clean pictures or pairs"
        return clean
    with under_key("images.pairs"):
        pairs = images.pairs.open(images.budget)
        first_readable(Mixture(None, pairs, config.scale, config.gt_size))
    return Mixture(clean, pairs, config.scale, config.gt_size, images.pair_prob)


@contextmanager
def under_key(key: str) -> Iterator[None]:
    """Complete the key that a source's Mistake begins with."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake(f"{key}.{mistake}") from None


def check_small_source(source: ImageSource | Shards) -> dict[int, str]:
    """Read all pictures of a small source: the numbers of those that cannot be, with name and reason.

    Of a few pictures one is more than 1 %, and who has a few wants to know of each, before the training.

    Raises:
        Mistake: they are too many, all of which it names: see `too_many`.
    """
    if isinstance(source, Shards) or len(source) > SMALL:
        return {}
    found = {}
    for index in range(len(source)):
        try:
            source.read(index)
        except Away as error:
            raise Mistake(f"images: {error}.") from error
        except Unreadable as error:
            found[index] = str(error)
    if too_many(len(found), len(source)):
        raise Mistake(f"images: {share_of(len(found), len(source))}: {'; '.join(found.values())}.")
    return found


def check_machine(config: RunConfig, processes: int) -> list[str]:
    """A sentence where this machine has fewer cores than processes read; Mistake where its shared memory is too small.

    `processes` are those of the whole run.
    """
    images, local = config.images, local_processes(processes)
    wanted = images.dataloader_num_workers
    workers = min(wanted, cores_of_a_process(local), 1 if isinstance(images.source, StreamedDataset) else wanted)
    side = max(images.crop_size if images.source else 0, config.gt_size if images.pairs else 0)
    pairs = 1 if config.batch.per_device == "auto" else config.batch.per_device  # more where they fit
    batch = pairs * images.bands * side**2 * (2 if images.radiometry else 1)
    check_shared_memory(batch, workers, local)
    return note_on_workers(wanted, local)


def stream_of(source: ImageSource | Shards) -> Stream:
    """The stream that a source makes, at its beginning."""
    known = source.identity
    return Stream(known.pictures, known.names, content=known.content, times=known.times)


def names_of_old(source: ImageSource | Shards) -> str:
    """The checksum by which checkpoints of earlier versions know pictures: of names with the path to them."""
    names = source.names if isinstance(source, Shards) else [source.name(index) for index in range(len(source))]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def samples_of(source: ImageSource | Shards, config: RunConfig, stream: Stream) -> TrainingDataset:
    """Training samples by position; of a streamed dataset `stream` has the lengths of the shards that were read."""
    if isinstance(source, Mixture):
        return TrainingMixture(source, config.images, config.seed)
    if not isinstance(source, Shards):
        return TrainingImages(source, config.images, config.seed)
    return TrainingStream(source, order_of(source, config), config.images, config.seed, stream.lengths)


def order_of(source: Shards, config: RunConfig) -> ShardSchedule:
    """The order in which a streamed dataset is shown."""
    return shard_schedule(len(source.names), source.logical_streams, config.batch.global_size, config.seed)


def notes_on_images(source: ImageSource | Shards, config: RunConfig, ranks: int) -> list[str]:
    """Notes on the pictures, a sentence each; empty if all is well."""
    return [*source.notes, *notes_on_levels(source, config), *notes_on_sharing(source, config, ranks)]


def notes_on_levels(source: ImageSource | Shards, config: RunConfig) -> list[str]:
    """A note if the first picture suggests that `black` and `white` were declared for other numbers."""
    radiometry = config.images.radiometry
    if radiometry is None or isinstance(source, Shards):
        return []
    shares = unit(first_readable(source))
    clipped, largest = float((shares >= 1).float().mean()), float(shares.max())
    declared = (
        f"radiometry: black {radiometry.black:g} and white {radiometry.white:g} are declared, but of the first picture"
    )
    if clipped > CLIPPED:
        return [f"{declared} {100 * clipped:.0f} % is at or above white: is white too low?"]
    if largest < DARK:
        return [f"{declared} nothing is above {100 * largest:.2g} % of that range: is white too high?"]
    return []


def notes_on_sharing(source: ImageSource | Shards, config: RunConfig, ranks: int) -> list[str]:
    """A note if ranks share shards of a streamed dataset, which are then read more than once."""
    if not isinstance(source, Shards):
        return []
    order = order_of(source, config)
    if not order.shared(ranks):
        return []
    return [
        f"images.source: {order.streams} logical streams do not divide by {ranks} processes, so some shards are read "
        f"by more than one; every picture is still trained on once. {order.shards} shards, global_size "
        f"{config.batch.global_size} and logical_streams {source.logical_streams} make this number."
    ]
