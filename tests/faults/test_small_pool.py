"""A pool of fewer pairs than there are ranks: some ranks own no slot of it."""

import json
from pathlib import Path

import pytest

from tests.faults.forked import TINY, Job

pytestmark = pytest.mark.launch
SETTINGS = ("validation=null", "telemetry.report_to=none", "queue_size=2", "batch.per_device=1", "batch.global_size=4")


def digests(folder: Path, *steps: int) -> tuple[dict[int, int], str]:
    """The digest of each step of a run by four ranks that ends and goes on after `steps`; and the last output."""
    said = ""
    for last in steps:
        job = Job(4, folder / "log", [str(TINY), *SETTINGS, f"output_dir={folder}", f"max_train_steps={last}"])
        try:
            assert job.wait(90) == [0] * 4, (folder / "log").read_text()
        finally:
            job.end()
        said = (folder / "log").read_text()
    lines = [json.loads(line) for line in (folder / "tiny" / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["training/digest"] for line in lines}, said


def test_a_run_whose_first_rank_owns_no_slot_resumes_at_the_position_where_it_stood(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (pieces := tmp_path / "pieces").mkdir()
    uninterrupted, _ = digests(whole, 6)
    resumed, said = digests(pieces, 3, 6)
    assert resumed == uninterrupted
    assert "the pool has another size" not in said
