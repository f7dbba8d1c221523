"""Whole runs on a streamed dataset: the same on any number of ranks, with the same messages."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import skimage
import torch
from accelerate import Accelerator
from PIL import Image

from tests.driving import Driver
from trainer.config.schema import RunConfig
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.open_images import notes_on_sharing, open_images, stream_of
from trainer.lifecycle.start import check_stream, fill_pool
from trainer.mistakes import Mistake

ROOT = Path(__file__).parents[3]
Tiny = Callable[..., RunConfig]


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Nine archives of 1 to 9 pieces of a photograph."""
    photo = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    root = tmp_path / "archives"
    root.mkdir()
    for size in range(1, 10):
        with tarfile.open(root / f"{size}.tar", "w") as archive:
            for number in range(size):
                x, y = 50 * size - 40, 50 * number
                buffer = BytesIO()
                photo.crop((x, y, x + 48, y + 48)).save(buffer, "PNG")
                entry = tarfile.TarInfo(f"{size}-{number}.png")
                entry.size = buffer.tell()
                archive.addfile(entry, BytesIO(buffer.getvalue()))
    return root


def streamed(root: Path, logical_streams: int = 4) -> str:
    return f"images.source={{type: stream, path: '{root}', logical_streams: {logical_streams}}}"


@pytest.mark.launch
def test_changing_numbers_of_ranks_train_on_the_same_pairs(archives: Path) -> None:
    """Run as a program: this process may have a fork server, for which forked ranks cannot wait."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.faults.stream_digests", str(archives / "*.tar")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = done.stdout.splitlines()
    assert len(rows) == 3
    assert all("digests equal" in row for row in rows)
    assert not [row for row in rows if " 0 lengths known" in row]


def test_what_ranks_that_share_streams_are_told(archives: Path, tiny: Tiny) -> None:
    config = tiny(streamed(archives), "batch.global_size=12")
    source, _ = open_images(config)
    assert notes_on_sharing(source, config, ranks=2) == []
    assert notes_on_sharing(source, config, ranks=3) == [
        "images.source: 4 logical streams do not divide by 3 processes, so some shards are read by more than one; "
        "every picture is still trained on once. 9 shards, global_size 12 and logical_streams 4 make this number."
    ]


def test_another_list_of_shards_is_another_stream(archives: Path, tiny: Tiny, accelerator: Accelerator) -> None:
    config = tiny(streamed(archives))
    before = stream_of(open_images(config)[0])
    assert (before.pictures, before.lengths) == (9, {})
    (archives / "9.tar").rename(archives / "10.tar")
    x = assemble(config, accelerator)
    saved = {"pictures": before.pictures, "names": before.names, "content": before.content, "times": before.times}
    with pytest.raises(Mistake) as caught:
        check_stream(x, saved)
    assert str(caught.value) == (
        f"images.source: streamed dataset '{archives}', split 'train' is not what this run was trained on (9 shards, "
        "but with other names). Put it back, or go on with another stream by checkpoints.accept_changes=true."
    )


def test_lengths_of_another_list_of_shards_are_not_taken_over(
    archives: Path, tiny: Tiny, accelerator: Accelerator
) -> None:
    x = assemble(tiny(streamed(archives)), accelerator)
    x.state.stream.lengths = {0: 3}
    parts = x.state.parts()
    for content, expected in ((x.state.stream.content, {0: 3}), ("of others", {})):
        x.state.stream.lengths = {}
        parts["progress"]["stream"]["content"] = content
        x.state.load(parts)
        assert x.state.stream.lengths == expected


def test_pairs_of_a_run_are_those_of_its_positions(archives: Path, tiny: Tiny, accelerator: Accelerator) -> None:
    """With a pool, which is filled from positions of its own before training begins after them."""
    x = assemble(tiny(streamed(archives), "queue_size=10"), accelerator)
    fill_pool(x)
    assert x.model.pool is not None
    held = x.model.pool.shape.pairs(x.model.pool.rows).positions
    assert held.tolist() == list(range(10))
    driver = Driver(x)
    came = []
    while len(came) < 8:
        came += driver.pairs()
        driver.advance()
    assert len(came) == 8
    left = x.model.pool.shape.pairs(x.model.pool.rows).positions
    assert sorted([*torch.cat([pair.positions for pair in came]).tolist(), *left.tolist()]) == list(range(10 + 16))
    assert x.state.stream.lengths


def test_a_run_names_a_corrupt_picture_once_and_goes_on(archives: Path, tiny: Tiny, accelerator: Accelerator) -> None:
    with tarfile.open(archives / "1.tar", "w") as archive:
        entry = tarfile.TarInfo("bad.png")
        entry.size = 6
        archive.addfile(entry, BytesIO(b"broken"))
    x = assemble(tiny(streamed(archives), "queue_size=0"), accelerator)
    said: list[str] = []
    driver = Driver(x)
    for _ in range(30):
        for pairs in driver.pairs():
            assert pairs.lq.shape == (2, 3, 8, 8)
        x.unreadable.agree(said.append)
    name = f"{archives / '1.tar'}, row 0"
    assert said == [f"cannot be read, another picture takes its place: {name}: not a picture in a format that is read"]
    assert x.state.stream.lengths[0] == 1
