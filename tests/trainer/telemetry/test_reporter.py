"""Reports of a run: means over steps, one line per step, and no line of a step that was taken back."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from trainer.checkpoints.run_folder import RunFolder
from trainer.telemetry.config import TelemetryConfig
from trainer.telemetry.report_line import report_line
from trainer.telemetry.reporter import Telemetry
from trainer.telemetry.timers import Stopwatch


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def telemetry(accelerator: Accelerator, folder: RunFolder) -> Telemetry:
    config = TelemetryConfig(report_steps=2, report_to="none")
    return Telemetry(accelerator, folder, config, Stopwatch(accelerator.device), global_size=4, last=10)


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(text) for text in folder.metrics.read_text().splitlines()]


def written(folder: RunFolder, *texts: str) -> None:
    folder.metrics.write_text("".join(texts))


def steps(folder: RunFolder) -> list[int]:
    return [record["step"] for record in lines(folder)]


GOOD = [json.dumps({"step": step, "training/loss_pixel": 0.1}) + "\n" for step in range(1, 6)]


def test_a_gradient_norm_is_the_mean_over_the_steps_that_were_taken(telemetry: Telemetry) -> None:
    for norm in (1.0, math.inf, 3.0, math.nan):
        telemetry.add({"training/grad_norm": torch.tensor(norm), "discriminator/grad_norm": torch.tensor(math.inf)})
    telemetry.report(4, {})
    assert telemetry.noted["training/grad_norm"] == 2.0
    assert math.isnan(telemetry.noted["discriminator/grad_norm"])
    telemetry.add({"training/grad_norm": torch.tensor(5.0)})
    telemetry.report(5, {})
    assert telemetry.noted["training/grad_norm"] == 5.0


def test_a_report_is_the_mean_since_the_last(telemetry: Telemetry, folder: RunFolder) -> None:
    telemetry.begin(0)
    for step, loss in enumerate([1.0, 3.0, 5.0, 6.0], start=1):
        telemetry.add({"training/loss_pixel": torch.tensor(loss)})
        if step % 2 == 0:
            telemetry.report(step, {"generator/learning_rate": 1e-3})
        telemetry.publish(step)
    found = lines(folder)
    assert [record["step"] for record in found] == [2, 4]
    assert [record["training/loss_pixel"] for record in found] == [2.0, 5.5]
    assert all(record["generator/learning_rate"] == 1e-3 for record in found)
    for name in ("speed/images_per_second", "speed/peak_memory_gib", "speed/eta_seconds"):
        assert found[0][name] > 0


def test_everything_of_a_step_is_one_line(telemetry: Telemetry, folder: RunFolder) -> None:
    telemetry.begin(0)
    telemetry.add({"training/loss_pixel": torch.tensor(1.0)})
    telemetry.report(1, {})
    telemetry.note({f"validation/{name}": 30.0 for name in ("psnr", "psnr_bicubic", "ssim", "ssim_bicubic")})
    telemetry.publish(1)
    (record,) = lines(folder)
    assert record["validation/psnr"] == 30.0
    assert record["training/loss_pixel"] == 1.0


def test_a_loss_that_is_no_number_still_makes_a_line_of_json(telemetry: Telemetry, folder: RunFolder) -> None:
    telemetry.begin(0)
    telemetry.note({"training/loss_pixel": math.nan})
    telemetry.publish(1)
    assert "NaN" not in folder.metrics.read_text()
    assert steps(folder) == [1]


def test_a_resumed_run_takes_back_and_goes_on(telemetry: Telemetry, folder: RunFolder) -> None:
    written(folder, *GOOD, '{"step": 6, "tr')
    telemetry.begin(2)
    telemetry.note({"training/loss_pixel": 0.5})
    telemetry.publish(3)
    assert steps(folder) == [1, 2, 3]


def test_a_tracker_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"report_to: got 'tensorbord'; allowed: none, .*tensorboard"):
        TelemetryConfig(report_to="tensorbord")


def test_a_line_reads_at_a_glance() -> None:
    values = {
        "training/loss_pixel": 0.123456, "speed/images_per_second": 12.34, "speed/degradation_share": 0.5,
        "speed/data_wait_share": 0.02, "speed/peak_memory_gib": 1.5, "speed/eta_seconds": 3661.0,
    }  # fmt: skip
    shares = "50 % for degradation, 2 % waiting for data"
    said = report_line(5, 10, values)
    assert said == f"step 5/10 | loss_pixel 0.1235 | 12.3 images/s | {shares} | 1.50 GiB | 1:01:01 to go"
    assert "/s | 50 % for degradation, 2 % waiting for data | 18 % of peak | 1.50 GiB" in report_line(
        5, 10, values | {"speed/tflops": 180.0, "speed/mfu": 0.182}
    )
    judged = {
        "lpips": 0.25,
        "lpips_bicubic": 0.5,
        "niqe": 4.5,
        "displacement": 3.0,
        "displacement_x": 1.0,
        "musiq": 60.0,
    }
    said = report_line(5, 10, {f"validation/{name}": value for name, value in judged.items()})
    assert said == (
        "step 5/10 | validation LPIPS 0.2500 (bicubic 0.5), NIQE 4.500, displacement 3.0/100 px, musiq 60.0000"
    )


def test_what_a_step_costs_is_a_share_of_the_training_and_the_rest_takes_validations_too(telemetry: Telemetry) -> None:
    watch = telemetry.stopwatch
    for step, validated in ((2, 0.0), (4, 40.0)):
        telemetry.add({})
        telemetry.add({})
        watch.since -= 20 + validated  # as if so many seconds had passed
        watch.costs.update(degradation=5.0, pool=1.0, validation=validated, counting=0.0)
        telemetry.report(step, {})
    figures = telemetry.noted
    names = ("speed/degradation_share", "speed/pool_share", "speed/data_wait_share", "speed/images_per_second")
    assert [figures[name] for name in names] == pytest.approx([0.25, 0.05, 0.0, 0.4], rel=0.01)
    assert figures["speed/eta_seconds"] == pytest.approx(6 * (10 + 40 / 4), rel=0.01)


def test_throughput_is_asked_of_the_steps_since_the_last_report(accelerator: Accelerator, folder: RunFolder) -> None:
    asked = []

    def throughput(steps: range, seconds: float) -> dict[str, float]:
        asked.append((steps, seconds))
        return {"speed/tflops": 2.0}

    watch = Stopwatch(accelerator.device)
    telemetry = Telemetry(accelerator, folder, TelemetryConfig(report_to="none"), watch, 4, 10, throughput=throughput)
    for step in range(1, 6):
        telemetry.add({})
        if step in (2, 5):
            watch.since -= 12.0
            telemetry.report(step, {})
    assert [steps for steps, _ in asked] == [range(2), range(2, 5)]
    assert [seconds for _, seconds in asked] == pytest.approx([6.0, 4.0], rel=0.01)
    assert telemetry.noted["speed/tflops"] == 2.0


def test_a_run_of_many_days_says_so() -> None:
    values = {
        "speed/images_per_second": 1.0, "speed/degradation_share": 0.0, "speed/data_wait_share": 0.0,
        "speed/peak_memory_gib": 1.0, "speed/eta_seconds": 3 * 86400 + 3661.0,
    }  # fmt: skip
    assert report_line(1, 2, values).endswith("| 3 days, 1:01:01 to go")


def test_a_mean_is_over_the_steps_that_had_the_figure(telemetry: Telemetry, folder: RunFolder) -> None:
    """Not every step trains every network: a loss of every second step would be halved."""
    telemetry.begin(0)
    telemetry.add({"training/pretrain_phase": torch.tensor(1.0)})
    telemetry.add({"training/pretrain_phase": torch.tensor(0.0), "training/loss_pixel": torch.tensor(3.0)})
    telemetry.report(2, {})
    telemetry.publish(2)
    (record,) = lines(folder)
    assert (record["training/pretrain_phase"], record["training/loss_pixel"]) == (0.5, 3.0)


WON = {"discriminator/D(y)_prob": 1.0, "discriminator/D(G(x))_prob": 0.0}


def test_a_warning_is_said_and_recorded(
    telemetry: Telemetry, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.begin(0)
    for step in range(1, 9):
        telemetry.note(WON)
        telemetry.publish(step)
    said = [text for text in capsys.readouterr().out.splitlines() if text.startswith("warning: ")]
    assert len(said) == 1
    assert said[0].startswith("warning: at step 5 the discriminator is winning: D(y) 1.00, D(G(x)) 0.00")
    recorded = {record["step"]: record["warnings"] for record in lines(folder) if "warnings" in record}
    assert recorded.keys() == {5}
    assert said[0] == f"warning: at step 5 {recorded[5][0]}"


def test_a_resumed_run_knows_what_was_told(
    telemetry: Telemetry, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    written(folder, *(json.dumps({"step": step, **WON}) + "\n" for step in range(1, 8)))
    telemetry.begin(4)  # the fifth report, at which it was told, is taken back
    for step in range(5, 9):
        telemetry.note(WON)
        telemetry.publish(step)
    assert capsys.readouterr().out.count("warning: at step 5 ") == 1
    again = Telemetry(
        telemetry.accelerator, folder, telemetry.config, Stopwatch(telemetry.accelerator.device), global_size=4, last=10
    )
    again.begin(8)
    again.note(WON)
    again.publish(9)
    assert "warning" not in capsys.readouterr().out


def test_a_report_that_a_full_disk_refused_is_written_at_the_end(telemetry: Telemetry, folder: RunFolder) -> None:
    telemetry.begin(0)
    folder.metrics.mkdir()  # no file can be opened here
    telemetry.note(WON)
    telemetry.publish(1)
    assert "metrics.jsonl could not be written" in telemetry.disk.problem
    folder.metrics.rmdir()
    telemetry.end()
    assert steps(folder) == [1]


@pytest.mark.usefixtures("fresh_accelerate")
def test_tensorboard_gets_the_warning_as_text(folder: RunFolder) -> None:
    accelerator = Accelerator(cpu=True)
    config = TelemetryConfig(report_to="tensorboard")
    stopwatch = Stopwatch(accelerator.device)
    telemetry = Telemetry(accelerator, folder, config, stopwatch, global_size=4, last=10)
    telemetry.begin(0)
    for step in range(1, 6):
        telemetry.note(WON)
        telemetry.publish(step)
    telemetry.end()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    (event,) = events.Tensors("health/warning/text_summary")
    assert event.step == 5
    assert event.tensor_proto.string_val[0].startswith(b"the discriminator is winning")


def test_a_line_says_how_the_game_stands() -> None:
    values = {"discriminator/D(y)_prob": 0.723, "discriminator/D(G(x))_prob": 0.281, "discriminator/paused": 0.25}
    assert report_line(5, 10, values) == "step 5/10 | D(y) 0.72, D(G(x)) 0.28, D paused 25 %"
    assert report_line(5, 10, {**values, "discriminator/paused": 0.0}).endswith("| D(y) 0.72, D(G(x)) 0.28")
    assert report_line(5, 10, {"generator/loss_scale": 65536.0}) == "step 5/10"  # no loss
    assert report_line(5, 10, {"validation/colour_drift": 0.02}) == "step 5/10 | colours off by 5.1/255"


@pytest.mark.parametrize(
    ("psnr", "weight", "below"), [(20.0, 0.0, True), (27.0, 0.0, False), (24.0, 0.1, False), (20.0, 0.1, True)]
)
def test_a_run_that_ends_below_bicubic_says_so_once(
    telemetry: Telemetry, capsys: pytest.CaptureFixture[str], psnr: float, weight: float, below: bool
) -> None:
    """In a game PSNR is traded for detail, so there less than 3 dB is no verdict."""
    values = {"validation/psnr": psnr, "validation/psnr_bicubic": 26.5, "validation/colour_drift": 0.02}
    for step in (9, 10):
        telemetry.note({**values, "training/adv_loss_weight": weight})
        telemetry.publish(step)
    said = capsys.readouterr().out
    assert said.count("not reached yet") == (2 if below else 0)
    assert said.count("colours off") == (0 if below else 2)
    assert said.count("at step 10 the results are 6.50 dB below bicubic upsampling") == below
