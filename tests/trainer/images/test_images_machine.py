"""Cores and shared memory for the processes that decode pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.images.machine import check_shared_memory, local_processes, note_on_workers
from trainer.mistakes import Mistake

PROGRAM = """
import sys
from pathlib import Path
from trainer.images.machine import check_shared_memory
from trainer.mistakes import Mistake
for batch in (3 * 2**20, 7 * 2**20):
    try:
        check_shared_memory(batch, 4, 2, Path(sys.argv[1]))
        print("enough")
    except Mistake as mistake:
        print(mistake)
"""


def test_a_small_shared_memory_is_one_sentence_with_the_remedies(tmp_path: Path) -> None:
    """Run in a mount namespace, on a file system of Docker's default size."""
    mounted = f'mount -t tmpfs -o size=64m none "{tmp_path}" && exec "{sys.executable}" -c "$0" "{tmp_path}"'
    done = subprocess.run(["unshare", "-rm", "sh", "-c", mounted, PROGRAM], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.returncode == 0, done.stderr
    enough, sentence = done.stdout.splitlines()
    assert enough == "enough"
    assert sentence == (
        f"{tmp_path} has 64 MiB free; images.dataloader_num_workers=4 and batches of 7.0 MiB need 140 MiB for 2 "
        "processes. `docker run --shm-size`, or whoever mounts it, can give more; images.dataloader_num_workers=0 "
        "needs none."
    )


def test_no_shared_memory_is_one_sentence_and_nobody_asks_without_workers(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"none is not there: .*images\.dataloader_num_workers=0"):
        check_shared_memory(1, 1, 1, tmp_path / "none")
    check_shared_memory(2**60, 0, 1, tmp_path)


def test_more_workers_than_cores_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert note_on_workers(4, 2) == note_on_workers(4, 8) == []  # the default, for which nobody asked
    (note,) = note_on_workers(5, 2)
    assert note.startswith("images.dataloader_num_workers: got 5; as many as a process has cores here are used, 4")


def test_processes_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_WORLD_SIZE", "SLURM_NNODES"):
        monkeypatch.delenv(name, raising=False)
    assert local_processes(8) == 8
    monkeypatch.setenv("SLURM_NNODES", "2")
    assert local_processes(8) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert local_processes(8) == 3
