"""Randomized fault injection: one run under many kinds of faults, compared with the undisturbed run.

    python -m tests.faults.hunt --adversary --minutes 10

Deaths (a rank, the launcher), requests (HUP, TERM), a rank that stands still, a loader worker that is killed, a full
disk, a bit flipped in the newest checkpoint, another number of ranks, a photograph that is corrupt in yet another way,
a hub that fails, a data folder that is away for a second. In the end every step's digest must be that of the
undisturbed run, and the weights equal to rounding: bit for bit where the number of ranks never changed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from degradations.keyed_random import Keys, uniforms, words
from tests.faults.forked import TINY
from tests.faults.hunt import damage, fingerprint
from tests.faults.launched import Launched, send
from tests.launch.loopback import Fault, LoopbackHub
from trainer.distributed.signals import SIGNALS

STEPS, PHOTOGRAPHS, DISK_MB = 100, 120, 24
ROUNDING = 1e-4
"""Tolerance for rounding: the largest mean difference of a tensor, a tenth of what Adam moves it in one step.

A game of a hundred steps enlarges it: noise of one unit in the last place at every tenth step came to 2e-5 in the mean
of a tensor and 1.3e-4 in a single weight, about as often as it came to nothing.
"""
SETTINGS = [
    str(TINY),
    "queue_size=12",
    f"max_train_steps={STEPS}",
    "checkpoints.checkpointing_steps=5",
    "validation.validation_steps=50",
    "telemetry.report_to=none",
    "distributed.timeout_minutes=1",
    "adversarial.discriminator.type=UNetDiscriminatorSN",
    "adversarial.discriminator.num_feat=4",
]
PUSHED = ["hub={repo_id: tester/x4, strategy: every_save, license: mit, wait_minutes: 0.01}"]
PROFILES = (((2,), 0, True), ((1, 2, 4), 0, False), ((1,), 1, False), ((2,), 1, False), ((1, 2, 4), 0, True))
"""Kinds of runs, in turn: possible numbers of ranks, loader workers of each rank, and if it pushes to a hub."""


@dataclass
class Found:
    """Counts of runs, starts and events, the differences from the undisturbed run, and unexplained ends."""

    runs: int = 0
    lives: int = 0
    events: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    """Ends that no event explains."""


@dataclass
class Victim:
    """One run under attack."""

    place: Path
    hub: LoopbackHub
    worlds: tuple[int, ...]
    workers: int
    pushed: bool
    number: int
    life: int = 0

    @property
    def photographs(self) -> Path:
        """The folder of training pictures."""
        return self.place.parent / "photographs"  # one place for all runs: it is part of what a checkpoint tells

    @property
    def disk(self) -> Path:
        """The small disk on which the run folder lies."""
        return self.place / "disk"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.disk / "tiny"

    def drawn(self, count: int) -> list[int]:
        """Random numbers of the present life, the same in every hunt."""
        return words(self.number, self.life, 201, count)

    def start(self) -> Launched:
        """Start the run again, on a number of ranks drawn for this life."""
        self.life += 1
        world = self.worlds[self.drawn(1)[0] % len(self.worlds)]
        per_device = min(2, 4 // world)
        settings = [
            *SETTINGS,
            f"output_dir={self.disk}",
            f"batch.per_device={per_device}",
            f"images.dataloader_num_workers={self.workers}",
            f"images.source={{type: folder, path: {self.photographs}}}",
            *(PUSHED if self.pushed else []),
        ]
        return Launched(world, self.place, self.place / "log", settings)


@dataclass
class Life:
    """One life of the victim, from a start to its end, and the random number of the present event."""

    victim: Victim
    job: Launched
    drawn: int = 0
    past: list[str] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """The rank that the event affects."""
        return self.drawn % len(self.job.ranks)

    def wait(self) -> None:
        """Wait up to a second, or until the job has ended."""
        self.job.wait(self.drawn / 2**32)


def kill_a_rank(life: Life) -> None:
    """SIGKILL to one rank; the launcher of torch would then end the others."""
    life.job.kill(life.rank)
    life.job.wait(0.5)
    life.job.end()


def kill_the_launcher(life: Life) -> None:
    """SIGKILL to the launcher: the ranks notice it, save and end."""
    life.job.kill_launcher()


def kill_a_worker(life: Life) -> None:
    """SIGKILL to a process that decodes pictures, as the kernel does where memory runs out."""
    for worker in life.job.loader_workers()[:1]:
        send(worker, signal.SIGKILL)


def hang_up(life: Life) -> None:
    """SIGHUP to every rank."""
    for rank in range(len(life.job.ranks)):
        life.job.kill(rank, signal.SIGHUP)


def terminate(life: Life) -> None:
    """SIGTERM to one rank: all stop together."""
    life.job.kill(life.rank, signal.SIGTERM)


def stand_still(life: Life) -> None:
    """SIGSTOP to one rank."""
    life.job.kill(life.rank, signal.SIGSTOP)
    life.wait()
    life.job.kill(life.rank, signal.SIGCONT)


def fill_the_disk(life: Life) -> None:
    """Leave no byte free on the disk for a while."""
    ballast = life.victim.disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            life.wait()
    ballast.unlink()


def damage_the_newest(life: Life) -> None:
    """Kill a rank, then truncate a file of the newest checkpoint or flip one of its bits."""
    kill_a_rank(life)
    damage(life.victim.run / "checkpoints", life.drawn)


def corrupt_a_photograph(life: Life) -> None:
    """Corrupt the unreadable photograph in another way."""
    corrupt(life.victim.photographs, life.drawn)


def fail_the_hub(life: Life) -> None:
    """Make the hub refuse, forget or drop the next requests."""
    kind = ("drop", "lose", 503, 500, 404, 429)[life.drawn % 6]
    life.victim.hub.faults.append(Fault("", kind, times=1 + life.drawn % 5))


def take_the_data_away(life: Life) -> None:
    """Move the folder of photographs away for a while, as with a network disk that fails."""
    away = life.victim.photographs.with_name("away")
    life.victim.photographs.rename(away)
    life.wait()
    away.rename(life.victim.photographs)


DEADLY = (kill_a_rank, kill_the_launcher, hang_up, terminate, damage_the_newest)
EVENTS = (*DEADLY, kill_a_worker, stand_still, fill_the_disk, corrupt_a_photograph, fail_the_hub, take_the_data_away)


def possible(victim: Victim, event: Callable[[Life], None]) -> bool:
    """True if an event can affect this run: not every run has a loader worker, a hub or a disk of its own."""
    needed = {kill_a_worker: victim.workers > 0, fail_the_hub: victim.pushed, fill_the_disk: victim.disk.is_mount()}
    return needed.get(event, True)


def attack(victim: Victim, calm: Callable[[], bool], found: Found) -> None:
    """One run from its start to its end, with as many events on the way as fit."""
    events = [event for event in EVENTS if possible(victim, event)]
    while len(found.odd) < 10:
        log = victim.place / "log"
        begin = log.stat().st_size if log.exists() else 0
        life = Life(victim, victim.start())
        found.lives += 1
        codes: list[int] | None = None
        for what, when, life.drawn in zip(*[iter(victim.drawn(30))] * 3, strict=True):
            if (codes := life.job.wait(300 if calm() else 0.1 + 1.5 * when / 2**32)) is not None:
                break
            event = events[what % len(events)]
            event(life)
            life.past.append(event.__name__)
            found.events[event.__name__] += 1
            if event in DEADLY:
                break
        codes = codes or life.job.wait(120)
        if (victim.run / "DONE").exists() and codes and not any(codes):
            return
        said = log.read_bytes()[begin:].decode(errors="replace")
        if codes is None or not explained(life, codes, said) or "Traceback" in said:
            found.odd.append(
                f"run {victim.number}, life {victim.life}, {life.past}: {codes or 'hangs'}\n{said[-1500:]}"
            )
            life.job.end()


def explained(life: Life, codes: list[int], said: str) -> bool:
    """True if a life's events explain its exit codes: 0, except after a kill, a full disk or the watch."""
    if {"kill_a_rank", "damage_the_newest"} & set(life.past):
        return True
    slow = "it ends now" in said  # the start took longer after a stop request than it may
    # Where nothing is saved yet, an absent folder is a mistake, as a wrong name is.
    saved = any((life.victim.run / "checkpoints").glob("step-????????"))
    away = "take_the_data_away" in life.past and "does not exist" in said and not saved
    full = "fill_the_disk" in life.past or away
    return set(codes) <= (
        {0, 1, 2} if full else {0, 1, *(128 + number for number in SIGNALS)} if slow else {0}
    ) and bool(life.past)


