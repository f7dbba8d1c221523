"""What ranks of a real training send each other: every collective of the trainer's own loop, with its bytes."""

import inspect
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d as c10d

from tests.faults.forked import Job
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.distributed.ranks import leave_group
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.optim.learner import Learner
from trainer.training import prepare

CALLERS = {
    "pairs/pool.py": "pool",
    "distributed/agreement.py": "control",
    "optim/plateau_metrics.py": "plateau means",
    "adversarial/adaptive_d.py": "adaptive_d",
    "telemetry/": "report",
    "images/unreadable.py": "report",
    "saving.py": "save",
    "validation/": "validation",
    "lifecycle/finish.py": "end",
}
"""The kind of an exchange by the innermost file of trainer/ that asks for it."""
FIRST = ("all_reduce", "broadcast", "gather", "reduce", "send")
SECOND = ("all_gather", "all_gather_into_tensor", "all_to_all_single")
"""Operations by the place of the tensor that the rank gives."""
LIMIT = 900.0
"""Seconds for the ranks of a run to end."""
EVERY_STEP = ("pool", "control", "plateau means", "adaptive_d")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One collective of one rank."""

    kind: str
    step: int
    operation: str
    bytes: int
    """Of the tensor that the rank gives."""
    sent: float
    """Bytes that the rank sends to others: of the pool as they are, else as a ring of n ranks sends them."""


@dataclass(slots=True)
class Bucket:
    """A bucket of gradients that DDP reduces as soon as it is full."""

    kind: str
    step: int
    bytes: int
    ready: float
    """Seconds from the beginning of the backward pass."""
    done: float = 0.0


@dataclass
class Log:
    """What one rank has exchanged so far; `run` once the loop is about to begin."""

    run: Experiment | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)

    def add(self, kind: str, operation: str, size: int, sent: float) -> None:
        """Note an exchange; those before the loop are of no interest."""
        if self.run is not None:
            self.exchanges.append(Exchange(kind, self.run.state.step, operation, size, sent))


def sent_in_ring(operation: str, size: int, world: int) -> float:
    """Bytes that each of `world` ranks sends on the average for a tensor of so many bytes, as rings do it."""
    if operation == "send":
        return size
    factor = {"all_reduce": 2 / world, "broadcast": 1 / world, "gather": 1 / world, "reduce": 1 / world}
    return factor.get(operation, 1.0) * (world - 1) * size


def kind_of(frame: FrameType | None) -> str:
    """The kind of an exchange by its callers; "start" for what none of `CALLERS` asks for."""
    while frame is not None:
        place = frame.f_code.co_filename.rpartition("trainer/")[2]
        if kind := next((kind for file, kind in CALLERS.items() if place.startswith(file)), None):
            return kind
        frame = frame.f_back
    return "start"


@contextmanager
def counting(log: Log) -> Iterator[None]:
    """Note every collective that Python asks for; DDP's, which C++ does, come by `watch_gradients`."""
    before = {name: getattr(dist, name) for name in FIRST + SECOND}
    for name, original in before.items():
        counted = _counted(log, name, original)
        setattr(dist, name, counted)
        setattr(c10d, name, counted)  # as functions for objects call it
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(dist, name, original)
            setattr(c10d, name, original)


