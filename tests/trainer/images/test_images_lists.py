"""Lists of pictures: the form of a line, and that no name leads out of the folder."""

import os
from pathlib import Path

import pytest

from trainer.images.lists import read_list
from trainer.images.sources import Folder
from trainer.mistakes import Mistake


def written(folder: Path, text: str) -> Path:
    (folder / "list.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder / "list.txt"


def photographs(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / name).write_bytes(b"")
    return folder / "photos"


def refused(folder: Path, text: str) -> str:
    with pytest.raises(Mistake) as caught:
        Folder(path=str(folder / "photos"), list=str(written(folder, text))).open()
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("0001_s001.png", ["0001_s001.png"]),
        ("0001_s001.png (480,480,3)", ["0001_s001.png"]),
        ("baboon.png (120, 125, 3) 1", ["baboon.png"]),
        ("two words (1).png (48,48)", ["two words (1).png"]),
        ("  sub/a.png\r", ["sub/a.png"]),
        ("\ufeffa.png", ["a.png"]),
        ("gt/a.png, lq/b.png", ["gt/a.png", "lq/b.png"]),
        ("\udcff.png", ["\udcff.png"]),
        ("a..b.png", ["a..b.png"]),
    ],
)
def test_what_a_line_says(tmp_path: Path, line: str, names: list[str]) -> None:
    assert read_list(str(written(tmp_path, f"{line}\n\n"))) == [names]


def test_a_list_chooses_among_a_folders_pictures_in_its_own_order(tmp_path: Path) -> None:
    path = photographs(tmp_path, "b.png", "sub/a.png", "c.png", "gt/x.png", "lq/x.png")
    chosen = written(tmp_path, "sub/a.png (4,4,3)\nb.png\nb.png\n")
    source = Folder(path=str(path), list=str(chosen)).open()
    assert source.files == ("sub/a.png", "b.png", "b.png")
    assert source.name(0) == str(path / "sub" / "a.png")


def test_pictures_that_are_not_there_are_counted_and_named(tmp_path: Path) -> None:
    path = photographs(tmp_path, "a.png")
    said = refused(tmp_path, "a.png\n" + "".join(f"{n}.png\n" for n in range(9)))
    assert said == (
        f"list: 9 of the 10 pictures that '{tmp_path / 'list.txt'}' names are not in folder '{path}': "
        "0.png, 1.png, 2.png, ...."
    )


@pytest.mark.parametrize("name", ["../a.png", "sub/../../a.png", "/etc/a.png", "..", "a.png, ../b.png"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    photographs(tmp_path, "a.png")
    (tmp_path / "a.png").write_bytes(b"")
    assert refused(tmp_path, f"a.png\n{name}\n") == (
        f"list: line 2 of '{tmp_path / 'list.txt'}' names '{name.rpartition(', ')[2]}'; wanted a name below the folder."
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n \n", "names no picture; wanted one on each line"),
        ("a, b, c", "line 1 of '{}' reads 'a, b, c'; wanted a name, or 'gt, lq'"),
        ("a.png, b.png", "holds pairs, such as 'a.png, b.png'; wanted a single name on each line"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    photographs(tmp_path, "a.png")
    assert sentence.replace("{}", str(tmp_path / "list.txt")) in refused(tmp_path, text)


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^list: '.*none.txt' cannot be read: No such file or directory \(seen from"):
        read_list(str(tmp_path / "none.txt"))
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Mistake, match="is no regular file; wanted a text file"):
            read_list(str(place))
