"""The networks of a run, and the learners that train them, alike on all ranks."""

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.config.schema import RunConfig
from trainer.distributed.comparison import checksum, same_everywhere
from trainer.distributed.ranks import START_GRACE, once_per_machine
from trainer.mistakes import Mistake, gather
from trainer.networks import ImportedDiscriminatorConfig, SpandrelNetwork
from trainer.networks.given import as_discriminator, as_generator
from trainer.networks.keyed_masks import other_randomness
from trainer.networks.loading.initial import InitConfig, load_weights
from trainer.networks.zoo.detection import notes_on_detection
from trainer.optim.learner import Learner
from trainer.optim.lr_schedules import Constant
from trainer.optim.optimizers import averages_itself, try_out


def make_networks(
    config: RunConfig, init: InitConfig, net_g: nn.Module | None = None, net_d: nn.Module | None = None
) -> tuple[nn.Module, nn.Module | None, list[str]]:
    """Generator and discriminator with their initial weights: random ones of the seed, or those of `init`.

    `net_g` and `net_d` are taken in place of the configured networks where they are given. Also returns sentences on
    the weights that were loaded.
    """
    adversarial, bands, partial = config.adversarial, config.images.bands, init.partial

    def make_generator() -> tuple[nn.Module, list[str]]:
        with _buildable("generator"):
            side = config.gt_size // config.scale
            generator = (
                config.generator.build(config.scale, bands)
                if net_g is None
                else as_generator(net_g, side, config.scale, bands)
            )
        notes = notes_on_detection(generator) if isinstance(generator, SpandrelNetwork) else []
        if init.generator is None:
            return generator, notes
        return generator, notes + load_weights(generator, init.generator, "init.generator", partial=partial)

    def make_discriminator() -> tuple[nn.Module | None, list[str]]:
        if adversarial is None:
            return None, []
        with _buildable("adversarial.discriminator"):
            discriminator = (
                adversarial.discriminator.build(config.gt_size, bands)
                if net_d is None
                else as_discriminator(net_d, config.gt_size, bands)
            )
        if (origin := init.discriminator) is None:
            return discriminator, []
        return discriminator, load_weights(
            discriminator, origin, "init.discriminator", "discriminator", partial=partial
        )

    torch.manual_seed(config.seed)  # initial weights
    (generator, loaded), (discriminator, more) = gather(make_generator, make_discriminator)
    return generator, discriminator, loaded + more


def make_learners(
    config: RunConfig,
    accelerator: Accelerator,
    init: InitConfig,
    net_g: nn.Module | None = None,
    net_d: nn.Module | None = None,
) -> tuple[Learner, Learner | None, list[str]]:
    """The learners of `make_networks`' networks, which are the same on all ranks, and sentences on both. Collective."""
    if net_d is None:
        download_backbone(config, accelerator)
    net, discriminator, loaded = make_networks(config, init, net_g, net_d)
    networks = {"generator": net} | ({"adversarial.discriminator": discriminator} if discriminator is not None else {})
    facts: dict[str, object] = {}
    for key, part in networks.items():
        read = bool(init.generator if key == "generator" else init.discriminator)
        facts |= network_facts(key, part, weights=read and not init.partial)
    same_everywhere(accelerator, facts, "every machine needs the same networks and weights.", grace=START_GRACE)
    loaded += notes_on_statistics(net, accelerator.num_processes)
    for key, part in networks.items():
        if drawing := next(other_randomness(part), None):
            loaded.append(
                f"{key}: its {drawing} draws once for each micro-batch while it learns: the result depends on "
                "batch.per_device, though not on the number of processes"
            )
    loaded += check_optimizers(config)
    adversarial = config.adversarial
    with _buildable("optimizer"):
        generator = Learner(accelerator, net, config.optimizer, config.lr_scheduler)
    if discriminator is None or adversarial is None:
        return generator, None, loaded
    with _buildable("adversarial.optimizer"):
        judge = Learner(accelerator, discriminator, adversarial.optimizer, adversarial.lr_scheduler)
    return generator, judge, loaded


def check_optimizers(config: RunConfig) -> list[str]:
    """Try each optimizer on two small tensors, and give sentences on them; Mistake for one that cannot train here."""
    notes, settings = [], [("", config.optimizer, config.lr_scheduler)]
    if config.adversarial:
        settings.append(("adversarial.", config.adversarial.optimizer, config.adversarial.lr_scheduler))
    for above, optimizer, schedule in settings:
        with _buildable(f"{above}optimizer"):
            own_average = averages_itself(try_out(optimizer))
        if not own_average:
            continue
        if not isinstance(schedule, Constant):
            raise Mistake(
                f"{above}lr_scheduler: got {schedule.type}; {optimizer.type} averages its weights "
                "in place of a falling rate: it takes a constant one, with or without a warm-up."
            )
        if schedule.lr_warmup_steps and optimizer.arguments.get("warmup_steps"):
            raise Mistake(
                f"{above}optimizer.arguments: got warmup_steps beside {above}lr_scheduler.lr_warmup_steps; give one."
            )
        if not above:
            notes.append(
                f"optimizer: {optimizer.type} averages the weights itself: that average is validated and exported, and "
                "the section ema has no effect"
            )
    return notes


def download_backbone(config: RunConfig, accelerator: Accelerator) -> None:
    """Make an imported discriminator on one rank of each machine first: its constructor may download. Collective."""
    imported = config.adversarial and config.adversarial.discriminator
    if not isinstance(imported, ImportedDiscriminatorConfig) or accelerator.num_processes == 1:
        return

    def make() -> None:
        with _buildable("adversarial.discriminator"):
            imported.build(config.gt_size, config.images.bands)

    once_per_machine(accelerator, make, "making adversarial.discriminator, which may be downloaded")


def notes_on_statistics(net: nn.Module, processes: int) -> list[str]:
    """A sentence on a generator whose evaluation is not the same on all of several processes."""
    if processes == 1 or not any(
        isinstance(layer, _BatchNorm) and layer.running_mean is not None for layer in net.modules()
    ):
        return []
    return [
        "generator: its BatchNorms keep running statistics of each process's own pictures; those of process 0 are "
        "saved, and the result depends on the number of processes"
    ]


@contextmanager
def _buildable(key: str) -> Iterator[None]:
    """Turn what a network says against its settings into a Mistake under their key."""
    try:
        yield
    except ValueError as error:
        raise Mistake(f"{key}: {error}.") from error


def network_facts(name: str, net: nn.Module, weights: bool) -> dict[str, object]:
    """Facts of a network to compare over ranks: shapes, a checksum of its program, and of `weights` that were read.

    Frozen ones are taken for read. Not random ones: processors of different kinds draw them with other roundings, and
    all ranks get rank 0's.
    """
    facts: dict[str, object] = {f"{name}: {key}": list(value.shape) for key, value in net.named_parameters()}
    if file := inspect.getsourcefile(type(net)):
        facts[f"{name}: program {Path(file).name}"] = file_checksum(Path(file))
    if weights:
        facts[f"{name}: checksum of the weights"] = checksum([*net.parameters(), *net.buffers()]).item()
    elif still := [parameter for parameter in net.parameters() if not parameter.requires_grad]:
        facts[f"{name}: checksum of the frozen weights"] = checksum(still).item()
    return facts


def file_checksum(file: Path) -> str:
    """Of what a file holds, as short as a person compares it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
