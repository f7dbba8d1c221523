"""Whether a run may have its folder: its own yes, a stranger's no, and nothing is ever deleted."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from trainer.claim import check_folder, folder_of, move_aside, open_folder
from trainer.config import RunConfig
from trainer.config_io import load_config
from trainer.mistakes import Mistake

Tiny = Callable[..., RunConfig]


def test_a_new_folder_may_be_had_and_is_not_made_by_asking(tiny: Tiny, tmp_path: Path) -> None:
    assert check_folder(tiny(f"output_dir={tmp_path}/new/deep")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_may_have_its_own_folder_again(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    assert {path.name for path in folder.path.iterdir()} == {".lock", "config.yaml", "samples", "checkpoints"}
    assert load_config(RunConfig, folder.config) == tiny()
    assert check_folder(tiny()) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("max_train_steps=12", "max_train_steps is now 12 (was 6)"),
        ("batch.per_device=4", "batch.per_device is now 4 (was 2)"),
        ("optimizer.learning_rate=2e-3", "optimizer.learning_rate is now 0.002 (was 0.001)"),
        ("images.dataloader_num_workers=2", "images.dataloader_num_workers is now 2 (was 0)"),
        ("mixed_precision=bf16", "mixed_precision is now 'bf16' (was 'no')"),
    ],
)
def test_some_settings_may_change(override: str, said: str, tiny: Tiny) -> None:
    open_folder(tiny())
    assert check_folder(tiny(override)) == [said]


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("seed=4", "seed: the run has 3, this config 4"),
        ("batch.global_size=8", "batch.global_size: the run has 4, this config 8"),
        ("generator.num_feat=4", "generator.num_feat: the run has 8, this config 4"),
        ("images.crop_size=64", "images.crop_size: the run has 48, this config 64"),
        ("gt_usm=false", "gt_usm: the run has True, this config False"),
        (
            "degradation.jpeg_range=[50, 95]",
            "degradation.jpeg_range: the run has [30.0, 95.0], this config [50.0, 95.0]",
        ),
    ],
)
def test_a_run_of_another_configuration_is_refused_and_the_difference_shown(
    override: str, difference: str, tiny: Tiny
) -> None:
    folder = open_folder(tiny())
    with pytest.raises(Mistake) as caught:
        check_folder(tiny(override, "max_train_steps=12"))
    head, line, *_ = str(caught.value).split("\n")
    assert head == f"{folder.path} holds a run of another configuration:"
    assert line.startswith(f"  {difference}")
    assert "max_train_steps" not in str(caught.value)  # that may change
    assert "--fresh" in str(caught.value)


def test_a_folder_that_is_no_run_is_refused(tiny: Tiny) -> None:
    path = folder_of(tiny()).path
    path.mkdir()
    assert check_folder(tiny()) == []  # empty
    (path / "thesis.tex").write_text("")
    with pytest.raises(Mistake, match=r"is not empty and holds no run \(no config.yaml\): choose another name"):
        check_folder(tiny())


def test_a_run_of_another_version_is_named(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    folder.config.write_text(folder.config.read_text() + "antimatter: 1\n")
    with pytest.raises(
        Mistake, match=r"(?s)is damaged, or of another version of this program: .*antimatter: no such key"
    ):
        check_folder(tiny())


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_a_folder_that_cannot_be_written_is_named(place: str, tiny: Tiny, tmp_path: Path) -> None:
    """Also for root, whom no permission stops: a file stands where a folder should."""
    (tmp_path / "file").write_text("kept")
    with pytest.raises(Mistake) as caught:
        check_folder(tiny(f"output_dir={tmp_path / place}"))
    assert str(caught.value) == f"the run folder {tmp_path / place}/tiny cannot be written: Not a directory."
    assert (tmp_path / "file").read_text() == "kept"


def test_runs_that_begin_at_once_do_not_trip_each_other(tiny: Tiny, tmp_path: Path) -> None:
    """A sweep's runs check and make their folders in one `output_dir`, which none of them finds at first."""
    failed: list[Exception] = []

    def start(number: int) -> None:
        try:
            for _ in range(10):
                check_folder(tiny(f"output_dir={tmp_path}/sweep", f"name=run-{number}"))
            open_folder(tiny(f"output_dir={tmp_path}/sweep", f"name=run-{number}"))
        except Exception as error:
            failed.append(error)

    threads = [Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(list((tmp_path / "sweep").iterdir())) == 4


def test_moving_aside_deletes_nothing(tiny: Tiny) -> None:
    assert move_aside(tiny()) is None
    folder = open_folder(tiny())
    (folder.samples / "step-1.png").write_text("a picture")
    aside = move_aside(tiny())
    assert aside is not None
    assert aside.name.startswith("tiny.until-")
    assert not folder.path.exists()
    assert (aside / "samples" / "step-1.png").read_text() == "a picture"


def test_moving_aside_twice_in_a_second_keeps_both(tiny: Tiny) -> None:
    asides = []
    for text in ("first", "second"):
        (open_folder(tiny()).samples / "note").write_text(text)
        asides.append(move_aside(tiny()))
    assert [aside and (aside / "samples" / "note").read_text() for aside in asides] == ["first", "second"]


@pytest.mark.parametrize(("text", "steps"), [("6\n", 6), ("", None), ("6", 6), ("half", None)])
def test_only_a_whole_mark_says_that_a_run_is_done(text: str, steps: int | None, tiny: Tiny) -> None:
    folder = open_folder(tiny())
    assert folder.steps_done() is None
    folder.done.write_text(text)
    assert folder.steps_done() == steps


def test_where_files_cannot_be_locked_the_run_says_so_and_goes_on(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A parallel file system that is mounted without locks answers so."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    folder = open_folder(tiny("name=lockless"))
    sentence = "is on a file system without locks (Function not implemented): nothing keeps a second job out"
    assert capsys.readouterr().out == f"{folder.path} {sentence}\n"