def compare(victim: Victim, undisturbed: Path, found: Found) -> None:
    """Add the differences of the run from the undisturbed one to `found`."""
    wanted, got = fingerprint(undisturbed), fingerprint(victim.run)
    keys = set(wanted) if len(victim.worlds) == 1 else {"steps", "digests"}
    found.different += [f"run {victim.number}: {key}" for key in sorted(keys) if got.get(key) != wanted[key]]
    if got.get("progress.pt") != wanted["progress.pt"]:
        found.different += [f"run {victim.number}: {progress(undisturbed)} but {progress(victim.run)}"]
    if len(victim.worlds) > 1:
        far = distance(undisturbed, victim.run)
        found.different += [f"run {victim.number}: weights by {far:.1e}"] if far > ROUNDING else []


def progress(run: Path) -> dict[str, object]:
    """The contents of progress.pt in a run's last checkpoint."""
    return dict(torch.load(max((run / "checkpoints").glob("step-????????")) / "progress.pt", weights_only=True))


def distance(one: Path, other: Path) -> float:
    """The largest mean difference of a tensor between two runs' last weights of both networks."""
    far = 0.0
    for name in ("generator", "generator_ema", "discriminator"):
        first, second = (
            safetensors.torch.load_file(max((run / "checkpoints").glob("step-????????")) / f"{name}.safetensors")
            for run in (one, other)
        )
        far = max(far, *(float((first[key] - second[key]).abs().mean()) for key in first))
    return far


