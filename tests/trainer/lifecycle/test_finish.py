"""The closing lines of a run, and the files left by a diverging one: its last training pairs and their degradations."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from degradations.keyed_random import Keys
from trainer.building.accelerator import make_accelerator
from trainer.config.loader import dump_config
from trainer.config.schema import RunConfig, folder_of
from trainer.console import CALLED
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.finish import dump, interrupt, results
from trainer.mistakes import Failure
from trainer.networks.given import GivenGeneratorConfig
from trainer.upscale.__main__ import parse

SMALL = ("validation=null", "queue_size=0", "telemetry.report_to=none", "batch.global_size=8", "batch.per_device=8")


@pytest.fixture
def given(tmp_path: Path) -> str:
    """Three given pairs, of one colour that no photograph is of, as an override."""
    for folder, side in (("gt", 32), ("lq", 8)):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.new("RGB", (side, side), (255, 0, 255)).save(tmp_path / folder / f"{number}.png")
    return f"images.pairs={{type: pairs, gt: '{tmp_path / 'gt'}', lq: '{tmp_path / 'lq'}'}}"


@pytest.fixture
def dumped(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Callable[..., tuple[Experiment, dict[str, Any]]]:  # noqa: ARG001
    """An experiment, and the files it leaves of its first micro-batch."""

    def leave(*overrides: str) -> tuple[Experiment, dict[str, Any]]:
        config = tiny(*SMALL, *overrides)
        x = assemble(config, make_accelerator(config))
        x.folder.path.mkdir()
        x.model.feed_data(next(x.open_feed().take_step()))
        with pytest.raises(Failure, match="3 steps in a row had a gradient that is not finite, the last one step 0"):
            dump(x, 3)
        content: dict[str, Any] = torch.load(x.folder.path / "dump" / "step-00000000-rank-0.pt", weights_only=True)
        return x, content

    return leave


def test_a_mixture_says_which_pairs_were_given_and_how_the_others_were_made(dumped: Any, given: str) -> None:
    x, content = dumped(given, "images.pair_prob=0.4", "gt_usm=false")
    magenta = torch.tensor([255, 0, 255], dtype=torch.uint8)[:, None, None]
    shown = torch.tensor([torch.equal(picture, magenta.expand_as(picture)) for picture in content["lq"]])
    assert 0 < shown.sum() < 8
    assert torch.equal(content["given"], shown)
    made = content["positions"][~shown]
    wanted = x.model.synthesis.recipe(Keys(x.config.seed, made), torch.empty(48, 48)).as_dict()
    assert content["recipe"].keys() == wanted.keys()
    assert len(content["recipe"]["resize1.scale"]) == len(made)
    assert torch.equal(content["recipe"]["resize1.scale"], wanted["resize1.scale"])


def test_pairs_that_are_all_given_have_no_recipe(dumped: Any, given: str) -> None:
    _, content = dumped(given, "images.source=null", "high_order_degradation=false")
    assert content["given"].all()
    assert content.keys() == {"step", "lq", "gt", "positions", "given"}


def test_without_given_pairs_all_have_a_recipe(dumped: Any) -> None:
    _, content = dumped()
    assert not content["given"].any()
    assert len(content["recipe"]["resize1.scale"]) == 8


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (None, "nothing was saved yet"),
        (3, "the newest checkpoint, of step 3, is from before"),
        (4, "the newest checkpoint, of step 4, is from among them"),
    ],
)
def test_what_is_said_of_the_newest_checkpoint_is_true(dumped: Any, saved: int | None, said: str) -> None:
    """Steps 4, 5 and 6 were skipped."""
    x, _ = dumped()
    x.state.step, x.saver.saved = 6, saved
    with pytest.raises(Failure, match=said):
        dump(x, 3)


def test_a_mark_that_cannot_be_written_when_a_run_stops_is_said(
    tiny: Callable[..., RunConfig],
    fresh_accelerate: Any,  # noqa: ARG001
) -> None:
    config = tiny(*SMALL)
    x = assemble(config, make_accelerator(config))
    x.folder.stopped.mkdir(parents=True)
    with pytest.raises(Failure, match=r"^STOPPED could not be written: .*\. The run is saved at step 0"):
        interrupt(x, "signal")
    assert x.saver.checkpoints.steps() == [0]


@pytest.mark.parametrize("refused", [False, True])
def test_a_run_that_stops_writes_its_page_which_does_not_end_it(
    refused: bool,
    tiny: Callable[..., RunConfig],
    fresh_accelerate: Any,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny(*SMALL, "checkpoints.stop_on_error=false")
    x = assemble(config, make_accelerator(config))
    x.folder.path.mkdir()
    x.folder.checkpoints.mkdir()
    x.folder.config.write_text(dump_config(config))
    if refused:
        (x.folder.report / "in the way").mkdir(parents=True)
    interrupt(x, "signal")
    said = "report.html could not be written: "
    assert (said in capsys.readouterr().out) == refused
    assert refused or '<li class="state">stopped (signal)</li>' in x.folder.report.read_text()


def test_a_finished_run_ends_with_its_newest_sheet_and_the_command_that_uses_it(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CALLED, raising=False)
    config = tiny("name=my photos")
    folder = folder_of(config)
    assert f"Pictures: {folder.samples}." in results(config)
    (folder.samples / "step-00000004").mkdir(parents=True)  # whole results, if asked
    for name in ("step-00000004", "step-00000020", "step-100000000"):
        (folder.samples / f"{name}.png").touch()
    places, use = results(config).splitlines()
    assert places == f"Generator: {folder.export}. Newest sheet: {folder.samples / 'step-100000000.png'}."
    before, _, command = use.partition(": python -m trainer.upscale ")
    assert before == "To use it"
    assert parse(shlex.split(command)).model == str(folder.path)
    monkeypatch.setenv(CALLED, "wildsr")
    assert "\nTo use it: wildsr upscale --model " in results(config)
    assert "To use" not in results(replace(config, generator=GivenGeneratorConfig(given="Mine of 3 parameters")))