def _counted(log: Log, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def counted(*args: Any, **kwargs: Any) -> Any:
        given: Tensor = args[0 if name in FIRST else 1]
        world = dist.get_world_size(kwargs.get("group"))
        sent = sent_in_ring(name, given.nbytes, world)
        if name == "all_to_all_single":
            sent = given.nbytes / max(1, sum(args[3])) * (sum(args[3]) - args[3][dist.get_rank()])
        log.add(kind_of(sys._getframe(1)), name, given.nbytes, sent)
        return original(*args, **kwargs)

    return counted


def watch_gradients(log: Log, name: str, learner: Learner) -> None:
    """Note each bucket of a network's gradients, when it is full and when it is reduced; the sums stay the same."""
    begun = [0.0]
    backward, world = learner.backward, dist.get_world_size()
    reduce = inspect.unwrap(dist.all_reduce)  # counted here, with the network's name

    def timed(loss: Tensor) -> None:
        begun[0] = time.perf_counter()
        backward(loss)

    def exchange(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        buffer = bucket.buffer().div_(world)
        log.add(name, "all_reduce", buffer.nbytes, sent_in_ring("all_reduce", buffer.nbytes, world))
        step = log.run.state.step if log.run else 0
        entry = Bucket(name, step, buffer.nbytes, time.perf_counter() - begun[0])
        log.buckets.append(entry)

        def reduced(future: torch.futures.Future[list[Tensor]]) -> Tensor:
            entry.done = time.perf_counter() - begun[0]
            return future.value()[0]

        work = reduce(buffer, async_op=True)
        assert work is not None
        return work.get_future().then(reduced)

    learner.backward = timed  # type: ignore[method-assign]
    learner.ddp.register_comm_hook(None, exchange)  # type: ignore[operator]


def train_counting(config: RunConfig, file: Path) -> None:
    """Train a run to its end on this rank, and write to `file` what it exchanged."""
    log = Log()
    prepare(config)
    with counting(log):
        run = assemble(config, make_accelerator(config))
        if run.accelerator.num_processes > 1:
            for name, learner in run.state.learners.items():
                watch_gradients(log, f"gradients of {name}", learner)
        log.run = run
        fit(run)
    facts = {
        "parameters": {name: sum(p.numel() for p in one.learning) for name, one in run.state.learners.items()},
        "row": run.model.pool.shape.bytes if run.model.pool else 0,
        "global_size": run.model.batch.global_size,
        "accumulation": run.model.batch.accumulation,
        "exchanges": [asdict(one) for one in log.exchanges],
        "buckets": [asdict(one) for one in log.buckets],
    }
    file.write_text(json.dumps(facts), encoding="utf-8")
    leave_group()


def ranks_of(world: int, config: RunConfig, folder: Path) -> list[dict[str, Any]]:
    """Train on `world` forked ranks, gloo between them; what each counted. RuntimeError if one fails."""

    def train(_: Sequence[str]) -> int:
        train_counting(config, folder / f"rank-{os.environ.get('RANK', '0')}.json")
        return 0

    job = Job(world, folder / "log", (), train)
    try:
        codes = job.wait(LIMIT)
    finally:
        job.end()
    if codes != [0] * world:
        raise RuntimeError(f"{world} ranks ended with {codes}: {(folder / 'log').read_text()[-2000:]}")
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(world)]


@dataclass(frozen=True, slots=True)
class Row:
    """Exchanges of one kind, a rank's mean over ranks and occasions: each step, or each report, save and so on."""

    kind: str
    every: str
    calls: float
    bytes: float
    sent: float


def rows_of(ranks: list[dict[str, Any]]) -> list[Row]:
    """Exchanges by kind, of the steps behind the first, from what the ranks counted."""
    last = max((one["step"] for rank in ranks for one in rank["exchanges"]), default=0)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for rank in ranks:
        for one in rank["exchanges"]:
            begun = one["step"] > 0 or one["kind"] == "start"
            if begun and (
                one["step"] < last or not each_step(one["kind"])
            ):  # as often on either side of a step's count
                found[one["kind"]].append(one)
    rows = []
    for kind, ones in found.items():
        occasions = len(ranks) * len({one["step"] for one in ones})
        calls, size, sent = len(ones), sum(one["bytes"] for one in ones), sum(one["sent"] for one in ones)
        every = "step" if each_step(kind) else "run" if kind in ("start", "end") else kind
        rows.append(Row(kind, every, calls / occasions, size / occasions, sent / occasions))
    return sorted(rows, key=lambda row: (row.every != "step", row.kind))


def each_step(kind: str) -> bool:
    """True for what ranks exchange at every step."""
    return kind in EVERY_STEP or kind.startswith("gradients")


@dataclass(frozen=True, slots=True)
class Overlap:
    """The exchange of one network's gradients beside its backward pass, of the last micro-batch of a step."""

    kind: str
    bytes: list[int]
    """Of each bucket, in the order in which they are sent."""
    ready: list[float]
    """The share of the backward pass that is over when each is full; the last one's is 1."""
    hidden: float
    """The share of the time of exchanges that had passed when the last bucket was full."""


def overlaps_of(ranks: list[dict[str, Any]]) -> list[Overlap]:
    """Overlap of exchange and backward pass by network: means over ranks and steps behind the first."""
    found: dict[str, dict[tuple[int, int], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for number, rank in enumerate(ranks):
        for one in rank["buckets"]:
            if one["step"] > 0:
                found[one["kind"]][number, one["step"]].append(one)
    overlaps = []
    for kind, passes in found.items():
        shares = [[one["ready"] / buckets[-1]["ready"] for one in buckets] for buckets in passes.values()]
        ready = [sum(column) / len(column) for column in zip(*shares, strict=True)]
        hidden = [hidden_share([(one["ready"], one["done"]) for one in buckets]) for buckets in passes.values()]
        sizes = [one["bytes"] for one in next(iter(passes.values()))]
        overlaps.append(Overlap(kind, sizes, ready, sum(hidden) / len(hidden)))
    return overlaps


def hidden_share(exchanges: list[tuple[float, float]]) -> float:
    """The share of the time in which any of the exchanges (begin, end) is under way, before the last one begins."""
    before = after = end = 0.0
    last = exchanges[-1][0]
    for begin, done in exchanges:
        begin = max(begin, end)
        if done > begin:
            before += max(0.0, min(done, last) - begin)
            after += max(0.0, done - max(begin, last))
            end = done
    return before / (before + after) if before + after else 0.0
