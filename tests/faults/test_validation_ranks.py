"""Validation by two ranks: weights of metrics found once, bests by several figures, and a metric that fails."""

import json
from pathlib import Path

import pytest

from tests.faults.forked import TINY, Job
from tests.trainer.losses.seeded_backbones import saved

OWN = "tests.trainer.validation.own_metrics"


def run(folder: Path, *overrides: str) -> tuple[list[int] | None, str]:
    """Exit status of two ranks, and what they wrote."""
    log = folder / "log"
    job = Job(2, log, [str(TINY), f"output_dir={folder}", "telemetry.report_to=none", "max_train_steps=3", *overrides])
    try:
        return job.wait(120), log.read_text()
    finally:
        job.end()


def test_two_ranks_measure_by_given_weights_and_keep_each_best(tmp_path: Path) -> None:
    lpips = f"{{type: lpips, net: squeeze, weights: {saved('squeeze', tmp_path)}}}"
    codes, log = run(
        tmp_path,
        f"validation.metrics=[psnr, {lpips}, displacement]",
        "validation.validation_steps=1",
        "telemetry.report_steps=1",
        "checkpoints.keep_best=[lpips_squeeze_custom]",
    )
    assert codes == [0, 0], log
    reports = [json.loads(line) for line in (tmp_path / "tiny" / "metrics.jsonl").read_text().splitlines()]
    values = [report["validation/lpips_squeeze_custom"] for report in reports]
    assert all(0 < value < 1 for value in values)
    best = min(range(3), key=lambda number: values[number])
    assert f"lpips_squeeze_custom {values[best]:.4f} at step {best + 1}" in log
    kept = {int(path.name.removeprefix("step-")) for path in (tmp_path / "tiny" / "checkpoints").glob("step-*")}
    assert best + 1 in kept


@pytest.mark.parametrize(
    ("metric", "code", "sentence"),
    [
        (
            f"{{type: module, path: {OWN}.Failing, name: mine, lower_is_better: true}}",
            1,
            "the metric mine failed: Runt",
        ),
        ("{type: lpips, weights: none.pth}", 2, "validation.metrics.1.weights: none.pth does not exist. Wanted is"),
    ],
)
def test_a_metric_that_fails_ends_both_ranks_with_one_sentence(
    tmp_path: Path, metric: str, code: int, sentence: str
) -> None:
    codes, log = run(tmp_path, f"validation.metrics=[psnr, {metric}]")
    assert codes == [code, code], log
    assert log.count(sentence) == 1
