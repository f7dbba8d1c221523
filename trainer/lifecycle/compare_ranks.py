"""Comparison of the ranks once they have joined: settings, program, packages, and the run folder that they share."""

import platform
import socket
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from trainer.building.learners import file_checksum
from trainer.checkpoints.store import VISIBLE
from trainer.config.loader import leaves
from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.comparison import same_everywhere
from trainer.distributed.ranks import START_GRACE, on_main, wait_for_ranks
from trainer.distributed.waiting import WATCH
from trainer.lifecycle.check_folder import write_token
from trainer.mistakes import Mistake, agreed

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "accelerate", "datasets", "diffusers", "ema-pytorch", "numpy", "pillow", "triton")
"""Another version of these may read or compute something else."""


def compare_start(accelerator: Accelerator, config: RunConfig, options: Mapping[str, object]) -> None:
    """Compare over all ranks the configuration, the command line's `options`, the program and its packages.

    Raises Mistake, on every rank, where ranks were started with others.
    """
    if accelerator.num_processes == 1:
        return
    facts = {**leaves(config), **{f"--{name}": value for name, value in options.items()}, **versions(), **code()}
    wanted = "all ranks must be started with the same configuration, program and packages."
    same_everywhere(accelerator, facts, wanted, grace=START_GRACE)


def versions() -> dict[str, str]:
    """Of Python and the packages that a run computes with."""
    found = {"version of python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[f"version of {package}"] = version(package)
        except PackageNotFoundError:
            found[f"version of {package}"] = "not installed"
    return found


def code() -> dict[str, str]:
    """A checksum of each file of this program."""
    files = sorted(file for package in ("trainer", "degradations") for file in (ROOT / package).rglob("*.py"))
    return {f"program {file.relative_to(ROOT)}": file_checksum(file) for file in files}


def check_shared(accelerator: Accelerator, config: RunConfig) -> None:
    """Check that every rank sees what rank 0 writes to the run folder, which exists; else Mistake, on every rank."""
    if accelerator.num_processes == 1:
        return
    token = on_main(accelerator, lambda: write_token(config), "writing to the run folder")
    file = folder_of(config).path / token
    deadline = time.monotonic() + VISIBLE

    def seen() -> bool | None:
        return file.exists() or (False if time.monotonic() > deadline else None)

    mine = WATCH.until(seen, "waiting to see what rank 0 writes", lambda: str(file))
    wait_for_ranks("waiting for the other ranks to see the run folder", range(accelerator.num_processes))
    ranks: list[tuple[str, bool]] = gather_object([(socket.gethostname(), mine)])
    if accelerator.is_main_process:
        file.unlink(missing_ok=True)
    if blind := [f"rank {rank} on {host}" for rank, (host, sees) in enumerate(ranks) if not sees]:
        more = f" and {len(blind) - 1} more" if len(blind) > 1 else ""
        sentence = f"cannot see in {file.parent.absolute()} what rank 0 on {ranks[0][0]} wrote there"
        raise agreed(Mistake(f"output_dir: {blind[0]}{more} {sentence}; it must be on a disk that all machines share."))
