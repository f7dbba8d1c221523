"""Every fused kernel through Triton's own launch, for GPUs that are not there: see `benchmarks/fused_launches.py`.

In a process of its own, since the others of this suite have Triton's interpreter, which takes kernels by another way.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]


def kernels() -> set[str]:
    """Kernels that the package launches, `module.name`: its compiled functions that no other one calls."""
    compiled: set[str] = set()
    called: set[str] = set()
    for file in (ROOT / "degradations" / "fused").glob("*.py"):
        tree = ast.parse(file.read_text())
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        origin = {alias.name: node.module for node in imports for alias in node.names}
        here = f"degradations.fused.{file.stem}"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and "triton.jit" in "".join(map(ast.unparse, node.decorator_list)):
                compiled.add(f"{here}.{node.name}")
                calls = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
                called |= {f"{origin.get(f.id, here)}.{f.id}" for f in calls if isinstance(f, ast.Name)}
    return compiled - called


def test_every_kernel_can_be_launched() -> None:
    """In every form that occurs in training: bound, specialised, compiled to Triton's intermediate language."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(ROOT / "benchmarks" / "fused_launches.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["capability"] for one in told] == [80, 90]
    for one in told:
        assert set(one["launches"]) == kernels()
    assert len(kernels()) > 10
