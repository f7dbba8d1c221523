"""Train on this machine: `wildsr train CONFIG|PHOTOS`, which `./launch/local.sh` runs too."""

import argparse
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from trainer import run
from trainer.configs import find, runnable
from trainer.console import called, guard
from trainer.files.paths import check_path
from trainer.mistakes import Mistake
from trainer.photos.options import add_choices, choices_given

LOCAL = "WILDSR_LOCAL"
"""The environment variable that holds launch/local.sh as it was called; unset where it was not used."""
EPILOG = """\
examples:
  {prog} {quickstart}
  {prog} ~/photos --scale 2 --minutes 30
  {prog} ~/scans --like text name=scans
  {prog} ~/photos --from realesr-general-x4v3.pth
  {prog} mine.yaml images.source=/data/DF2K batch.per_device=24
  {prog} --explain optimizer

One process trains on each GPU, or two on the CPU where there is none: PROCESSES=n sets another number, and
CUDA_VISIBLE_DEVICES chooses the GPUs. For a folder settings are chosen for this machine: my_photos.yaml, filled in.
Running the same command again resumes the run.
{shipped}
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it, so `--help` is at once."""
    prog, shipped = os.environ.get(LOCAL) or called("train"), runnable()
    quickstart = next((name for name in shipped.split(", ") if "quickstart" in name), "quickstart")
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train by a configuration, or on the pictures of a folder; on all GPUs here, or on the CPU.",
        epilog=EPILOG.format(prog=prog, quickstart=quickstart, shipped=textwrap.fill(f"Configs are {shipped}.", 120)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_options(parser, "CONFIG|PHOTOS", "a configuration, or a folder of pictures")
    add_choices(parser.add_argument_group("for a folder of pictures"))
    return run.parsed(parser, arguments)


def named(config: Path, choices: list[str]) -> Path:
    """The configuration file that was named: a file, else one of that name that comes with the program.

    Raises:
        Mistake: options for a folder of pictures were given too.
    """
    if choices:
        raise Mistake(
            f"{choices[0]} is for a folder of pictures; {config} {'is none' if config.exists() else 'is not there'}."
        )
    if config.exists() or (file := find(str(config))) is None:
        return config  # the program itself reports one that does not exist
    print(f"{config} is no file here: training by the one that comes with the program, {file}.", file=sys.stderr)
    return file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: the training's, or 2 for a mistake."""
    options = parse(arguments)
    if options.explain is not None:
        return run.print_reference(options.explain)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave)
    try:
        check_path(options.config, "CONFIG")
        if not options.config.is_dir():
            options.config = named(options.config, choices_given(options))
        from trainer.launcher.train import train  # imports torch, so not before the arguments are known to be good

        return train(options)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End at Ctrl-C while nothing has begun: an exception amid the imports would surface as an error of theirs."""
    os.write(2, b"stopped before the training.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    guard()
    sys.exit(main())
