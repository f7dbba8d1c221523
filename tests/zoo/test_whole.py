"""One architecture, with Dropout, through all checks of `python -m tests.zoo`."""

from pathlib import Path

import pytest

from tests.zoo.checks import check_aside

pytest.importorskip("spandrel")


def test_it_passes_every_check(tmp_path: Path) -> None:
    row = check_aside("RealPLKSR", tmp_path / "checks")
    assert row.failed == []
    assert len(row.checks) == 10
    assert row.checks["ONNX"] == "ok"
    assert row.checks["bf16"].startswith("yes")
