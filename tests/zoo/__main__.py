"""Every architecture of the zoo from a file with random weights: trained, killed, resumed, on two ranks, exported.

    python -m tests.zoo [ARCH ...]

Prints a row for each architecture and ends with 1 if a check failed. Spandrel must import; see tests/zoo/conftest.py.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import tests.zoo.conftest  # noqa: F401 - a stub of torchvision, where there is none
from tests.zoo.checks import Row, check_aside, table
from trainer.networks.zoo.table import ARCHITECTURES


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", help="some of the architectures; all by default")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for arch in options.arch or ARCHITECTURES:
            row = check_aside(arch, Path(name) / arch)
            rows.append(row)
            print(arch, row.checks, f"{row.seconds:.0f} s", flush=True)
    rows.sort(key=lambda row: -len(row.checks))
    print(table(rows))
    failed = {row.arch: row.failed for row in rows if row.failed}
    print(f"failed: {failed or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
