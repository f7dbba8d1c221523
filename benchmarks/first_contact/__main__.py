"""Checks and measurements of the trainer on one GPU, in ten parts by their value; see benchmarks/README.md.

python benchmarks/first_contact --out FOLDER [--upstream FOLDER] [--from PART | --only PART,...]
python benchmarks/first_contact --out FOLDER --only 10 --variant compile
python benchmarks/first_contact --table FOLDER/results.jsonl
python benchmarks/first_contact --out FOLDER --rehearse        # on a CPU, tiny: the figures mean nothing
"""

import os
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(BENCHMARKS), str(BENCHMARKS.parent)]  # the programs beside this one, and the trainer uninstalled
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # else the question for a GPU would bar the forked parts from it
if "--interpret" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

from first_contact.command import main  # noqa: E402 - the paths come first

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
