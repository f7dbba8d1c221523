"""Files are complete or absent, whatever their names, whatever lies in the way, and flushed in the right order."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from trainer.files.atomic import ASIDE, aside_of, atomically, remove, settle, sweep, write_atomically


@pytest.fixture
def colleagues() -> Iterator[None]:
    before = os.umask(0o007)
    yield
    os.umask(before)


def test_a_file_is_flushed_before_it_has_its_name_and_the_name_after(tmp_path: Path, disk: list[str]) -> None:
    write_atomically(tmp_path / "DONE", "6\n")
    assert disk == ["sync aside", "aside becomes DONE", f"sync {tmp_path.name}"]


def test_a_folder_is_flushed_with_all_that_is_in_it_before_it_replaces_another(tmp_path: Path, disk: list[str]) -> None:
    made, final = tmp_path / "made", tmp_path / "final"
    for folder, name in ((made, "new"), (final, "old")):
        folder.mkdir()
        (folder / name).write_text(name)
    settle(made, final)
    assert disk == ["sync new", "sync made", "final becomes aside", "made becomes final", f"sync {tmp_path.name}"]
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert (final / "new").read_text() == "new"


def test_a_folder_that_cannot_take_its_place_leaves_what_was_there(tmp_path: Path) -> None:
    final = tmp_path / "made" / "final"  # in what is to become it
    final.mkdir(parents=True)
    (final / "old").touch()
    with pytest.raises(OSError, match="Invalid argument"):
        settle(tmp_path / "made", final)
    assert (final / "old").exists()


@pytest.mark.usefixtures("colleagues")
def test_the_umask_decides_who_may_read_also_what_safetensors_wrote(tmp_path: Path) -> None:
    write_atomically(tmp_path / "mark", b"")
    with atomically(tmp_path / "weights") as aside:
        safetensors.torch.save_file({"a": torch.ones(2)}, aside)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o660}


def test_the_longest_name_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    write_atomically(path, "x")
    assert path.read_text() == "x"


def test_a_failure_keeps_the_old_content_and_leaves_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("old")

    def fail() -> None:
        with atomically(path) as aside:
            aside.write_text("half")
            raise RuntimeError("inline_container")

    with pytest.raises(RuntimeError, match="inline_container"):
        fail()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("metrics.jsonl", "old")]


def test_no_link_is_followed_to_where_it_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a link in the place of the file, nor one at a guessed name of the temporary file."""
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "DONE").symlink_to("precious")
    write_atomically(tmp_path / "DONE", "6\n")
    assert not (tmp_path / "DONE").is_symlink()
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    aside_of(tmp_path / "DONE").symlink_to("precious")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "DONE", "7\n")
    assert (tmp_path / "precious").read_text() == "kept"
    assert (tmp_path / "DONE").read_text() == "6\n"


def test_what_the_dead_left_is_removed_and_what_links_point_to_is_not(tmp_path: Path) -> None:
    folder, kept = tmp_path / "run", tmp_path / "kept"
    for path in (folder, kept, folder / f"{ASIDE}1"):
        path.mkdir()
    (folder / f"{ASIDE}1" / "half").touch()
    (folder / f"{ASIDE}2").touch()
    (folder / f"{ASIDE}3").symlink_to(kept)
    (folder / "config.yaml").touch()
    sweep(folder)
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert kept.is_dir()
    remove(folder / "absent")
