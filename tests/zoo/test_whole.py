"""One architecture, with Dropout, through all checks of `python -m tests.zoo`."""

from pathlib import Path

import pytest

from tests.zoo.checks import check_aside
from trainer.networks.zoo.table import Arch

pytest.importorskip("spandrel")


@pytest.mark.parametrize("arch", ["RealPLKSR"])
def test_it_passes_every_check(arch: Arch, tmp_path: Path) -> None:
    row = check_aside(arch, tmp_path / arch)
    assert row.failed == []
    assert len(row.checks) == 10
    assert row.checks["ONNX"] == "ok"
    assert row.checks["bf16"].startswith("yes")
