"""Translation of losses in option files of Real-ESRGAN, traiNNer-redux and neosr."""

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.foreign_options.test_import_options import EVERY_FILE, imported, options
from trainer.config.loader import dump_tree
from trainer.config.metric_names import training_metric_names
from trainer.foreign_options.realesrgan import translate
from trainer.import_options import main
from trainer.losses import (
    LDL,
    ColourConsistency,
    ContextualLoss,
    DISTSLoss,
    FocalFrequency,
    GradientLoss,
    LossesConfig,
    LumaConsistency,
    MultiScaleSSIM,
    PerceptualLoss,
    PixelLoss,
    TotalVariation,
)

REDUX: list[dict[str, Any]] = [
    {"type": "mssimloss", "loss_weight": 0.5},
    {"type": "perceptualloss", "criterion": "l1", "loss_weight": 0.01},
    {"type": "hsluvloss", "criterion": "charbonnier", "loss_weight": 0.9, "downscale_factor": 2},
    {"type": "ganloss", "gan_type": "vanilla", "loss_weight": 0.05},
    {"type": "distsloss", "loss_weight": 0},
    {"type": "ldlloss", "loss_weight": 1.5},
    {"type": "ffloss", "loss_weight": 0.2, "alpha": 0.5, "ave_spectrum": False},
    {"type": "cosimloss", "loss_weight": 1.0},
    {"type": "l1loss", "loss_weight": 0.7},
]
"""As in traiNNer-redux's templates, with some switched on."""


def with_list(tree: dict[str, Any], losses: list[dict[str, Any]]) -> None:
    for key in ("pixel_opt", "perceptual_opt", "gan_opt"):
        del tree["train"][key]
    tree["train"]["losses"] = losses


def test_a_list_of_losses() -> None:
    config, named = imported(options(lambda tree: with_list(tree, REDUX)))
    assert config.losses == LossesConfig(
        pixel=PixelLoss(weight=0.7), perceptual=PerceptualLoss(weight=0.01),
        ms_ssim=MultiScaleSSIM(weight=0.5, scales=3), ldl=LDL(weight=1.5),
        focal_frequency=FocalFrequency(weight=0.2, alpha=0.5),
        colour=ColourConsistency(weight=0.6, downscale=2), luma=LumaConsistency(weight=0.3, downscale=2),
    )  # fmt: skip
    assert config.adversarial is not None
    assert (config.adversarial.loss.type, config.adversarial.loss.weight) == ("vanilla", 0.05)
    named_here = {
        "train.losses.0",
        "train.losses.2",
        "train.losses.5",
        "train.losses.7",
    }  # 5: its target is sharpened here
    assert {*named} - {*EVERY_FILE} == named_here
    assert "training/loss_ldl" in training_metric_names(config.losses, config.adversarial, digest=False)


@pytest.mark.parametrize("gt_size", [10, 22, 256])
def test_ms_ssim_gets_the_scales_that_fit(gt_size: int) -> None:
    ours, _ = translate(
        options(lambda tree: tree.update(gt_size=gt_size) or with_list(tree, [REDUX[0], REDUX[3]])), gpus=1
    )
    assert ours["losses"].get("ms_ssim") == {10: None, 22: {"weight": 0.5, "scales": 2}, 256: {"weight": 0.5}}[gt_size]


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
        ("ldl_opt", {"type": "L1Loss", "loss_weight": 2.0, "reduction": "mean"}, LDL(weight=2.0)),
        ("ldl_opt", {"type": "ldl_loss"}, LDL()),
        ("mssim_opt", {"type": "mssim_loss"}, MultiScaleSSIM(scales=3)),
        ("ff_opt", {"type": "ff_loss", "ave_spectrum": False, "patch_factor": 2}, FocalFrequency(patch_factor=2)),
        ("contextual_opt", {"type": "ContextualLoss", "z_norm": True, "band_width": 1}, ContextualLoss(bandwidth=1)),
        ("sobel_opt", {"type": "SobelEdgeLoss"}, GradientLoss(type="sobel")),
        ("color_opt", {"type": "colorloss", "scale": 8}, ColourConsistency(downscale=8)),
        ("luma_opt", {"type": "LumaLoss", "criterion": "l1"}, LumaConsistency()),
        ("tv_opt", {"type": "WeightedTVLoss", "loss_weight": 1e-4}, TotalVariation(weight=1e-4)),
    ],
)  # fmt: skip
def test_a_section_of_one_loss(key: str, theirs: dict[str, Any], ours: Any) -> None:
    config, named = imported(options(lambda tree: tree["train"].update({key: theirs})))
    assert ours in [getattr(config.losses, name) for name in LossesConfig.__dataclass_fields__]
    assert not [name for name in named if name.startswith(f"train.{key}.")]
    assert config.losses.pixel == PixelLoss()


def test_consistency_is_colour_and_luma() -> None:
    consistency = {"type": "consistency_loss", "loss_weight": 0.5, "brightness": 0.9}
    config, named = imported(options(lambda tree: tree["train"].update(consistency_opt=consistency)))
    assert config.losses.colour == ColourConsistency(weight=0.5, downscale=1)
    assert config.losses.luma == LumaConsistency(weight=0.5, downscale=4)
    assert {"train.consistency_opt", "train.consistency_opt.brightness"} <= {*named}


def test_of_two_losses_of_one_kind_the_first_counts() -> None:
    config, named = imported(options(lambda tree: tree["train"].update(dists_opt={"type": "dists_loss"})))
    assert isinstance(config.losses.perceptual, PerceptualLoss)
    assert "train.dists_opt" in named
    config, _ = imported(options(lambda tree: with_list(tree, [{"type": "distsloss", "loss_weight": 0.3}, REDUX[3]])))
    assert config.losses.perceptual == DISTSLoss(weight=0.3)
    assert config.losses.pixel == PixelLoss(weight=0.0)


@pytest.mark.parametrize("place", ["ff_opt", "losses.1"])
def test_a_wrong_value_is_named_by_the_options(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {"type": "ffloss", "alpha": -1, "ave_spectrum": False}
    tree = options(lambda tree: with_list(tree, [REDUX[3], wrong][: 1 + place.startswith("losses")]))
    tree["train"] |= {} if place.startswith("losses") else {place: wrong}
    (tmp_path / "options.yml").write_text(dump_tree(tree))
    assert main([str(tmp_path / "options.yml")]) == 2
    told = capsys.readouterr().err
    assert f"train.{place}.alpha (here losses.focal_frequency.alpha): alpha: got -1.0; must be at least 0" in told


def test_style_alone_is_kept() -> None:
    style = {"perceptual_weight": 0, "style_weight": 2.0}
    config, _ = imported(options(lambda tree: tree["train"]["perceptual_opt"].update(style)))
    assert config.losses.perceptual is not None
    assert config.losses.perceptual.terms == {"style": 2.0}
