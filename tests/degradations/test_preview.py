"""The contact sheet: every mode writes a picture of the size that its grid has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from degradations import preview
from degradations.pipeline import Pipeline
from degradations.second_order import SecondOrder

BSRGAN = Path(__file__).parents[2] / "configs" / "degradations" / "bsrgan.yaml"


@pytest.fixture
def photo(tmp_path: Path, picture: Tensor) -> Path:
    path = tmp_path / "photo.png"
    levels = (picture * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(levels).save(path)
    return path


def sheet(*arguments: object) -> Image.Image:
    out = Path(str(arguments[-1]))
    preview.main([str(a) for a in arguments])
    return Image.open(out)


def test_sheet_of_draws(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--count", 5, "--tile", 64, "--out", tmp_path / "sheet.png")
    made = sheet(photo, "--config", BSRGAN, *options)
    assert "6 tiles" in capsys.readouterr().out
    assert made.width == 3 * (64 + 14) + 14
    assert made.height > 2 * 48
    again = sheet(photo, "--config", BSRGAN, *options)
    assert again.tobytes() == made.tobytes()
    assert sheet(photo, photo, "--seed", 1, *options).tobytes() != made.tobytes()


def test_what_is_wrong_is_one_sentence(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for words in (
        [str(tmp_path / "absent.png")],
        [str(tmp_path / "pipe.yaml")],
        [str(photo), "--config", str(tmp_path / "pipe.yaml")],
    ):
        assert preview.main([*words, "--out", str(tmp_path / "sheet.png")]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert len(told.splitlines()) == 1
    assert preview.main([str(photo), "--count", "1", "--out", str(tmp_path / "sheet.nothing")]) == 2


@pytest.mark.parametrize("operation", preview.OPERATIONS)
def test_sheet_of_one_operation(operation: str, photo: Path, tmp_path: Path) -> None:
    images = () if operation == "kernels" else (photo,)
    made = sheet(*images, "--op", operation, "--count", 6, "--tile", 48, "--out", tmp_path / "op.png")
    assert made.getextrema() != ((0, 0),) * 3


def test_training_configs_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("scale: 2\ngt_usm: true\ndegradation:\n  type: second_order\n  jpeg_range: [40, 50]\n")
    setting = preview.read_setting(path)
    assert setting == preview.Setting(SecondOrder(jpeg_range=(40, 50)), 2, True)
    assert isinstance(preview.read_setting(BSRGAN).degradation, Pipeline)
    for text, wrong in {
        "a: &a [1]\nb: *a\n": r"repeats a part by '\*a'",
        "[" * 40: "nested more than 32 deep",
        "a: [": "is not YAML",
        "#" * 2**20 + "\n": "larger than 1 MiB",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=wrong):
            preview.read_setting(path)
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="keys and values"):
        preview.read_setting(path)


def test_columns_leave_few_places_empty() -> None:
    assert [preview._columns(n) for n in (1, 2, 6, 12, 24, 25)] == [1, 2, 3, 4, 6, 5]


def test_mistakes_end_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        preview.main(["--count", "3"])
    assert "at least one picture" in capsys.readouterr().err
