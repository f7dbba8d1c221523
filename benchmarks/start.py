"""Time of `wildsr train` for a run of one tiny step: imports, check, processes and their end.

    python benchmarks/start.py                        # this checkout
    python benchmarks/start.py ../before .          # two, turn by turn: git worktree add ../before COMMIT

Prints the smallest and the median wall time, and the CPU time of all processes. The first run, which may read the disk,
does not count.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]


def seconds(checkout: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one run; RuntimeError with its output if it fails."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        run = [str(checkout / "tests/launch/tiny.yaml"), f"output_dir={folder}", "max_train_steps=1"]
        done = subprocess.run(
            [sys.executable, str(checkout / "wildsr.py"), "train", *run],
            cwd=checkout, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begin, cpu


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Seconds from the command to the end of a run of one tiny step.")
    parser.add_argument("checkouts", type=Path, nargs="*", default=[HERE])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    times: dict[Path, list[tuple[float, float]]] = {checkout.resolve(): [] for checkout in options.checkouts}
    for turn in range(options.rounds + 1):
        for checkout, measured in times.items():
            spent = seconds(checkout)
            if turn:
                measured.append(spent)
    for checkout, measured in times.items():
        wall, cpu = zip(*measured, strict=True)
        print(f"{checkout}: wall {min(wall):.1f} s (median {median(wall):.1f}), CPU {min(cpu):.1f} ({median(cpu):.1f})")
    print(f"{options.rounds} runs each, turn by turn; load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
