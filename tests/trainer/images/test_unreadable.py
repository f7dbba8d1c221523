"""Unreadable pictures: reported once and counted; above 1 % the run stops."""

from pathlib import Path

import pytest
from accelerate import Accelerator
from PIL import Image

from trainer.images.sources import Files, Folder
from trainer.images.unreadable import UnreadableImages
from trainer.mistakes import Mistake

NONE = "not a picture in a format that is read"


@pytest.fixture
def source(tmp_path: Path) -> Files:
    """200 pictures; 7, 50 and 120 are broken."""
    for number in range(200):
        path = tmp_path / f"{number:03d}.png"
        if number in (7, 50, 120):
            path.write_bytes(b"broken")
        else:
            Image.new("L", (1, 1)).save(path)
    return Folder(path=str(tmp_path)).open()


@pytest.fixture
def unreadable(accelerator: Accelerator, source: Files) -> UnreadableImages:
    return UnreadableImages(accelerator, source, known=set())


def test_each_is_named_once_with_its_reason(unreadable: UnreadableImages, source: Files) -> None:
    said: list[str] = []
    unreadable.note([50])
    unreadable.note([50, 7, 50])
    assert said == []  # nothing is reported or exchanged before the report
    unreadable.agree(said.append)
    assert said == [
        f"cannot be read, another picture takes its place: {source.name(number)}: {NONE}" for number in (7, 50)
    ]
    unreadable.note([7, 50])
    unreadable.agree(said.append)
    assert len(said) == 2
    assert unreadable.known == {7, 50}


def test_what_an_earlier_part_of_the_run_named_is_not_named_again(accelerator: Accelerator, source: Files) -> None:
    said: list[str] = []
    later = UnreadableImages(accelerator, source, known={7})
    later.note([7])
    later.agree(said.append)
    assert said == []


def test_one_percent_may_be_bad_and_not_one_more(unreadable: UnreadableImages, source: Files) -> None:
    said: list[str] = []
    unreadable.note([7, 50])
    unreadable.agree(said.append)  # 2 of 200
    unreadable.note([120])
    with pytest.raises(Mistake) as caught:
        unreadable.agree(said.append)
    assert len(said) == 3
    assert str(caught.value) == (
        "images: 3 of 200 pictures (1.5 %) cannot be read, more than 1 %; the first is "
        f"{source.name(7)}: not a picture in a format that is read."
    )


def test_what_was_put_right_since_counts_no_more(accelerator: Accelerator, source: Files) -> None:
    """Unreadable pictures of an earlier part of the run, listed in a checkpoint."""
    said: list[str] = []
    later = UnreadableImages(accelerator, source, known={7, 8, 9, 10})
    later.note([50])
    later.agree(said.append)
    assert said[1:] == ["3 of the pictures that could not be read can be read again."]
    assert later.known == {7, 50}
    later.note([120])
    with pytest.raises(Mistake, match=r"^images: 3 of 200 pictures"):
        later.agree(said.append)


def test_without_any_nothing_is_said(unreadable: UnreadableImages) -> None:
    said: list[str] = []
    unreadable.note([])
    unreadable.agree(said.append)
    assert said == []


def test_a_picture_that_is_there_again_is_named_as_such(unreadable: UnreadableImages, source: Files) -> None:
    said: list[str] = []
    unreadable.note([8])  # a disk that was unavailable for a moment
    unreadable.agree(said.append)
    assert said[0].endswith(f"{source.name(8)}: could not be read a moment ago, and now it can")
