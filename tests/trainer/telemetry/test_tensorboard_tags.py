"""TensorBoard's files of a run: quality first, a tag for each picture, hyper-parameters, configuration; one folder."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from trainer.checkpoints.run_folder import RunFolder
from trainer.telemetry.config import TelemetryConfig
from trainer.telemetry.reporter import Telemetry
from trainer.telemetry.tensorboard_tags import tag
from trainer.telemetry.timers import Stopwatch


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("validation/psnr_bicubic", "1-quality/psnr_bicubic"),
        ("validation/psnr_band2", "6-bands/psnr_band2"),
        ("validation/lpips_squeeze_custom", "1-quality/lpips_squeeze_custom"),
        ("validation/niqe_bicubic", "1-quality/niqe_bicubic"),
        ("validation/musiq", "1-quality/musiq"),
        ("validation/colour_drift", "5-health/colour_drift"),
        ("training/loss_pixel", "2-losses/loss_pixel"),
        ("training/loss_ms_ssim", "2-losses/loss_ms_ssim"),
        ("training/loss_mine", "2-losses/loss_mine"),
        ("discriminator/loss", "2-losses/discriminator_loss"),
        ("discriminator/loss_scale", "5-health/discriminator_loss_scale"),
        ("discriminator/D(G(x))_prob", "3-game/D_G_x_prob"),
        ("discriminator/D(y)_prob", "3-game/D_y_prob"),
        ("generator/learning_rate", "4-rates/generator_learning_rate"),
        ("ema/decay", "4-rates/decay"),
        ("training/grad_norm", "5-health/generator_grad_norm"),
        ("speed/eta_seconds", "7-speed/eta_seconds"),
    ],
)
def test_tags_sort_by_interest(name: str, wanted: str) -> None:
    assert tag(name) == wanted


def test_what_a_run_writes(accelerator: Accelerator, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_text("name: x\n")
    compared = {"optimizer.learning_rate": 1e-3, "optimizer.betas": "[0.5, 0.9]"}
    stopwatch = Stopwatch(accelerator.device)
    telemetry = Telemetry(accelerator, folder, TelemetryConfig(), stopwatch, 4, 10, hyper_parameters=compared)
    telemetry.begin(0)
    for step in (1, 2):
        strip = torch.zeros(3, 4, 6, dtype=torch.uint8)
        telemetry.note({"training/loss": 20.0 + step}, {"validation/samples": strip}, {"a.png": strip, "b.png": strip})
        telemetry.publish(step)
    telemetry.end()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    assert [path.is_file() for path in (tmp_path / "tensorboard").iterdir()] == [True], "no folder of another run"
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["images"] == ["samples/a.png", "samples/b.png"]
    assert [(image.step, image.width) for image in events.Images("samples/a.png")] == [(1, 6), (2, 6)]
    assert [scalar.value for scalar in events.Scalars("2-losses/loss")] == [21.0, 22.0]
    (text,) = events.Tensors("configuration/text_summary")
    assert b"name: x" in text.tensor_proto.string_val[0]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = parse_session_start_info_plugin_data(content).hparams
    assert found["optimizer.learning_rate"].number_value == 1e-3
    assert found["optimizer.betas"].string_value == "[0.5, 0.9]"
