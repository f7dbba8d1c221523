"""Profiles of training steps: a table whose parts are the whole step, a trace, and nothing in the run folder."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.forked import TINY, Job
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.lifecycle.assemble import assemble
from trainer.mistakes import Mistake
from trainer.profiler.__main__ import main
from trainer.profiler.measure import TABLE, TRACE, check_out, profile
from trainer.profiler.table import Operator, operators_table, parts_table

GAME = "{discriminator: {type: UNetDiscriminatorSN, num_feat: 4}, pretrain_g_only: true, g_pretrain_steps: 4}"
QUICK = (
    "degradation={type: pipeline, steps: [{type: fit}]}", "validation=null", "gt_size=16", "batch.global_size=2",
    "telemetry.report_to=none",
)  # fmt: skip
PARTS = (
    "waiting for data", "degradation", "pool", "mixing", "targets of the losses", "generator forward",
    "losses, with their networks", "generator backward", "generator optimizer", "discriminator forward",
    "discriminator backward", "discriminator optimizer", "EMA", "other", "step",
)  # fmt: skip


@pytest.mark.usefixtures("fresh_accelerate")
def test_the_parts_are_the_whole_step(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Steps of the last phase, more than the run has; validation and trackers stand aside."""
    config = tiny(f"adversarial={GAME}", "mixing={mixup: {prob: 0.5}}", *QUICK)
    out = tmp_path / "profile"
    check_out(out, tmp_path / "tiny")
    profile(assemble(config, make_accelerator(config)), 2, out)
    text = (out / TABLE).read_text()
    first, second, _, _, *rows = text.splitlines()
    assert first == "tiny on the CPU, 2 steps (both learn) of 2 = 1 process x 2 per device x 1 accumulation"
    assert " s a step, " in second
    assert " TFLOP/s a process, peak memory " in second
    table = {row[:28].strip(): float(row[28:].split()[0]) for row in rows[: len(PARTS)]}
    assert tuple(table) == PARTS
    assert sum(table.values()) - table["step"] == pytest.approx(table["step"], abs=0.1 * len(PARTS))
    assert all(table[name] > 0 for name in PARTS[4:12])
    assert "aten::convolution_backward" in text
    trace = json.loads(gzip.decompress((out / TRACE).read_bytes()))
    assert {"degradation", "generator forward", "EMA"} <= {event.get("name") for event in trace["traceEvents"]}
    assert [path.name for path in tmp_path.iterdir()] == ["profile"]


def test_on_a_gpu_the_host_has_a_column_of_its_own() -> None:
    cost, host = {"degradation": 0.2, "generator forward": 0.6}, {"degradation": 0.1, "generator forward": 0.3}
    lines = parts_table(2, 1.0, cost, host, on_gpu=True).splitlines()
    assert [line.split() for line in lines] == [
        ["part", "GPU,", "ms", "share", "host,", "ms"],
        ["degradation", "100.0", "20.0", "%", "50.0"],
        ["generator", "forward", "300.0", "60.0", "%", "150.0"],
        ["other", "100.0", "20.0", "%", "300.0"],
        ["step", "500.0", "100.0", "%", "500.0"],
    ]


def test_the_heaviest_operators_are_those_of_the_gpu_where_there_is_one() -> None:
    operators = [Operator("aten::add", 4, 0.3, 0.1), Operator("aten::mm", 2, 0.1, 0.3), Operator("aten::mul", 2, 0, 0)]
    by_cpu = operators_table(operators, 2, on_gpu=False).splitlines()
    assert by_cpu[1].split() == ["aten::add", "2", "150.0", "75.0", "%"]
    by_gpu = operators_table(operators, 2, on_gpu=True).splitlines()
    assert by_gpu[1].split() == ["aten::mm", "1", "150.0", "50.0", "75.0", "%"]
    many = [Operator(f"aten::op{number}", 1, number, 0) for number in range(20)]
    assert len(operators_table(many, 1, on_gpu=False).splitlines()) == 11


def test_nothing_is_written_into_the_run_folder_or_over_a_file(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^--out: .*/tiny/mine lies in the run folder .*/tiny, into which a profile"):
        check_out(tmp_path / "tiny" / "mine", tmp_path / "tiny")
    (tmp_path / "file").touch()
    with pytest.raises(Mistake, match=r"^--out: .*/file cannot be made: File exists\.$"):
        check_out(tmp_path / "file", tmp_path / "tiny")


def test_the_command_says_where_it_wrote_and_what_is_wrong(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = [str(TINY), f"output_dir={tmp_path}", *QUICK]
    assert Job(1, log, [*settings, "--steps", "1"], main).wait(60) == [0], log.read_text()
    assert log.read_text().endswith(f"{tmp_path}/tiny-profile/{TRACE}, which ui.perfetto.dev opens, were written.\n")
    log.unlink()
    assert Job(1, log, [*settings, "gt_size=30"], main).wait(60) == [2]
    assert log.read_text().startswith("error: ")
    assert "gt_size: got 30; must be a multiple of 4" in log.read_text()
    assert not (tmp_path / "tiny").exists()


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        ([], "CONFIG must be given; there are "),
        (["quickstart", "--steps", "0"], "argument --steps: got 0; must be at least 1"),
        (["quickstart", "--seed=3"], "unknown option --seed=3; settings are given without dashes, as in seed=3"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert sentence in capsys.readouterr().err
