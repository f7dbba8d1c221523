"""Spandrel imports torchvision, which does not import beside the CPU build of torch: a stub takes its place."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

STUB = str(Path(__file__).parent / "stub")

if find_spec("torchvision") is None:
    sys.path.append(STUB)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), STUB]))  # for processes
