"""Checks of the run folder: a run's own is accepted, another run's refused, and nothing is ever deleted."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.loader import dump_config, load_config
from trainer.config.schema import RunConfig
from trainer.lifecycle.check_folder import (
    check_folder,
    find_resume_step,
    folder_of,
    initial_weights,
    move_aside,
    open_folder,
    stop_before_start,
    take_over,
)
from trainer.mistakes import Mistake
from trainer.networks.loading.initial import InitConfig

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
        ("optimizer.type=AdamW", "optimizer.type is now 'AdamW' (was 'adam')"),
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
        ("optimizer.type=radam", "optimizer.type: the run has 'adam', this config 'radam'"),
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


def save(folder: RunFolder, step: int) -> Path:
    """A checkpoint with as little in it as can be."""
    checkpoints = Checkpoints(folder.checkpoints)
    checkpoints.begin(step)
    checkpoints.write(step, 0, {"generator": {}, "generator_ema": {}, "progress": {"step": step}})
    return checkpoints.complete(step, ranks=1)


SHOWS: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "done": (lambda folder: folder.finish(3), "DONE says step 3"),
    "stopped": (lambda folder: folder.interrupt(3, "signal"), "STOPPED says step 3"),
    "export": (lambda folder: folder.export.mkdir(), "export/ is there"),
    "start": (lambda folder: folder.begin(3, 1), "starts.jsonl has a start at step 3"),
    "emptied": (lambda folder: (folder.checkpoints / "step-00000003").mkdir(), "step-00000003 is there"),
    "set aside": (lambda folder: (folder.checkpoints / "step-00000003.damaged").mkdir(), "step-00000003.damaged is"),
    "truncated": (lambda folder: (save(folder, 3) / "progress.pt").write_bytes(b""), "step-00000003 is there"),
}


@pytest.mark.parametrize("what", SHOWS)
def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(what: str, tiny: Tiny) -> None:
    leave, shown = SHOWS[what]
    folder = open_folder(tiny())
    folder.metrics.write_text('{"step": 1}\n')
    folder.begin(0, 1)
    leave(folder)
    for ask in (check_folder, take_over):
        with pytest.raises(Mistake) as caught:
            ask(tiny())
        said = str(caught.value)
        assert said.startswith(f"{folder.path} holds a run that was saved ({shown}")
        assert f"no intact checkpoint is in {folder.checkpoints} now" in said
        assert "--fresh" in said
        assert "Put the checkpoints back" in said
    if what == "truncated":
        assert "step-00000003 is damaged and passed over: progress.pt has 0 bytes" in said
    assert folder.metrics.read_text() == '{"step": 1}\n'
    if what == "done":
        assert check_folder(tiny("max_train_steps=3"))  # nothing will be written, so it may be said that it is done


def test_damage_that_sizes_do_not_show_is_found_before_the_folder_is_touched(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    weights = save(folder, 3) / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert check_folder(tiny("max_train_steps=12")) != []
    with pytest.raises(Mistake, match=r"generator.safetensors is not what was written"):
        take_over(tiny("max_train_steps=12"))
    assert load_config(RunConfig, folder.config).max_train_steps == 6


def test_a_run_that_died_before_its_first_save_begins_anew(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    folder.begin(0, 1)
    folder.metrics.write_text('{"step": 1}\n')
    (folder.samples / "step-00000001.png").touch()
    (folder.checkpoints / "step-00000003.partial").mkdir()
    folder.interrupt(0, "signal")
    assert check_folder(tiny()) == []
    assert take_over(tiny()) == (None, [])


def test_weights_to_begin_with_are_not_read_by_a_run_that_goes_on(tiny: Tiny) -> None:
    config = tiny("init.generator=somewhere")
    assert initial_weights(config) == config.init
    folder = open_folder(config)
    assert initial_weights(config) == config.init
    save(folder, 3)
    assert initial_weights(config) == InitConfig()


def test_one_intact_checkpoint_is_enough(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    save(folder, 2)
    (save(folder, 3) / "progress.pt").unlink()
    folder.finish(3)
    assert check_folder(tiny()) == []
    step, (complaint,) = find_resume_step(folder)
    assert step == 2
    assert complaint.endswith("step-00000003 is damaged and passed over: progress.pt is missing.")


@pytest.mark.parametrize("text", ["", "name: tiny\nscale: [", None])
def test_without_a_readable_configuration_there_is_a_way_on(text: str | None, tiny: Tiny) -> None:
    folder = open_folder(tiny())
    save(folder, 3)
    folder.config.unlink() if text is None else folder.config.write_text(text)
    with pytest.raises(Mistake, match=r"(?s)is damaged, or of .*Go on with .*accept_changes=true, or .*--fresh"):
        check_folder(tiny())
    accepted = tiny("checkpoints.accept_changes=true")
    (change,) = check_folder(accepted)
    assert change.startswith("all, for what the run had cannot be told: ")
    assert str(folder.config) in change
    assert take_over(accepted) == (3, [])
    assert load_config(RunConfig, folder.config) == accepted


def test_a_configuration_that_was_cut_short_is_not_said_to_be_another(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    text = folder.config.read_text()
    folder.config.write_text(text[: text.index("\ngenerator:")])
    with pytest.raises(Mistake, match=r"generator.num_feat: the run does not say, this config 8"):
        check_folder(tiny())


def test_a_stop_before_the_start_is_obeyed_and_then_taken_away(tiny: Tiny) -> None:
    folder = folder_of(tiny())
    assert stop_before_start(tiny()) is None
    folder.path.mkdir()
    folder.stop.touch()
    assert check_folder(tiny()) == []
    said = "stopped at step 0 (STOP file) before anything was trained; the same command goes on."
    assert stop_before_start(tiny()) == said
    assert folder.stopped.read_text() == "step 0: STOP file\n"
    assert not folder.stop.exists()
    assert check_folder(tiny()) == []  # the same command goes on
    save(open_folder(tiny()), 3)
    folder.stop.touch()
    assert stop_before_start(tiny()) == said.replace("step 0", "step 3")
    folder.stop.touch()
    with pytest.raises(Mistake, match="holds a run of another configuration"):
        stop_before_start(tiny("seed=4"))
    assert folder.stop.exists()


def test_a_start_deletes_no_stop_unread_and_an_end_only_the_one_that_it_obeyed(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    folder.stop.touch()
    folder.finish(3)
    folder.begin(0, 1)
    folder.interrupt(3, "time budget")
    assert folder.stop.exists()
    assert not folder.done.exists()
    folder.interrupt(3, "STOP file")
    assert not folder.stop.exists()


def test_a_start_after_one_that_died_in_its_line_is_noted_whole(tiny: Tiny) -> None:
    folder = open_folder(tiny())
    folder.starts.write_bytes(b'{"step": 4, "hub_names": ["me/a"]}\n[1]\n{"step": 5, "hub_na')
    folder.begin(7, 1, {"me/b"})
    assert [start["step"] for start in folder.started()] == [4, 7]
    assert folder.hub_names() == {"me/a", "me/b"}


HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


@contextmanager
def trained_in(folder: RunFolder) -> Iterator[None]:
    """Hold the folder's lock in another process until the context ends."""
    lock = str(folder.path / RunFolder.LOCK)
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=-1, stdout=-1, text=True) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == "held\n"
            yield
        finally:
            holder.kill()


def test_a_run_in_progress_is_not_looked_through(tiny: Tiny) -> None:
    """Its newest checkpoint may be half deleted meanwhile, for a newer one."""
    config = tiny("name=held")
    folder = folder_of(config)
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text(dump_config(config))
    (save(folder, 3) / "progress.pt").unlink()
    with trained_in(folder), pytest.raises(Mistake, match="another process is training in"):
        take_over(config)


def test_a_run_in_progress_is_not_moved_aside(tiny: Tiny) -> None:
    """The next save of the run in progress would go to the new run's folder."""
    folder = folder_of(tiny())
    folder.path.mkdir()
    with (
        trained_in(folder),
        pytest.raises(Mistake, match=r"another process is training in .*/tiny: stop it"),
    ):
        move_aside(tiny())
    assert folder.path.exists()
    assert move_aside(tiny())


def test_a_lock_that_is_a_link_empties_no_file(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    path = folder_of(tiny("name=linked")).path
    path.mkdir()
    (path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(Mistake, match=r"the run folder .*/linked cannot be written: Too many levels of symbolic links"):
        open_folder(tiny("name=linked"))
    assert (tmp_path / "precious").read_text() == "kept"
