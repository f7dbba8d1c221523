"""Fixtures of the tests of pushing: a hub on this machine, and a run with two checkpoints."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loopback import LoopbackHub

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.schema import RunConfig, folder_of
from trainer.export.ema_export import export
from trainer.lifecycle.check_folder import open_folder
from trainer.validation.sample_sheet import save_png

Saved = Callable[..., RunConfig]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A loopback hub, named in the environment of the processes that a test starts."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    with LoopbackHub() as server:
        for name, value in server.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def saved(tiny: Callable[..., RunConfig]) -> Saved:
    """`saved("hub={...}")`: configuration of a tiny run whose folder has checkpoints 3 and 6, the best being 3."""

    def make(*overrides: str) -> RunConfig:
        config = tiny(*overrides)
        folder = open_folder(config)
        for step, value in ((3, 26.5), (6, 25.5)):
            save(config, folder, step)
            figures = {"validation/psnr": value, "validation/ssim": 0.5, "validation/psnr_bicubic": 25.0}
            with folder.metrics.open("a") as metrics:
                metrics.write(json.dumps({"step": step, **figures, "validation/ssim_bicubic": 0.4}) + "\n")
            save_png(torch.full((3, 8, 8), step, dtype=torch.uint8), folder.samples / f"step-{step:08d}.png")
        return config

    return make


def save(config: RunConfig, folder: RunFolder, step: int) -> None:
    """Write a checkpoint, with other weights at each step, and its export."""
    torch.manual_seed(step)
    network = config.generator.build(config.scale, config.images.bands)
    progress = {"best": {"step": 3}, "stream": {"pictures": 2}}
    checkpoints = Checkpoints(folder.checkpoints)
    checkpoints.begin(step)
    weights = network.state_dict()
    checkpoints.write(step, 0, {"generator": weights, "generator_ema": weights, "progress": progress})
    export(checkpoints.complete(step, ranks=1), network, folder_of(config).export)
