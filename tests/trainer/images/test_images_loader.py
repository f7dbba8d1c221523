"""The loader: the same stream with any workers, which start and end with the training process."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Timer

import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.distributed.signals import StopRequest
from trainer.distributed.waiting import GivenUp, Stopped, Watch
from trainer.images.crops import ImageBatch, TrainingImages, TrainingImagesConfig
from trainer.images.decode import decode
from trainer.images.loader import ImageLoader
from trainer.images.positions import Positions
from trainer.images.sources import Files, Folder
from trainer.mistakes import Mistake


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    for number in range(7):
        Image.effect_mandelbrot((48, 40), (-2 + number / 10, -1, 1, 1), 50).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    return Folder(path=str(tmp_path))


def loader(
    folder: Folder, workers: int, *, rank: int = 0, world: int = 1, per_device: int = 6, step: int = 0
) -> ImageLoader:
    config = TrainingImagesConfig(source=folder, crop_size=32, dataloader_num_workers=workers)
    positions = Positions(global_size=12, per_device=per_device, rank=rank, world=world, start=12 * step)
    return ImageLoader(TrainingImages(folder.open(), config, seed=1), positions, pin_memory=False)


def joined(batches: Iterator[ImageBatch], count: int) -> ImageBatch:
    taken = list(islice(batches, count))
    return ImageBatch(
        torch.cat([batch.pixels for batch in taken]),
        torch.cat([batch.positions for batch in taken]),
        [index for batch in taken for index in batch.unreadable],
    )


def test_workers_ranks_accumulation_and_restarts_do_not_change_the_stream(folder: Folder) -> None:
    whole = joined(loader(folder, workers=0), 6)
    assert whole.positions.tolist() == list(range(36))
    assert whole.unreadable
    assert set(whole.unreadable) == {3}

    first, second = (loader(folder, workers=1, rank=rank, world=2, per_device=3) for rank in (0, 1))
    for step in range(3):
        halves = [joined(half, 2) for half in (first, second)]
        assert torch.equal(torch.cat([half.pixels for half in halves]), whole.pixels[12 * step : 12 * step + 12])
    late = joined(loader(folder, workers=2, per_device=4, step=2), 3)
    assert torch.equal(late.pixels, whole.pixels[24:])
    assert late.positions.tolist() == list(range(24, 36))


def test_starting_a_loader_leaves_torchs_generator_alone(folder: Folder) -> None:
    before = torch.get_rng_state()
    next(loader(folder, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_arrives_as_its_sentence(tmp_path: Path, workers: int) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(Mistake) as caught:
        next(loader(Folder(path=str(tmp_path)), workers))
    assert str(caught.value) == (
        f"9 pictures of folder '{tmp_path}' in a row could not be used; "
        f"last {tmp_path / 'a.png'}: not a picture in a format that is read."
    )


def test_a_closed_loader_is_at_its_end(folder: Folder) -> None:
    with_workers = loader(folder, workers=1)
    next(with_workers)
    with_workers.close()
    with_workers.close()
    assert list(with_workers) == []


PROGRAM = """
import os, signal, sys, time
from trainer.images.crops import TrainingImages, TrainingImagesConfig
from trainer.images.decode import decode
from trainer.images.loader import ImageLoader
from trainer.images.positions import Positions
from trainer.images.sources import Files, Folder

