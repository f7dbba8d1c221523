"""Parts 3 and 4: the trainer as it is, and its law that runs repeat and resume bit by bit."""

import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from first_contact.measuring import Spans
from first_contact.setting import GAN, NET, Setting
from first_contact.trained import Trained, profile_of, speed, waits, warm
from trainer.checkpoints.store import Checkpoints
from trainer.config.schema import RunConfig, folder_of
from trainer.training import train


def as_it_is(setting: Setting) -> None:
    """Part 3: both recipes as shipped (12 x 4), and 48 at once: speed, waits, launches, the price of the pairs."""
    batch = setting.sized(48, 2)
    full = ((GAN, 12), (GAN, 48), (NET, 12), (NET, 48))
    for recipe, per_device in full if not setting.tiny else ((GAN, 1), (NET, 2)):
        row = f"{recipe}, {per_device} x {batch // per_device}"
        trained = Trained(setting.config(recipe, batch, per_device, f"as-it-is-{recipe}-{per_device}"))
        setting.record.add("the trainer", row, **trained.seconds)
        try:
            one_setting(setting, trained, recipe, row, thorough=recipe == GAN)
        except torch.OutOfMemoryError as error:
            setting.record.add("the trainer", row, failed=str(error)[:90])
        trained.close()


def one_setting(setting: Setting, trained: Trained, recipe: str, row: str, thorough: bool) -> None:
    """The figures of a run."""
    warm(trained, setting.sized(3, 1))
    found = speed(trained, setting.sized(10, 1))
    setting.record.add("the trainer", row, **found)
    setting.record.add("waits of the host", row, **waits(trained, setting.sized(10, 1)))
    profile_of(trained, setting, row)
    setting.record.add("the trainer", row, **setting.share(recipe, found["images_s"]))
    if thorough:
        price_of_pairs(setting, trained, row)
        spans(setting, trained, row)  # last: its marks stay


def price_of_pairs(setting: Setting, trained: Trained, row: str) -> None:
    """A step's time with pairs made beside it, on its own stream, and not at all."""
    maker, count = trained.run.model.maker, setting.sized(6, 1)
    beside = speed(trained, count)["ms"]
    side, stream = maker._side, maker._side.stream if maker._side else None
    if side is not None:
        side.stream = None  # work and training share the main stream
    before = speed(trained, count)["ms"]
    if side is not None:
        side.stream = stream
    last, make = trained.run.model.last, maker.make
    maker.make = lambda *_: last
    none = speed(trained, count)["ms"]
    maker.make = make
    setting.record.add("a step's ms by how its pairs are made", row, beside=beside, before=before, none=none)
    setting.record.add("a step's ms by how its pairs are made", row, cost_of_beside=beside / none - 1)


def spans(setting: Setting, trained: Trained, row: str) -> None:
    """Milliseconds of the main stream by part of a step; `pairs` is how long it waits for them."""
    found, model, count = Spans(trained.device), trained.run.model, setting.sized(3, 1)
    found.around(model.maker, "make", "pairs")
    found.around(model, "targets", "targets")
    found.around(model.generator.net, "forward", "generator")
    if model.objective.perceptual:
        found.around(model.objective.perceptual, "forward", "vgg")
    if model.discriminator:
        found.around(model.discriminator.net, "forward", "discriminator")
    for name, learner in model.state.learners.items():
        found.around(learner, "backward", f"{name}_backward")
        found.around(learner, "step", "optimizers")
    found.around(model.state.ema, "update", "ema")
    found.mark()
    for _ in range(count):
        trained.step()
    found.mark()
    for part, ms in found.take().items():
        setting.record.add("a step's ms on the main stream", row, **{part: ms / count})


def bitwise(setting: Setting) -> None:
    """Part 4: a run twice, and once more with a death in its middle; what their last checkpoints differ in."""
    batch, steps = setting.sized(24, 4), setting.sized(6, 2)
    half = f"checkpoints.checkpointing_steps={steps // 2}"

    def config(name: str, *overrides: str) -> RunConfig:
        small = ("queue_size=96",) if not setting.tiny else ()
        made: RunConfig = setting.config(GAN, batch, batch // 2, name, *small, half, *overrides)
        return made

    def finished(name: str, *limits: int) -> dict[str, Tensor]:
        for limit in limits:
            train(config(name, f"max_train_steps={limit}"))
        return dict(everything(config(name), steps))

    first = finished("bitwise-first", steps)
    again, resumed = finished("bitwise-again", steps), None
    setting.record.add("bit by bit", "the same run again", **compared(first, again))
    resumed = finished("bitwise-resumed", steps // 2, steps)
    setting.record.add("bit by bit", "resumed after half", **compared(first, resumed))
    setting.record.add("bit by bit", "operations that PyTorch calls not deterministic", **not_deterministic(setting))


def everything(config: RunConfig, step: int) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint: weights, moments, average, pool."""
    checkpoints = Checkpoints(folder_of(config).checkpoints)
    yield from tensors("", checkpoints.load(step))
    pool = checkpoints.load_pool(step, 0, config.queue_size)
    if pool is not None:
        yield "pool", pool


def tensors(name: str, part: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a tree, by their paths."""
    if isinstance(part, Tensor):
        yield name, part
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from tensors(f"{name}/{key}", value)


def compared(one: dict[str, Tensor], two: dict[str, Tensor]) -> dict[str, Any]:
    """Whether two states are equal bit by bit; if not, how many tensors differ, the first, and by how much."""
    assert one.keys() == two.keys(), one.keys() ^ two.keys()
    differing = [name for name in one if not torch.equal(one[name], two[name])]
    if not differing:
        return {"equal": True, "tensors": len(one)}
    worst = (one[differing[0]].double() - two[differing[0]].double()).abs().max().item()
    return {"equal": False, "tensors": len(one), "differ": len(differing), "first": differing[0], "by": worst}


def not_deterministic(setting: Setting) -> dict[str, Any]:
    """The operations in a step of which `torch.use_deterministic_algorithms` warns."""
    batch = setting.sized(12, 2)
    trained = Trained(setting.config(GAN, batch, batch, "warned", f"queue_size={setting.sized(24, 4)}"))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            trained.step()
    except RuntimeError as error:  # some raise all the same
        traceback.print_exc()
        return {"names": f"{error}"[:90]}
    finally:
        torch.use_deterministic_algorithms(False)
    names = {str(warning.message).split(" ")[0] for warning in seen if "deterministic" in str(warning.message)}
    return {"count": len(names), "names": ", ".join(sorted(names)) or "none"}
