"""The reports of a run in metrics.jsonl: reading them, and dropping those of steps that are taken back."""

import json
import resource
from pathlib import Path

import pytest

from trainer.telemetry.metrics_file import read_reports, truncate_metrics


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def written(metrics: Path, *texts: str) -> None:
    metrics.write_text("".join(texts))


def steps(metrics: Path) -> list[int]:
    return [json.loads(text)["step"] for text in metrics.read_text().splitlines()]


GOOD = [json.dumps({"step": step, "training/loss_pixel": 0.1}) + "\n" for step in range(1, 6)]


def test_reports_are_read_by_figure_and_from_either_end(metrics: Path) -> None:
    assert list(read_reports(metrics)) == []
    validation = '{"step": 3, "validation/psnr": 20.5}\n'
    written(metrics, *GOOD[:2], "null\n", '{"step": true}\n', validation, GOOD[3], '{"step": 5, "validation/ps')
    assert [report["step"] for report in read_reports(metrics)] == [1, 2, 3, 4]
    assert next(read_reports(metrics, newest_first=True))["step"] == 4
    assert list(read_reports(metrics, "validation/psnr")) == [json.loads(validation)]


def test_lines_of_later_steps_are_taken_back(metrics: Path) -> None:
    written(metrics, *GOOD)
    truncate_metrics(metrics, 3)
    assert steps(metrics) == [1, 2, 3]
    assert metrics.read_text() == "".join(GOOD[:3])
    truncate_metrics(metrics, 0)
    assert metrics.read_text() == ""


def test_a_full_disk_takes_later_lines_back_too(metrics: Path) -> None:
    written(metrics, *GOOD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        truncate_metrics(metrics, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert metrics.read_text() == "".join(GOOD[:2])


def test_of_a_step_that_is_there_twice_the_last_line_counts(metrics: Path) -> None:
    again = [text.replace("0.1", "0.2") for text in GOOD[2:4]]
    written(metrics, *GOOD, *again)
    assert [figures["training/loss_pixel"] for figures in truncate_metrics(metrics, 4)] == [0.1, 0.1, 0.2, 0.2]
    assert metrics.read_text() == "".join([*GOOD[:2], *again])


@pytest.mark.parametrize("cut", ['{"step": 6, "training/lo', "{", '{"step": 6', "5\n", '{"stop": 6}\n'])
def test_a_last_line_that_a_death_cut_short_is_taken_back(metrics: Path, cut: str) -> None:
    written(metrics, *GOOD, cut)
    truncate_metrics(metrics, 9)
    assert metrics.read_text() == "".join(GOOD)


def test_one_spoilt_line_takes_no_other_with_it(metrics: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad byte, a foreign line, figures that are none, and a report cut short with others after it."""
    spoilt = [b'{"step": 2, "a": \xff1}\n', b"\n", b'{"step": 2, "training/loss": "low"}\n', b'{"step": 2, "tr\n']
    metrics.write_bytes(b"".join([GOOD[0].encode(), *spoilt, *(line.encode() for line in GOOD[1:])]))
    assert [figures["step"] for figures in truncate_metrics(metrics, 4)] == [1, 2, 3, 4]
    assert metrics.read_text() == "".join(GOOD[:4])
    assert capsys.readouterr().out == f"{metrics}: dropped what is no report: lines 2, 3, 4, 5\n"
    truncate_metrics(metrics, 4)
    assert capsys.readouterr().out == ""


def test_a_last_line_without_its_end_is_completed(metrics: Path) -> None:
    written(metrics, *GOOD[:2], GOOD[2].rstrip("\n"))
    truncate_metrics(metrics, 9)
    assert metrics.read_text() == "".join(GOOD[:3])


def test_without_a_file_there_is_nothing_to_take_back(metrics: Path) -> None:
    truncate_metrics(metrics, 3)
    assert not metrics.exists()
