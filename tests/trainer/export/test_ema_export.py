"""The run's export: the checkpoint's averaged weights, opened by `from_pretrained`, complete at any moment."""

from pathlib import Path

import pytest
import torch

from trainer.checkpoints.store import Checkpoints
from trainer.export.ema_export import export
from trainer.networks import SRVGGNetCompact, SRVGGNetCompactConfig


def checkpoint(folder: Path, net: SRVGGNetCompact, step: int) -> Path:
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.begin(step)
    checkpoints.write(step, 0, {"generator_ema": net.state_dict()})
    return checkpoints.complete(step, ranks=1)


def network(seed: int) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, bands=3)


def test_the_export_opens_as_the_average_it_is(tmp_path: Path) -> None:
    average, live = network(1), network(2)
    export(checkpoint(tmp_path, average, 1), live, tmp_path / "export")
    opened = SRVGGNetCompact.from_pretrained(tmp_path / "export")
    assert opened.config.num_feat == 4
    assert opened.config.scale == 2
    assert all(torch.equal(value, opened.state_dict()[name]) for name, value in average.state_dict().items())


def test_a_newer_export_replaces_the_older_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for step in (1, 2):
        export(checkpoint(tmp_path, network(step), step), network(0), tmp_path / "export")
    opened = SRVGGNetCompact.from_pretrained(tmp_path / "export").state_dict()
    assert all(torch.equal(value, opened[name]) for name, value in network(2).state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "export"}
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "export").iterdir()} == {0o644}


def test_an_export_that_cannot_be_made_leaves_the_one_before(tmp_path: Path) -> None:
    export(checkpoint(tmp_path, network(1), 1), network(0), tmp_path / "export")
    newer = checkpoint(tmp_path, network(2), 2)
    (newer / "generator_ema.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        export(newer, network(0), tmp_path / "export")
    opened = SRVGGNetCompact.from_pretrained(tmp_path / "export").state_dict()
    assert all(torch.equal(value, opened[name]) for name, value in network(1).state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "export"}
