"""Views of validation pictures: the pixels of the validation, from the middle; of the newest and the best step."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.validation.sample_sheet import composite
from trainer.validation.validator import bicubic
from trainer.validation.views import SIDE, Views, prune_views, save_views, views_of


def pixels(file: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def test_the_same_middle_of_all_views() -> None:
    lq = torch.randint(256, (3, 40, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = bicubic(lq, 4)
    ((title, shown),) = views_of({"lq": lq, "bicubic": plain, "result": plain}, 4, None)
    left = (300 - SIDE // 4) // 2
    assert title == ""
    assert torch.equal(shown["lq"], lq[:, :, left : left + SIDE // 4])
    assert torch.equal(shown["result"], plain[:, :, 4 * left : 4 * left + SIDE])


@pytest.mark.parametrize("truth", [True, False])
def test_each_composite_of_many_bands_is_stretched_by_one_reference(truth: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    scene = {"lq": (6, 10, 12), "bicubic": (6, 20, 24), "result": (6, 20, 24)} | ({"gt": (6, 20, 24)} if truth else {})
    pictures = {
        name: torch.randint(10_000, shape, dtype=torch.int32, generator=generator).to(torch.uint16)
        for name, shape in scene.items()
    }
    shown = dict(views_of(pictures, 2, {"true": (2, 1, 0), "false": (3, 2, 1)}))
    wanted = composite(list(pictures.values()), (3, 2, 1), reference=3 if truth else 0)
    assert list(shown) == ["true", "false"]
    assert all(torch.equal(one, other) for one, other in zip(shown["false"].values(), wanted, strict=True))


def test_a_picture_is_saved_whole_and_others_are_pruned(tmp_path: Path) -> None:
    parts = {"lq": torch.zeros(3, 2, 2, dtype=torch.uint8), "result": torch.full((3, 4, 6), 7, dtype=torch.uint8)}
    for step in (1, 2, 3):
        save_views(Views("00-0", "a/<b>.png", "JPEG 40", {"psnr": 20.0 + step}, parts), tmp_path, step)
    save_views(Views("00-0", "a/<b>.png", "JPEG 41", {"psnr": 99.0}, parts), tmp_path, 3)
    (tmp_path / ".DS_Store").touch()  # a file manager's
    prune_views(tmp_path, [1, 3])
    assert sorted(place.name for place in tmp_path.iterdir()) == [".DS_Store", "step-00000001", "step-00000003"]
    place = tmp_path / "step-00000003" / "00-0"
    about = {"name": "a/<b>.png", "note": "JPEG 41", "size": [6, 4], "figures": {"psnr": 99.0}}
    assert json.loads((place / "about.json").read_text()) == about
    assert torch.equal(pixels(place / "result.png"), parts["result"])
    prune_views(tmp_path / "absent", [])


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_keeps_those_of_its_newest_and_best_validation(tiny: Callable[..., RunConfig]) -> None:
    config = tiny("validation.num_samples=2", "validation.validation_steps=1", "telemetry.report_to=none")
    x = assemble(config, make_accelerator(config))
    fit(x)
    assert x.state.best
    kept = {f"step-{step:08d}" for step in (6, x.state.best.step)}
    assert {place.name for place in x.folder.views.iterdir()} == kept
    newest = x.folder.views / "step-00000006"
    assert {json.loads((place / "about.json").read_text())["name"] for place in newest.iterdir()} == {
        "chelsea.png",
        "chelsea.png draw 2",
    }
    lq = pixels(newest / "00-0" / "lq.png")
    assert torch.equal(pixels(newest / "00-0" / "bicubic.png"), bicubic(lq, 4))
    page = x.folder.report.read_text()
    assert "chelsea.png draw 2" in page
    assert '<li class="state">done</li>' in page
