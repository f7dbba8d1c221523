"""From a command line to the training: settings for photographs, the check, and the processes."""

import argparse
import os
from pathlib import Path

import torch

from trainer import run
from trainer.launcher.processes import note_on_unused_gpu, prepare_environment, processes_here
from trainer.launcher.programs import Ended, become, first
from trainer.launcher.start import main as launch
from trainer.lifecycle.system import check_system
from trainer.photos.options import choices_given

RUN = str(Path(run.__file__).resolve())


def train(options: argparse.Namespace) -> int:
    """Choose settings, check them, and train, to the end; the exit status.

    Raises:
        Mistake: PROCESSES is wrong, or this system cannot train.
    """
    check_system()
    processes = processes_here(torch.cuda.device_count(), os.environ)  # by CUDA_VISIBLE_DEVICES too
    if not processes.gpus:
        note_on_unused_gpu()
    prepare_environment(processes)
    config, overrides = str(options.config), options.overrides
    try:
        if options.config.is_dir():
            chosen = [config, *overrides, *choices_given(options), "--processes", str(processes.number)]
            # -P: a folder `trainer` where the command is typed is not ours
            config = first("-P", "-m", "trainer.photos", *chosen)
        if options.print:
            become(RUN, config, *overrides, "--print")
        flags = [flag for flag in ("--dry-run", "--fresh") if getattr(options, flag[2:].replace("-", "_"))]
        # A mistake is reported here, once and with status 2, before the processes start, which print the notes.
        fit = "--check" if processes.given else "--fit"
        last = first(RUN, config, *overrides, *flags, fit, str(processes.number))
    except Ended as ended:
        return ended.status
    number = processes.number if processes.given else int(last)
    if number == 1:
        become(RUN, config, *overrides, *flags)
    # Port 0 lets the system choose a free one, so that two runs can share a machine. Accelerate would guess the others.
    several = ["--multi_gpu", "--num_processes", str(number), "--main_process_port", "0", "--num_machines", "1"]
    fixed = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    return launch([*several, *fixed, RUN, config, *overrides, *flags])
