"""Checkpoints: complete or absent at any death; damaged ones are named and passed over."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.checkpoints.store import MANIFEST, NEEDED, Checkpoints, CheckpointsConfig, Damaged, on_host, verify

ROOT = Path(__file__).parents[3]


def parts(step: int) -> dict[str, Any]:
    """Parts like a run's: tensors alone, and a mixture."""
    weight = torch.arange(12.0).reshape(3, 4) + step
    shared = {"generator": {"body.weight": weight}, "generator_ema": {"body.weight": weight}}
    return {**shared, "progress": {"step": step, "best": None, "moments": [weight, 1.5]}}


def save(checkpoints: Checkpoints, step: int) -> Path:
    checkpoints.begin(step)
    checkpoints.write(step, 0, parts(step))
    return checkpoints.complete(step, ranks=1)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_what_is_saved_is_loaded(checkpoints: Checkpoints) -> None:
    folder = save(checkpoints, 7)
    assert folder.name == "step-00000007"
    verify(folder)
    assert {file.name for file in folder.iterdir()} == {*NEEDED, MANIFEST}
    loaded = checkpoints.load(7)
    assert torch.equal(loaded["generator"]["body.weight"], parts(7)["generator"]["body.weight"])
    assert loaded["progress"]["step"] == 7
    assert torch.equal(loaded["progress"]["moments"][0], parts(7)["generator"]["body.weight"])


def test_files_can_be_read_by_colleagues(checkpoints: Checkpoints) -> None:
    assert {file.stat().st_mode & 0o777 for file in save(checkpoints, 1).iterdir()} == {0o644}


