"""`accelerate launch` with its own options and without its traceback: the processes have reported their errors.

    python -m trainer.launcher.start --multi_gpu --num_processes 2 ... trainer/run.py CONFIG [key=value ...]

The exit status is that of the first process that failed, or 128 and the number of the signal that asked to stop.
"""

import logging
import sys
from collections.abc import Sequence

from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from trainer.launcher.programs import status_of_failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Launch and wait; return the exit status."""
    logging.disable(logging.ERROR)  # silences the launcher only, which logs each process that ends with its arguments
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except SignalException as asked:
        return 128 + int(asked.sigval)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        return status_of_failure(rank, int(failure.exitcode))
    return 0


if __name__ == "__main__":
    sys.exit(main())
