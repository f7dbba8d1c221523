"""Two ranks from the inside: equal weights, and one decision about bad pictures."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from launcher import ROOT, RUN, TINY, command, environment
from PIL import Image

pytestmark = pytest.mark.launch

RANKS = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], str]:
    """The answers of both ranks, and what was printed; the run of rank.py has 3 bad pictures among 120."""
    photos, answers = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("answers")
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
    done = subprocess.run(
        command(2, RANKS, str(answers), *overrides),
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((answers / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    return ranks, done.stdout + done.stderr


def test_ranks_begin_with_equal_weights_and_keep_them(said: tuple[list[dict[str, Any]], str]) -> None:
    for answer in said[0]:
        for when in ("before", "after", "average"):
            assert len(answer[when]) == 2
            assert len(set(answer[when])) == 1, when
        assert answer["before"] != answer["after"]


def test_both_ranks_stop_together_when_too_many_pictures_are_bad(said: tuple[list[dict[str, Any]], str]) -> None:
    ranks, text = said
    assert [answer["status"] for answer in ranks] == [2, 2]
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(set(lines)) == 1
    assert "of 120 pictures" in lines[0]
    assert "cannot be read, more than 1 %; the first is " in lines[0]


def test_a_mistake_of_all_ranks_is_said_once(tmp_path: Path) -> None:
    arguments = command(2, RUN, str(TINY), f"output_dir={tmp_path}", "batch.per_device=3")
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=100)
    assert done.returncode != 0
    assert done.stderr.count("error: batch: global_size 4 does not divide by 2 processes x per_device 3;") == 1
    assert done.stderr.count("exitcode  : 2 ") == 2
    assert list(tmp_path.iterdir()) == []