def make_photographs(folder: Path) -> None:
    """Write different smooth pictures, and one that cannot be read."""
    folder.mkdir()
    rows = torch.arange(64)[:, None, None] / 64
    columns = torch.arange(64)[:, None] / 64
    waves = uniforms(Keys(0, torch.arange(PHOTOGRAPHS)), 9, 12).view(PHOTOGRAPHS, 4, 3)
    for number, (along, across, phase, level) in enumerate(waves):
        wave = torch.sin(20 * along * rows + 20 * across * columns + 6 * phase)
        pixels = (255 * (0.3 + 0.4 * level + 0.3 * wave)).clamp(0, 255)
        Image.fromarray(pixels.numpy().astype(np.uint8)).save(folder / f"{number:02d}.png")
    corrupt(folder, 0)


def corrupt(folder: Path, how: int) -> None:
    """Fill the last photograph with other bytes that are no picture, as many as before."""
    file = folder / "99.png"
    garbage = np.array(words(how % 2**31, 0, 202, 256), dtype=np.uint32).tobytes()
    aside = folder.with_name("garbage")
    aside.write_bytes(b"\x89PNG\r\n\x1a\n" + garbage)
    os.utime(aside, (0, 0))  # a checkpoint notes the times
    aside.replace(file)


def adversary(minutes: float, number: int = 0, runs: int = 1000) -> Found:
    """Attack runs, from this number on, until the minutes are over; the last then ends without further events."""
    torch.set_num_threads(1)
    found, deadline = Found(), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name, LoopbackHub() as hub:
        os.environ.update(hub.environment(Path(name) / "home"))
        make_photographs(Path(name) / "photographs")
        hub.add("tester/x4")  # before it forgets requests: what is pushed to no repository is its own mistake
        undisturbed: dict[tuple[int, ...], Path] = {}
        while time.monotonic() < deadline and found.runs < runs:
            worlds, workers, pushed = PROFILES[number % len(PROFILES)]
            base = worlds if len(worlds) == 1 else (1,)
            if base not in undisturbed:
                victim = prepare(Path(name) / f"undisturbed-{base[0]}", hub, base, 0, False, -1, ExitStack())
                attack(victim, lambda: True, Found())
                undisturbed[base] = victim.run
            with ExitStack() as stack:
                place = Path(name) / f"run-{number}"
                victim = prepare(place, hub, worlds, workers, pushed, number, stack)
                attack(victim, lambda: time.monotonic() > deadline, found)
                compare(victim, undisturbed[base], found)
            shutil.rmtree(place)
            found.runs, number = found.runs + 1, number + 1
            print(f"{found.runs} runs, {found.lives} lives, {found.events.total()} events; {found}", flush=True)
    return found


def prepare(
    place: Path, hub: LoopbackHub, worlds: tuple[int, ...], workers: int, pushed: bool, number: int, stack: ExitStack
) -> Victim:
    """A run not yet started, on photographs and, for root, a small disk of its own."""
    victim = Victim(place, hub, worlds, workers, pushed, number)
    victim.disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(victim.disk)]
    if number >= 0 and not subprocess.run(mount, capture_output=True).returncode:
        stack.callback(subprocess.run, ["umount", "-l", str(victim.disk)], check=True)
    return victim
