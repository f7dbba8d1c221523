"""How the decoding processes live and die with the training process.

They are forked by a fork server, because forking the training process itself, which has threads (collectives,
tracker, pinned memory) and a CUDA context, can leave a child waiting for a lock that nobody holds.
"""

import multiprocessing
import os
from multiprocessing import forkserver, parent_process, resource_tracker
from multiprocessing.context import ForkServerContext
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, pthread_sigmask
from threading import Thread

STOP_SIGNALS = (SIGINT, SIGTERM, SIGUSR1, SIGUSR2)
"""What asks a run to stop. Launchers and Slurm send it to every process of the job; only the training process
answers, with a last checkpoint, and until then it needs its batches."""


def fork_server() -> ForkServerContext:
    """The context for workers that stop signals do not reach, with torch loaded before they are forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.images.crops"])
    # What is blocked stays blocked in children, across exec too. Here a signal is only late, never lost.
    before = pthread_sigmask(SIG_BLOCK, STOP_SIGNALS)
    resource_tracker.ensure_running()
    pthread_sigmask(SIG_BLOCK, STOP_SIGNALS)  # again: starting the tracker unblocks two of them
    forkserver.ensure_running()
    pthread_sigmask(SIG_SETMASK, before)
    return context


def follow_parent(_worker: int) -> None:
    """Let a worker end as soon as the training process has, by `kill -9` too.

    DataLoader's own watch asks whether getppid() has changed, which below a fork server it never does.
    """
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
