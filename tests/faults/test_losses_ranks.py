"""All losses on two ranks: the same figures and weights as on one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.digests import compare, outcome
from tests.faults.forked import TINY, Job
from tests.trainer.losses.test_losses_perceptual import tiny_vgg

LOSSES = [
    "losses.ms_ssim={scales: 2}",
    "losses.focal_frequency={}",
    "losses.gradient={}",
    "losses.colour={}",
    "losses.luma={}",
    "losses.ldl={}",
    "losses.feature_matching={}",
    "losses.modules=[{name: huber, path: torch.nn.HuberLoss}]",
    "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}",
]


def test_all_losses_are_the_same_on_two_ranks(tmp_path: Path) -> None:
    torch.save(tiny_vgg("conv4_2"), tmp_path / "vgg.pth")
    fixed = [str(TINY), *LOSSES, f"losses.contextual={{weight: 0.1, weights: {tmp_path / 'vgg.pth'}}}",
             "validation=null", "telemetry.report_to=none", "max_train_steps=3", "queue_size=0"]  # fmt: skip
    runs, lines = [], []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        job = Job(world, folder / "log", [*fixed, f"output_dir={folder}", "batch.per_device=2"])
        codes = job.wait(60)
        job.end()
        assert codes == [0] * world, (folder / "log").read_text()[-3000:]
        runs.append(outcome(folder / "tiny"))
        metrics = (folder / "tiny" / "metrics.jsonl").read_text().splitlines()
        lines.append([figures(json.loads(line)) for line in metrics])
    equal, _, weights = compare(*runs)
    assert equal
    assert weights < 1e-5
    for one, two in zip(*lines, strict=True):
        assert len(one) > 12
        assert two == pytest.approx(one, rel=1e-4, abs=1e-7)


def figures(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if "/loss" in name or "grad_norm" in name}