def test_without_a_checkpoint_there_is_no_newest(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() == (None, [])
    assert checkpoints.steps() == []


def test_newest_is_the_highest_number_not_the_last_name_or_date(checkpoints: Checkpoints) -> None:
    for step in (9, 99_999_999, 100_000_000):  # by name "step-100000000" comes before "step-99999999"
        save(checkpoints, step)
    assert checkpoints.steps() == [9, 99_999_999, 100_000_000]
    assert checkpoints.newest() == (100_000_000, [])


def test_other_names_are_no_checkpoints(checkpoints: Checkpoints) -> None:
    save(checkpoints, 3)
    for name in ("step-00000009.partial", "step-00000008.damaged", "step-7", "notes"):
        (checkpoints.folder / name).mkdir()
    assert checkpoints.newest() == (3, [])


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def with_manifest(text: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(text)


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (truncate, "generator.safetensors", "generator.safetensors has "),
    "bit flipped": (flip_a_bit, "progress.pt", "progress.pt is not what was written"),
    "file missing": (Path.unlink, "progress.pt", "progress.pt is missing"),
    "manifest missing": (Path.unlink, MANIFEST, "it has no readable manifest.json (FileNotFoundError)"),
    "manifest cut": (truncate, MANIFEST, "it has no readable manifest.json (JSONDecodeError)"),
    "manifest a list": (with_manifest("[]"), MANIFEST, "it has no readable manifest.json (TypeError)"),
    "files a list": (with_manifest('{"files": []}'), MANIFEST, "it has no readable manifest.json (AttributeError)"),
    "a file a number": (with_manifest('{"files": {"a": 3}}'), MANIFEST, "it has no readable manifest.json (TypeError)"),
    "no size": (with_manifest('{"files": {"a": {}}}'), MANIFEST, "it has no readable manifest.json (KeyError)"),
    "no files": (with_manifest('{"files": {}}'), MANIFEST, "its manifest.json does not name generator.safetensors"),
    "another's file": (
        with_manifest('{"files": {"../../config.yaml": {"bytes": 1, "sha256": ""}}}'),
        MANIFEST,
        "its manifest.json names '../../config.yaml', which is not in it",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_passed_over(checkpoints: Checkpoints, kind: str) -> None:
    harm, name, sentence = DAMAGE[kind]
    save(checkpoints, 3)
    hurt = save(checkpoints, 6)
    harm(hurt / name)
    with pytest.raises(Damaged):
        verify(hurt)
    step, (complaint,) = checkpoints.newest()
    assert step == 3
    assert complaint.startswith(f"checkpoint {hurt} is damaged and passed over: {sentence}")


def test_a_damaged_checkpoint_is_replaced_when_the_run_comes_there_again(checkpoints: Checkpoints) -> None:
    flip_a_bit(save(checkpoints, 3) / "progress.pt")
    save(checkpoints, 3)
    assert checkpoints.newest() == (3, [])
    assert names(checkpoints) == ["step-00000003", "step-00000003.damaged"]


def test_damaged_ones_are_not_counted_when_the_run_saves_before_it_comes_there(checkpoints: Checkpoints) -> None:
    """A run resumed at 3 saves at 4, because it is asked to stop: 6 and 9 must not push 3 and 4 out."""
    for step in (3, 6, 9):
        save(checkpoints, step)
    for step in (6, 9):
        flip_a_bit(checkpoints.path(step) / "progress.pt")
    checkpoints.begin(4, after=3)
    checkpoints.write(4, 0, parts(4))
    checkpoints.complete(4, ranks=1)
    checkpoints.prune(1, spare=[])
    assert checkpoints.newest() == (4, [])
    assert names(checkpoints) == ["step-00000004", "step-00000006.damaged", "step-00000009.damaged"]


def test_damaged_ones_between_two_saves_are_not_counted_either(checkpoints: Checkpoints) -> None:
    for step in (3, 6):
        save(checkpoints, step)
    (checkpoints.folder / ".aside-left").touch()  # by a process that died
    flip_a_bit(checkpoints.path(6) / "progress.pt")
    checkpoints.begin(7, after=3)
    assert names(checkpoints) == ["step-00000003", "step-00000006.damaged", "step-00000007.partial"]


def test_what_lies_in_a_checkpoint_and_is_not_its_own_is_left_alone(checkpoints: Checkpoints) -> None:
    folder = save(checkpoints, 3)
    (folder / "old.pt").mkdir()
    (folder / "notes.safetensors").write_text("lr was too high")
    (folder / "pool-00000000-00000009.safetensors").write_text("no pool")
    assert checkpoints.newest() == (3, [])
    assert checkpoints.load(3).keys() == parts(3).keys()
    assert checkpoints.pool_size(3) == 0
    assert checkpoints.load_pool(3, 0, 9) is None


def test_what_stands_in_the_way_of_a_save_is_removed_and_links_are_not_followed(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.folder.mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    checkpoints.partial(3).symlink_to(tmp_path / "precious")
    checkpoints.partial(2).touch()
    checkpoints.path(3).touch()
    verify(save(checkpoints, 3))
    assert (tmp_path / "precious" / "file").exists()
    assert names(checkpoints) == ["step-00000003", "step-00000003.damaged"]


def test_everything_is_on_the_disk_before_the_folder_has_its_name(checkpoints: Checkpoints, disk: list[str]) -> None:
    save(checkpoints, 3)
    named = disk.index("step-00000003.partial becomes step-00000003")
    for name in (*NEEDED, MANIFEST):
        becomes = disk.index(f"aside becomes {name}")
        assert disk[becomes - 1] == "sync aside"
        assert f"sync {name}" in disk[becomes:named]
    listed = disk.index(f"aside becomes {MANIFEST}")
    assert disk[listed:named].count("sync step-00000003.partial") >= 1
    assert disk[named + 1] == "sync checkpoints"


def test_a_death_while_an_old_one_is_deleted_leaves_none_that_is_half_there(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(folder: Path) -> None:
        min(folder.iterdir()).unlink()
        raise KeyboardInterrupt

    for step in (3, 6):
        save(checkpoints, step)
    monkeypatch.setattr("shutil.rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.prune(1, spare=[])
    assert checkpoints.steps() == [6]


def test_pruning_keeps_the_newest_and_what_is_spared(checkpoints: Checkpoints) -> None:
    for step in (1, 2, 3, 4, 5):
        save(checkpoints, step)
    checkpoints.prune(None, spare=[])
    assert checkpoints.steps() == [1, 2, 3, 4, 5]
    checkpoints.prune(2, spare=[2, 4])
    assert checkpoints.steps() == [2, 4, 5]
    checkpoints.prune(1, spare=[])
    assert names(checkpoints) == ["step-00000005"]


DEATH = """
import os, sys
from pathlib import Path
from trainer.checkpoints.store import Checkpoints
import torch

class Fatal:
    def __reduce__(self):
        os._exit(9)  # as the memory killer would, after the weights and before the rest

checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.begin(6)
weights = {"weight": torch.ones(1000)}
parts = {"generator": weights, "generator_ema": weights, "progress": {"step": 6, "moments": Fatal()}}
checkpoints.write(6, 0, parts)
checkpoints.complete(6, 1)
"""


def test_a_death_in_the_middle_of_a_save_leaves_the_one_before(checkpoints: Checkpoints) -> None:
    save(checkpoints, 3)
    died = subprocess.run(
        [sys.executable, "-c", DEATH, str(checkpoints.folder)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert died.returncode == 9
    left = checkpoints.partial(6)
    assert {file.name for file in left.iterdir()} >= {"generator.safetensors"}  # it did die in the middle
    assert checkpoints.newest() == (3, [])
    save(checkpoints, 6)  # over what was left
    assert checkpoints.newest() == (6, [])
    assert names(checkpoints) == ["step-00000003", "step-00000006"]


def test_a_save_by_two_ranks_waits_for_both(checkpoints: Checkpoints) -> None:
    checkpoints.begin(4)
    own = parts(4)
    checkpoints.write(4, 0, {name: own[name] for name in ("generator", "generator_ema")})
    late = threading.Timer(0.3, lambda: checkpoints.write(4, 1, {"progress": own["progress"]}))
    late.start()
    folder = checkpoints.complete(4, ranks=2)
    late.join()
    verify(folder)
    assert checkpoints.load(4).keys() == own.keys()


def test_a_rank_that_cannot_write_fails_the_save_for_all(checkpoints: Checkpoints) -> None:
    save(checkpoints, 3)
    checkpoints.begin(4)
    checkpoints.write(4, 0, {"progress": {"step": 4}})
    (checkpoints.partial(4) / "pool.safetensors").mkdir()  # a folder where the file should be
    with pytest.raises(OSError, match="Is a directory"):
        checkpoints.write(4, 1, {"pool": {"rows": torch.zeros(2)}})
    with pytest.raises(OSError, match="rank 1: "):
        checkpoints.complete(4, ranks=2)
    assert checkpoints.newest() == (3, [])


class Full(dict[str, Any]):
    """The error of torch's writer on a full disk, in the middle of a part."""

    def __reduce__(self) -> Any:
        raise RuntimeError("[enforce fail at inline_container.cc:858] . unexpected pos 64 vs 0\nframe #0: c10")


def test_whatever_a_library_raises_is_known_to_the_others_and_makes_room(checkpoints: Checkpoints) -> None:
    checkpoints.begin(4)
    with pytest.raises(RuntimeError):
        checkpoints.write(4, 0, {**parts(4), "optimizer": {"moments": Full()}})
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the sentence is below
        checkpoints.complete(4, ranks=1)
    assert str(caught.value) == (
        "rank 0: RuntimeError: [enforce fail at inline_container.cc:858] . unexpected pos 64 vs 0"
    )
    assert [path.name for path in checkpoints.partial(4).iterdir()] == ["rank-0.json"]


def test_a_part_that_does_not_come_is_not_waited_for_without_end(checkpoints: Checkpoints) -> None:
    checkpoints.begin(4)
    checkpoints.write(4, 0, parts(4))
    with pytest.raises(OSError, match=r"rank-1.json is not there: the run has ended"):
        checkpoints.complete(4, ranks=2, given_up=lambda seconds: "the run has ended" if seconds > 0.05 else "")
    assert checkpoints.steps() == []


@pytest.mark.parametrize(("first", "end"), [(0, 10), (0, 5), (4, 7), (3, 4), (9, 10)])
def test_the_pool_is_read_by_slot_whoever_wrote_it(checkpoints: Checkpoints, first: int, end: int) -> None:
    rows = torch.arange(30, dtype=torch.uint8).reshape(10, 3)
    checkpoints.begin(1)
    for rank, (low, high) in enumerate([(0, 3), (3, 6), (6, 10)]):
        checkpoints.write(1, rank, {f"pool-{low:08d}-{high:08d}": {"rows": rows[low:high]}})
    checkpoints.complete(1, ranks=3)
    loaded = checkpoints.load_pool(1, first, end)
    assert loaded is not None
    assert torch.equal(loaded, rows[first:end])
    assert checkpoints.pool_size(1) == 10
    assert checkpoints.load_pool(1, 8, 12) is None
    assert checkpoints.load(1) == {}


def test_a_copy_on_the_host_does_not_follow_the_training() -> None:
    live = {"weight": torch.zeros(2), "state": {0: [torch.ones(1), 3]}}
    copy = on_host(live)
    live["weight"].fill_(9.0)
    live["state"][0][0].fill_(9.0)  # type: ignore[index]
    assert copy["weight"].tolist() == [0.0, 0.0]
    assert copy["state"][0][0].item() == 1.0
    assert copy["state"][0][1] == 3


@pytest.mark.parametrize("wrong", [{"checkpointing_steps": 0}, {"checkpoints_total_limit": 0}])
def test_settings_that_would_save_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        CheckpointsConfig(**wrong)  # type: ignore[arg-type]
