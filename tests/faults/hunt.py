"""Kill a run again and again, and compare its result with the undisturbed run's.

    python -m tests.faults.hunt --kills 200
    python -m tests.faults.hunt --adversary --minutes 10

Ranks are killed with SIGKILL at random instants: while starting, in steps, in saves, renames and prunings, in the
foreground and in the background. After some deaths a file of the newest checkpoint is truncated or has a bit flipped.
After each death the run is started again. In the end its weights, moments, average and pool must be, bit for bit, those
of an undisturbed run, and its metrics must have every step once.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from degradations.keyed_random import words
from tests.faults.forked import TINY, Job
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig

STEPS = 60
SETTINGS = [
    str(TINY),
    "queue_size=12",
    f"max_train_steps={STEPS}",
    "checkpoints.checkpointing_steps=2",
    "validation.validation_steps=20",
    "telemetry.report_to=none",
    "adversarial.discriminator.type=UNetDiscriminatorSN",
    "adversarial.discriminator.num_feat=4",
]


@dataclass
class Count:
    """Counts of deaths and runs, and the runs that differ from the undisturbed one."""

    kills: int = 0
    runs: int = 0
    after_a_checkpoint: int = 0
    during_a_save: int = 0
    damaged: int = 0
    different: list[str] = field(default_factory=list)


def fingerprint(run: Path) -> dict[str, str]:
    """Checksums of the last checkpoint's files and the export's, and of every step's digest in the metrics."""
    newest = max((run / "checkpoints").glob("step-????????"))
    files = [*newest.iterdir(), *(run / "export").iterdir()]
    marks = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    return marks | {
        "steps": str([line["step"] for line in lines]),
        "digests": str([x["training/digest"] for x in lines]),
    }


def reference(folder: Path, world: int) -> tuple[dict[str, str], float]:
    """Fingerprint of the undisturbed run, and its duration in seconds."""
    begin = time.monotonic()
    job = Job(world, folder / "log", [*SETTINGS, f"output_dir={folder}"])
    codes = job.wait(600)
    assert codes == [0] * world, (codes, (folder / "log").read_text())
    return fingerprint(folder / "tiny"), time.monotonic() - begin


def lurk(job: Job, checkpoints: Path, instant: float, span: float, in_save: bool) -> list[int] | None:
    """Wait for the instant to kill at, within a save if that is wanted; the exit statuses if the run ended before."""
    if not in_save:
        return job.wait(span * instant)
    deadline = time.monotonic() + span
    while time.monotonic() < deadline:
        if (codes := job.wait(0)) is not None:
            return codes
        if checkpoints.is_dir() and any(checkpoints.glob("*.partial")):
            return job.wait(0.02 * instant)  # a save of this run takes about 20 ms
    return None


def damage(checkpoints: Path, how: int) -> bool:
    """Truncate a file of the newest checkpoint, or flip one of its bits, if an older one is there to fall back on.

    Not of a run that is done, whose checkpoints are not read again when it is started once more.
    """
    if (checkpoints.parent / "DONE").exists():
        return False
    found = sorted(checkpoints.glob("step-????????")) if checkpoints.is_dir() else []
    if len(found) < 2:
        return False
    files = sorted(found[-1].iterdir())
    file = files[how % len(files)]
    content = bytearray(file.read_bytes())
    place = (how * 7919) % len(content)
    if how % 2:
        content[place] ^= 1 << how % 8
    file.write_bytes(bytes(content[:place] if how % 2 == 0 else content))
    return True


def disturbed(folder: Path, world: int, background: bool, span: float, number: int, count: Count, goal: int) -> None:
    """Run once from start to end, with as many deaths on the way as fit."""
    checkpoints, life = folder / "tiny" / "checkpoints", 0
    settings = [*SETTINGS, f"output_dir={folder}", f"checkpoints.background={str(background).lower()}"]
    while True:
        job = Job(world, folder / "log", settings)
        when, who, where, how = words(number, life, 200, 4)
        calm = count.kills >= goal
        codes = job.wait(600) if calm else lurk(job, checkpoints, when / 2**32, span, bool(where & 1))
        if codes is not None:
            break
        count.during_a_save += checkpoints.is_dir() and any(checkpoints.glob("*.partial"))
        job.kill(who % world)
        count.kills, life = count.kills + 1, life + 1
        codes = job.wait(15)
        job.end()  # a rank that waits for a dead one to join is ended by the launcher, which is not here
        assert codes is None or 0 not in codes or set(codes) == {0}, codes
        if how % 4 == 0:
            count.damaged += damage(checkpoints, how // 4)
        count.after_a_checkpoint += checkpoints.is_dir() and any(checkpoints.glob("step-????????"))
    assert codes == [0] * world, (codes, (folder / "log").read_text()[-3000:])
    count.runs += 1


def hunt(kills: int, worlds: tuple[int, ...]) -> Count:
    """Kill runs until there were `kills` deaths."""
    torch.set_num_threads(1)
    count, number = Count(), 0
    with tempfile.TemporaryDirectory() as name:
        expected, span = {}, {}
        for world in worlds:
            (place := Path(name) / f"reference-{world}").mkdir()
            expected[world], span[world] = reference(place, world)
        while count.kills < kills:
            world, background = worlds[number % len(worlds)], bool(number // len(worlds) % 2)
            (place := Path(name) / f"run-{number}").mkdir()
            goal = min(kills, count.kills + 12)
            disturbed(place, world, background, span[world] * 0.7, number, count, goal)
            found = fingerprint(place / "tiny")
            count.different += [key for key in expected[world] if found.get(key) != expected[world][key]]
            print(f"run {number}: {world} ranks, background {background}: {count}", flush=True)
            shutil.rmtree(place)
            number += 1
    return count


def main() -> int:
    """Hunt as long as the command line says; 1 if a run came out different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--adversary", action="store_true", help="all else that a machine does, see adversary.py")
    parser.add_argument("--minutes", type=float, default=10, help="of the adversary")
    parser.add_argument("--first", type=int, default=0, help="the adversary's first run: each has its own events")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=1000, help="of the adversary at most")
    options = parser.parse_args()
    load_config(RunConfig, TINY)  # what reads configurations is built now, not by each rank
    if options.adversary:
        from tests.faults.adversary import adversary  # which stands on this module

        found = adversary(options.minutes, options.first, options.runs)
        print(found)
        return bool(found.different or found.odd)
    count = hunt(options.kills, tuple(options.worlds))
    print(count)
    return bool(count.different)


if __name__ == "__main__":
    sys.exit(main())