if __name__ == "__main__":
    folder = Folder(path=sys.argv[1])
    config = TrainingImagesConfig(source=folder, crop_size=32, dataloader_num_workers=2)
    positions = Positions(global_size=4, per_device=4, rank=0, world=1)
    batches = ImageLoader(TrainingImages(folder.open(), config, seed=1), positions, pin_memory=False)
    next(batches)
    heard = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: heard.append(number))
    print("ready", flush=True)
    while len(heard) < 5:
        time.sleep(0.01)
    for _ in range(20):
        position = int(next(batches).positions[0])
    print("trained on", position, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("the end, with the loader open")
"""


@pytest.mark.parametrize("end", ["raised", "killed"])
def test_workers_survive_stop_signals_and_end_with_the_trainer(folder: Folder, tmp_path: Path, end: str) -> None:
    """A stop signal to all processes of the job must leave the last steps their batches; no end may leave orphans."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(program), folder.path, end],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.killpg(process.pid, number)
        assert process.stdout.readline() == "trained on 80\n"
        assert process.wait(timeout=20) == (1 if end == "raised" else -signal.SIGKILL)
    said = (tmp_path / "errors").read_text()
    assert end == "killed" or "ValueError: the end, with the loader open" in said
    assert said.count("Traceback") == (1 if end == "raised" else 0), said
    wait_until_empty(process.pid)


def wait_until_empty(group: int) -> None:
    """Wait until no process of the group is left except zombies that wait for a parent."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        states = [stat.rsplit(")", 1)[1].split() for stat in map(read_stat, Path("/proc").glob("[0-9]*/stat")) if stat]
        if not [state for state in states if int(state[2]) == group and state[0] != "Z"]:
            return
        time.sleep(0.05)
    pytest.fail(f"processes of group {group} are still there")


def read_stat(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return ""


def workers_of(batches: ImageLoader) -> list[int]:
    assert batches.reader is not None
    return [process.pid for process in batches.reader.workers if process.pid]


def test_a_killed_worker_is_replaced_and_the_stream_stays_what_it_is(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = joined(loader(folder, workers=0), 6)
    batches = loader(folder, workers=1)
    first = joined(batches, 1)
    os.kill(workers_of(batches)[0], signal.SIGKILL)
    rest = joined(batches, 5)
    assert torch.equal(torch.cat([first.pixels, rest.pixels]), whole.pixels)
    assert first.unreadable + rest.unreadable == whole.unreadable
    assert "a process that decodes pictures was killed" in capfd.readouterr().err
    batches.close()


def test_workers_that_are_killed_again_and_again_end_the_wait_with_the_remedy(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.images.loader.MOST_DEATHS", 0)
    batches = loader(folder, workers=1)
    batches.deaths = deque(maxlen=1)
    os.kill(workers_of(batches)[0], signal.SIGKILL)
    with pytest.raises(GivenUp, match=r"for the 1th time within 1000 batches.*images\.dataloader_num_workers"):
        joined(batches, 6)
    assert list(batches) == []


class Stalled(Files):
    """Files that are read without any check of their kind."""

    def read(self, index: int) -> Tensor:
        return decode(Path(self.root, self.files[index]).read_bytes(), self.name(index))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_read_that_never_ends_is_said_with_its_picture_and_hears_a_stop_request(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    """FIFOs, which are never opened as pictures, stand for files on a stalled mount."""
    monkeypatch.setattr("trainer.images.loader.GRACE", 0.0)
    watch = Watch(request := StopRequest(), reminder_seconds=0.3)
    monkeypatch.setattr("trainer.images.loader.WATCH", watch)
    listed = folder.open()
    stalled = Stalled(listed.where, listed.key, listed.root, listed.files, listed.identity)
    monkeypatch.setattr(Folder, "open", lambda _: stalled)
    for file in Path(folder.path).iterdir():
        file.unlink()
        os.mkfifo(file)
    batches = loader(folder, workers=workers)
    Timer(0.8, request.record, ["SIGTERM"]).start()
    with pytest.raises(Stopped, match=rf"SIGTERM while waiting for a batch \(position 0: {folder.path}/\d.png\), for"):
        next(batches)
    assert f"rank 0 is still waiting for a batch (position 0: {folder.path}/" in capfd.readouterr().err
    batches.close()


def test_a_stopped_worker_is_told_from_a_slow_read_and_ends_with_the_loader(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(StopRequest())
    monkeypatch.setattr("trainer.images.loader.WATCH", watch)
    batches = loader(folder, workers=1)
    next(batches)
    time.sleep(1)  # until it has read ahead: in the midst of a picture it would be a slow read
    os.kill(workers_of(batches)[0], signal.SIGSTOP)
    watch.limit = 0.5
    with pytest.raises(GivenUp, match=r"and 5 more, which no process is reading\).*distributed\.timeout_minutes"):
        joined(batches, 6)
    pids = workers_of(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while read_stat(Path(f"/proc/{pids[0]}/stat")).rsplit(")", 1)[-1].split()[:1] not in ([], ["Z"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_that_is_away_for_a_moment_is_waited_for(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    monkeypatch.setattr("trainer.images.loader.PAUSE", 0.1)
    monkeypatch.setattr("trainer.images.loader.WATCH", Watch(StopRequest(), reminder_seconds=0.1))
    whole = joined(loader(folder, workers=0), 6)
    batches = loader(folder, workers=workers)
    batches.images.cache.limit = 0
    first = joined(batches, 1)
    tmp_path.rename(away := tmp_path.with_name(f"{tmp_path.name}-away"))
    if workers == 0:
        tmp_path.mkdir()  # as an unmounted folder: there, and empty
    Timer(0.5, lambda: (tmp_path.rmdir() if workers == 0 else None, away.rename(tmp_path))).start()
    rest = joined(batches, 5)
    assert torch.equal(torch.cat([first.pixels, rest.pixels]), whole.pixels)
    assert first.unreadable + rest.unreadable == whole.unreadable
    said = f"its folder {tmp_path} is empty" if workers == 0 else f"its folder {tmp_path} cannot be read: No such file"
    assert said in capfd.readouterr().err
    batches.close()
