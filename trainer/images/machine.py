"""Resources of this machine for the processes that decode pictures: cores, and shared memory."""

import os
import sys
from pathlib import Path

from trainer.mistakes import Mistake

PREFETCHED = 2
"""Batches that each worker prepares ahead: DataLoader's default."""
WORKERS = 4
"""The default of `images.dataloader_num_workers`."""
SHARED = Path("/dev/shm")
REMEDY = "`docker run --shm-size`, or whoever mounts it, can give more; images.dataloader_num_workers=0 needs none"


def local_processes(processes: int = 1) -> int:
    """Number of a run's processes on this machine: as the launcher gives it, or an equal share for each of Slurm's
    nodes."""
    nodes = int(os.environ.get("SLURM_NNODES", 1))
    return int(os.environ.get("LOCAL_WORLD_SIZE", max(1, processes // nodes)))


def cores_of_a_process(local: int | None = None) -> int:
    """This machine's cores that this process may use, shared with the other ranks on it; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (local or local_processes()))


def note_on_workers(wanted: int, local: int) -> list[str]:
    """A note if more decoding processes are asked for than there are cores; nobody asked for the default's."""
    if wanted <= max(WORKERS, most := cores_of_a_process(local)):
        return []
    return [
        f"images.dataloader_num_workers: got {wanted}; as many as a process has cores here are used, {most} (the "
        "pictures are the same)"
    ]


def check_shared_memory(batch: int, workers: int, local: int, folder: Path = SHARED) -> None:
    """Check that the batches queued for the processes of this machine fit into its shared memory.

    Args:
        batch: bytes of a micro-batch.
        workers: processes that decode, for each of the `local` ones that train.
        local: see `local_processes`.
        folder: where shared memory is mounted.

    Raises:
        Mistake: too little is free, or there is none that can be written to.
    """
    if not workers or sys.platform != "linux" or not folder.parent.is_dir():  # macOS has it without a folder
        return
    if not os.access(folder, os.W_OK):
        state = "cannot be written to" if folder.exists() else "is not there"
        raise Mistake(f"{folder} {state}: processes that decode pictures hand them over in shared memory. {REMEDY}.")
    there = os.statvfs(folder)
    free, needed = there.f_bavail * there.f_frsize, local * batch * (PREFETCHED * workers + 2)
    if needed > free:
        raise Mistake(
            f"{folder} has {free / 2**20:.0f} MiB free; images.dataloader_num_workers={workers} and batches of "
            f"{batch / 2**20:.1f} MiB need {needed / 2**20:.0f} MiB for {local} processes. {REMEDY}."
        )
