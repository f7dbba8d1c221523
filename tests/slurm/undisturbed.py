"""Runs without Slurm and without disturbance, to compare with.

    python -m tests.slurm.undisturbed WORLD FOLDER SETTING... -- WORLD FOLDER SETTING... -- ...

One start of Python serves all: their ranks are forked.
"""

import sys
from itertools import groupby
from pathlib import Path

from tests.faults.forked import TINY, Job


def main() -> None:
    """Train them, one after another."""
    for separator, words in groupby(sys.argv[1:], lambda word: word == "--"):
        if separator:
            continue
        world, folder, *settings = words
        Path(folder).mkdir()
        job = Job(int(world), Path(folder, "log"), [str(TINY), f"output_dir={folder}", *settings])
        codes = job.wait(300)
        job.end()
        assert codes == [0] * int(world), (codes, Path(folder, "log").read_text()[-3000:])


if __name__ == "__main__":
    main()
