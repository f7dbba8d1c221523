"""The parts of the benchmarks that can run anywhere: speed is for a GPU, but the program must not rot meanwhile."""

import importlib
from pathlib import Path

import pytest
import torch


def test_the_share_of_a_training_step_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    importlib.import_module("training_step").measure(torch.device("cpu"), 2, 1, tiny=True)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["networks", "bf16", "TF32"]
    assert all("%" in cell for row in rows[1:] for cell in row[3:])
