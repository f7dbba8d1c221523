"""Number of processes for this machine, and the environment in which the launcher starts them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.images.machine import cores_of_a_process
from trainer.mistakes import Mistake

ON_CPU = 2
"""Processes where torch can use no GPU."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The number of processes that train here: PROCESSES, or one per GPU that torch can use, or two on the CPU."""

    number: int
    gpus: int
    given: bool
    """By PROCESSES, so that no other number may take its place."""


def processes_here(gpus: int, environment: Mapping[str, str]) -> Processes:
    """The processes for so many GPUs; Mistake for a PROCESSES that is no number, or above the GPUs."""
    text = environment.get("PROCESSES", "")
    if not text:
        return Processes(gpus or ON_CPU, gpus, given=False)
    if not text.isdecimal() or int(text) < 1:
        raise Mistake(f"PROCESSES: got {text!r}; must be a whole number, 1 at least.")
    if gpus and int(text) > gpus:
        raise Mistake(f"PROCESSES: got {text}; torch sees {gpus} GPU{'s' * (gpus > 1)}, and each process takes one.")
    return Processes(int(text), gpus, given=True)


def prepare_environment(processes: Processes) -> None:
    """Set what the processes inherit, beside what a person has set."""
    if not processes.gpus:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # `accelerate launch --cpu --num_processes 2` would start one process
        os.environ.setdefault("OMP_NUM_THREADS", str(cores_of_a_process(processes.number)))
    # Asked to stop, the launcher gives the processes this long to save themselves before it kills them (default: 30 s).
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    # Under nohup a closed terminal's HUP is ignored, which the launcher would undo.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGQUIT")


def note_on_unused_gpu() -> None:
    """Print a note where nvidia-smi lists a GPU and torch can use none; it may be absent, as in many containers."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout
    except OSError:  # there is no such program
        return
    if any(line.startswith("GPU") for line in listed.splitlines()):
        print(
            "note: nvidia-smi knows a GPU, but this torch cannot use it: is the driver too old for its CUDA, or is it "
            f"the build for CPUs? It is installed in {sys.prefix}.",
            file=sys.stderr,
        )
