"""Two ranks from the inside: equal weights, and one decision about the discriminator and about bad pictures."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from launcher import ROOT, RUN, TINY, command, environment, failed
from PIL import Image
from ranks import game, networks, tell

from tests.faults.forked import Job

pytestmark = pytest.mark.launch


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the ranks leave their answers."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, answers: Path) -> tuple[list[dict[str, Any]], str]:
    """The answers of both ranks, and what was printed; their run has 3 bad pictures among 120."""
    photos = tmp_path_factory.mktemp("photos")
    for number in range(120):
        Image.effect_mandelbrot((48, 48), (-2 + number / 100, -1, 1, 1), 20).save(photos / f"{number:03d}.png")
    for number in (7, 30, 99):
        (photos / f"{number:03d}.png").write_bytes(b"broken")
    overrides = [
        f"output_dir={answers}",
        f"images.source={{type: folder, path: '{photos}'}}",
        "max_train_steps=60",  # 240 samples: two epochs, so all three are met
        "gt_size=16",
        "images.crop_size=16",
    ]
    log = answers / "log"
    assert failed(Job(2, log, [str(answers), *overrides], tell), log) == [2, 2], log.read_text()
    ranks = [json.loads((answers / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    return ranks, log.read_text()


def test_ranks_begin_with_equal_weights_and_keep_them(said: tuple[list[dict[str, Any]], str]) -> None:
    for answer in said[0]:
        for when in ("before", "after", "average"):
            assert len(answer[when]) == 2
            assert len(set(answer[when])) == 1, when
        assert answer["before"] != answer["after"]


def test_ranks_hold_the_discriminator_together_by_the_mean_of_what_they_see(
    said: tuple[list[dict[str, Any]], str],
) -> None:
    for answer in said[0]:
        one, other = answer["game"]["own"]
        assert one != other
        assert answer["game"]["lead"][0] == answer["game"]["lead"][1]
        assert answer["game"]["lead"][0] == pytest.approx(
            [(a + b) / 2 for a, b in zip(one, other, strict=True)], abs=1e-7
        )
        assert answer["game"]["paused"][0] == answer["game"]["paused"][1]
        assert set(answer["game"]["paused"][0]) == {0.0, 1.0}


def test_both_networks_are_equal_on_all_ranks_power_iterations_too(said: tuple[list[dict[str, Any]], str]) -> None:
    for answer in said[0]:
        for player in ("generator", "discriminator"):
            assert len(set(answer["game"][player])) == 1, player


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize("per_device", [1, 4])
def test_a_game_is_the_same_by_one_rank_or_two_with_or_without_accumulation(
    said: tuple[list[dict[str, Any]], str], answers: Path, per_device: int
) -> None:
    """1 x 4 and 4 x 1 against 2 ranks x 2, after six steps that move a weight by up to 6e-3."""
    x, seen = game(per_device)
    assert seen["paused"] == said[0][0]["game"]["paused"][0]
    two = torch.load(answers / "game.pt", weights_only=True)
    for player, state in networks(x).items():
        for name, value in state.items():
            torch.testing.assert_close(value, two[player][name], rtol=0, atol=2e-5, msg=f"{player} {name}")


def test_both_ranks_stop_together_when_too_many_pictures_are_bad(said: tuple[list[dict[str, Any]], str]) -> None:
    ranks, text = said
    assert [answer["status"] for answer in ranks] == [2, 2]
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "of 120 pictures" in lines[0]
    assert "cannot be read, more than 1 %; the first is " in lines[0]


def test_a_mistake_of_all_ranks_is_said_once(tmp_path: Path) -> None:
    arguments = command(2, RUN, str(TINY), f"output_dir={tmp_path}", "batch.global_size=5")
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=100)
    assert done.returncode != 0
    assert done.stderr.count("error: batch: global_size 5 does not divide by 2 processes;") == 1
    assert done.stderr.count("exitcode  : 2 ") == 2
    assert list(tmp_path.iterdir()) == []
