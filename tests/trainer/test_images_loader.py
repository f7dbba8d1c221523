"""The loader: one stream whatever reads it, and workers that live and die with the training process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainer.images.crops import ImageBatch, TrainingImages, TrainingImagesConfig
from trainer.images.loader import ImageLoader
from trainer.images.positions import Positions
from trainer.images.sources import Folder
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
        f"last {tmp_path / 'a.png'}: not a picture that Pillow knows."
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
from trainer.images.loader import ImageLoader
from trainer.images.positions import Positions
from trainer.images.sources import Folder

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
    """A stop signal to every process of the job must leave the batches for the last steps; no end may leave orphans."""
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
    """No process of the group is left, zombies that wait for a parent aside."""
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
