"""From a command line to the training: settings for photographs, the check, and the processes."""

import argparse
import os
from pathlib import Path

from trainer import run
from trainer.launcher import forked
from trainer.launcher.processes import note_on_unused_gpu, prepare_environment, processes_here
from trainer.launcher.programs import Ended, become, first
from trainer.lifecycle.system import check_system
from trainer.photos.options import choices_given

RUN = str(Path(run.__file__).resolve())


def train(options: argparse.Namespace) -> int:
    """Choose settings, check them, and train, to the end; the exit status.

    Raises:
        Mistake: PROCESSES is wrong, or this system cannot train.
    """
    check_system()
    forks = forked.can_fork()
    processes = processes_here(0 if forks else _gpus(), os.environ)
    if not processes.gpus:
        note_on_unused_gpu()
    prepare_environment(processes)
    if forks:
        forked.import_trainer()
    config, overrides = str(options.config), options.overrides
    try:
        if options.config.is_dir():
            chosen = [config, *overrides, *choices_given(options), "--processes", str(processes.number)]
            # -P: a folder `trainer` where the command is typed is not ours
            config = forked.settings_for(chosen) if forks else first("-P", "-m", "trainer.photos", *chosen)
        if options.print:
            become(RUN, config, *overrides, "--print")
        flags = [flag for flag in ("--dry-run", "--fresh") if getattr(options, flag[2:].replace("-", "_"))]
        # A mistake is reported here, once and with status 2, before the processes start, which print the notes.
        check = [config, *overrides, *flags, "--check" if processes.given else "--fit", str(processes.number)]
        last = forked.last_line_of(check) if forks else first(RUN, *check)
    except Ended as ended:
        return ended.status
    number = processes.number if processes.given else int(last)
    training = [config, *overrides, *flags]
    if forks:
        return forked.run_here(training) if number == 1 else forked.launch(number, training)
    return _launch(number, training)


def _gpus() -> int:
    """GPUs that torch can use, by CUDA_VISIBLE_DEVICES too."""
    import torch

    return torch.cuda.device_count()


def _launch(number: int, training: list[str]) -> int:
    """Start the processes in new interpreters, and wait for their end; one takes this one's place."""
    if number == 1:
        become(RUN, *training)
    from trainer.launcher.start import main as launch

    # Port 0 lets the system choose a free one, so that two runs can share a machine. Accelerate would guess the others.
    several = ["--multi_gpu", "--num_processes", str(number), "--main_process_port", "0", "--num_machines", "1"]
    fixed = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    return launch([*several, *fixed, RUN, *training])
