"""The parts of the benchmarks that can run anywhere: speed is for a GPU, but the program must not rot meanwhile."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import Tiny
from tests.faults.forked import Job

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GAME = "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}"


def test_the_share_of_a_training_step_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    importlib.import_module("training_step").measure(torch.device("cpu"), 2, 1, tiny=True)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["networks", "bf16", "TF32"]
    assert all("%" in cell for row in rows[1:] for cell in row[3:])


def test_the_price_of_each_loss_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    importlib.import_module("losses").measure(torch.device("cpu"), 1, 32, 1, width=4)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 15
    assert all(float(cell) >= 0 for row in rows[1:] for cell in row[1:])


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_step_on_fake_tensors_counts_what_one_with_values_does(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    counting = importlib.import_module("memory_and_hours")
    config = tiny(GAME, "queue_size=8")

    def count(_: object) -> int:  # in a process of its own, for fake tensors stay in caches
        print(*(json.dumps(asdict(counting.counted(config, 2, fake=fake))) for fake in (False, True)), sep="\n")
        return 0

    assert Job(1, tmp_path / "log", (), count).wait(60) == [0], (tmp_path / "log").read_text()
    real, fake = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines()[-2:])
    assert real["peak"] == fake["peak"] > 0
    assert real["flops"] == fake["flops"] > 0
    assert real["moved"] == pytest.approx(fake["moved"], rel=0.01)


def test_what_fits_a_card_is_the_largest_part_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    counting = importlib.import_module("memory_and_hours")
    found = counting.Estimate(fixed=1e9, each=1e9, flops=1e12, moved=1e10)
    card = counting.Card("any", 24, 100, 1.0)
    assert found.memory(16) < 24e9 < found.memory(24)
    assert found.per_device(card) == 16
    assert counting.Estimate(fixed=30e9, each=1e9, flops=1, moved=1).per_device(card) == 0
    assert found.hours(card) == pytest.approx(10_000 * 48 * (1 / (0.2 * 100) + 0.01) / 3600)


def test_the_quickstart_is_measured_on_three_sets(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    measure = importlib.import_module("quickstart.measure")
    config = tiny("validation.draws=2")
    truth = torch.arange(3 * 64 * 96).remainder(251).to(torch.uint8).reshape(3, 64, 96)
    measure.to_picture(truth).save(tmp_path / "one.png")
    chosen = list(measure.pairs(config, str(tmp_path)))
    counts = [sum(pair[0] == name for pair in chosen) for name in measure.SETS]
    assert counts == [2, len(yaml.safe_load((BENCHMARKS / "quickstart" / "pillow.yaml").read_text("utf-8"))), 1]
    assert all(lq.shape[1] * config.scale == gt.shape[1] for _, _, lq, gt in chosen)
    clean = chosen[-1]
    small = Image.open(tmp_path / "one.png").resize((96 // config.scale, 64 // config.scale), Image.Resampling.BICUBIC)
    assert torch.equal(clean[2], measure.to_tensor(small))
    assert torch.equal(clean[3], truth)
    plain = measure.means([measure.bicubic(pair[2], config.scale) for pair in chosen], chosen, config.scale)
    better = {name: (decibels + 0.5, similarity) for name, (decibels, similarity) in plain.items()}
    assert measure.margins([plain, better], plain, measure.SETS[1], 0, 2) == "+0.25 (+0.00 to +0.50)"
