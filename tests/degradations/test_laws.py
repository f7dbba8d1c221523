"""Laws of the package: compiled draws are eager draws, no foreign imports, no hidden generator."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import degradations
from degradations.keyed_random import Keys, normals, uniforms
from degradations.operations.jpeg import Jpeg
from degradations.operations.noise import Noise
from degradations.operations.resize import Resize

PACKAGE = Path(degradations.__file__).parent
LAZY = {"PIL", "yaml"}  # inside functions only: real codecs and the preview
ALLOWED = {"torch", "einops", "degradations"} | set(sys.stdlib_module_names)


def imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=lambda file: file.name)
def test_imports(file: Path) -> None:
    tree = ast.parse(file.read_text())
    top = set().union(*(imports(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)))
    assert top <= ALLOWED
    assert imports(tree) <= ALLOWED | LAZY
    assert not imports(tree) & {"random", "numpy", "scipy"}
    forbidden = {"rand", "randn", "randint", "randperm", "normal", "poisson", "bernoulli", "multinomial", "manual_seed"}
    calls = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch"
    }
    assert not calls & forbidden
    assert len(file.read_text().splitlines()) <= 320, "a file fits a head"


@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # Inductor's own
def test_compiled_draws_are_eager_draws() -> None:
    """Inductor's CPU back end miscompiled the usual formulation of Philox, whose products wrap."""
    positions = torch.arange(3000) * 3_000_000_007

    def draw(positions: Tensor) -> tuple[Tensor, ...]:
        u = uniforms(Keys(0x9E3779B97F4A7C15, positions), 5, 4)
        resize, noise, jpeg = Resize().draw(u, 400, 300), Noise().draw(u), Jpeg().draw(u)
        return u, resize.scale, resize.size, resize.mode, noise.kind, noise.strength, noise.gray, jpeg.quality

    for compiled, eager in zip(torch.compile(draw, fullgraph=True)(positions), draw(positions), strict=True):
        assert torch.equal(compiled, eager)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_draws_of_a_gpu_are_those_of_a_cpu() -> None:
    positions = torch.arange(1000) * 3_000_000_007
    host, device = Keys(3, positions), Keys(3, positions.cuda())
    assert torch.equal(uniforms(device, 5, 9).cpu(), uniforms(host, 5, 9))
    assert torch.allclose(normals(device, 5, 999).cpu(), normals(host, 5, 999), atol=2e-6)
