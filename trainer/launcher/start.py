"""`accelerate launch` with its own options and without its traceback: the processes have reported their errors.

    python -m trainer.launcher.start --multi_gpu --num_processes 2 ... trainer/run.py CONFIG [key=value ...]

The exit status is that of the first process that failed, or 128 and the number of the signal that asked to stop.
"""

import logging
import signal
import sys
from collections.abc import Sequence

from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main(arguments: Sequence[str] | None = None) -> int:
    """Launch and wait; return the exit status."""
    logging.disable(logging.ERROR)  # silences the launcher only, which logs each process that ends with its arguments
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except SignalException as asked:
        return 128 + int(asked.sigval)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        memory = " (the system does so where memory is short)" if name == "SIGKILL" else ""
        print(f"error: process {rank} was ended by {name}{memory}; the same command resumes the run.", file=sys.stderr)
        return 128 - int(failure.exitcode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
