"""Translation of opensr-srgan's configurations: resulting values, and a message for every dropped option."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.command import execute
from trainer.config.loader import dump_tree, load_config, read_tree, validated
from trainer.config.schema import RunConfig
from trainer.foreign_options.opensr import translate
from trainer.images.pairs import PairFolders
from trainer.images.radiometry import Radiometry
from trainer.import_options import main
from trainer.losses import LossesConfig, LPIPSLoss, PerceptualLoss, PixelLoss, SpectralAngle, TotalVariation
from trainer.losses.adversarial import AdversarialLoss, R1Penalty
from trainer.mistakes import Mistake
from trainer.networks import (
    PatchDiscriminatorConfig,
    ShuffleRRDBNetConfig,
    SRGANDiscriminatorConfig,
    SRResNetConfig,
    StochasticSRResNetConfig,
    VGGStyleDiscriminatorConfig,
)
from trainer.optim.ema import EMAConfig
from trainer.optim.learner import OptimizerConfig
from trainer.optim.lr_plateau import Plateau
from trainer.run import parse

OPTIONS = Path(__file__).parent / "opensr_options.yaml"
Change = Callable[[dict[str, Any]], object]
ALWAYS = {
    "Data",
    "Data.val_batch_size",
    "Data.prefetch_factor",
    "Training.find_unused_parameters",
    "Training.max_epochs",
    "Training.val_check_interval",
    "Training.limit_val_batches",
    "Training.g_pretrain_steps",
    "Training.adv_loss_ramp_steps",
    "Training.EMA.use_num_updates",
    "Training.EMA.device",
    "Training.Losses.max_val",
    "Training.Losses.ssim_win",
    "Generator.model_type",
    "Generator.block_type",
    "Generator.large_kernel_size",
    "Generator.small_kernel_size",
    "Discriminator.n_blocks",
    "Discriminator.use_spectral_norm",
    "Discriminator.linear_size",
    "Schedulers.metric_g",
    "Schedulers.verbose",
}
"""Keys of the fixture without a counterpart, or with another meaning here."""


def imported(*changes: Change) -> tuple[RunConfig, set[str]]:
    """The translated configuration, and the keys that messages name."""
    tree = read_tree(OPTIONS)
    for change in changes:
        change(tree)
    ours, notes = translate(tree, "config_10m")
    assert all(": " in note for note in notes)
    return validated(RunConfig, ours, "the translation"), {note.split(":")[0] for note in notes}


def test_every_key_is_taken_over_or_named() -> None:
    config, named = imported()
    assert named == ALWAYS
    assert (config.name, config.seed, config.scale) == ("config_10m", 11, 4)
    assert (config.batch.global_size, config.batch.per_device, config.queue_size) == (12, 6, 0)
    levels = Radiometry(bands=(1, 2, 3, 4), white=10000)
    assert config.images.pairs == PairFolders(gt="tiles/train/HR", lq="tiles/train/LR", radiometry=levels)
    assert (config.images.use_hflip, config.images.use_rot, config.images.dataloader_num_workers) == (False, False, 3)
    assert config.generator == ShuffleRRDBNetConfig(n_channels=48, n_blocks=12, growth_channels=24, use_icnr=False)
    layers = {"layer_weights": {"relu4_3": 1.0}, "criterion": "mse", "use_input_norm": False, "fixed_idx": (2, 1, 0)}
    assert config.losses == LossesConfig(
        pixel=PixelLoss(weight=0.9),
        perceptual=PerceptualLoss(weight=0.2, **layers),  # type: ignore[arg-type]
        sam=SpectralAngle(weight=0.06),
        tv=TotalVariation(weight=0.03),
    )
    rates = {"betas": (0.1, 0.98), "eps": 1e-6, "max_grad_norm": 0.7}
    assert config.optimizer == OptimizerConfig(learning_rate=3e-5, weight_decay=0.01, **rates)  # type: ignore[arg-type]
    plateau = {"threshold": 2e-3, "cooldown": 4, "min_lr": 2e-7}
    warm = {"lr_warmup_steps": 250, "lr_warmup_type": "cosine"}
    assert config.lr_scheduler == Plateau(metric="training/loss", patience=12, factor=0.4, **plateau, **warm)  # type: ignore[arg-type]
    assert config.ema == EMAConfig(decay=0.998, update_after_step=7, warmup_power=0.75)
    assert (config.telemetry.report_to, config.telemetry.tracker_options) == ("tensorboard", {})
    telemetry = imported(lambda tree: tree["Logging"]["wandb"].update(enabled=True))[0].telemetry
    wandb = {"wandb": {"project": "mine", "entity": "me"}}
    assert (telemetry.report_to, telemetry.tracker_options) == ("wandb", wandb)


def test_the_game_is_taken_over() -> None:
    config, _ = imported()
    game = config.adversarial
    assert game is not None
    assert game.discriminator == VGGStyleDiscriminatorConfig(num_feat=32)
    assert game.loss == AdversarialLoss(weight=2e-3, label_smoothing=0.1, discriminator_weight=0.5)
    assert (game.pretrain_g_only, game.g_pretrain_steps, game.pretrain_objective) == (True, 5000, "l1")
    assert (game.adv_loss_ramp_steps, game.adv_loss_schedule) == (500, "linear")
    assert game.r1 == R1Penalty(gamma=3.0, interval=1)
    assert (game.optimizer.learning_rate, game.optimizer.weight_decay) == (4e-5, 0.02)
    plateau = Plateau(metric="discriminator/loss", patience=13, factor=0.3, threshold=2e-3, cooldown=4, min_lr=2e-7)
    assert game.lr_scheduler == plateau


def test_validation_is_on_the_other_half_of_the_folder() -> None:
    config, _ = imported()
    validation = config.validation
    assert validation is not None
    assert isinstance(validation.source, PairFolders)
    assert (validation.source.gt, validation.source.lq) == ("tiles/val/HR", "tiles/val/LR")
    assert (validation.num_samples, validation.composites) == (6, {"bands": (2, 1, 0)})
    assert imported(lambda tree: tree["Training"].update(val_check_interval=250))[0].validation.validation_steps == 250  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("training", "processes"),
    [({"gpus": 3}, 3), ({"gpus": [0, 1, 2, 3]}, 4), ({"gpus": None}, 1), ({"device": "cpu"}, 1), ({"gpus": 0}, 1)],
)
def test_the_batch_is_that_of_all_its_processes(training: dict[str, Any], processes: int) -> None:
    batch = imported(put("Training", **training))[0].batch
    assert (batch.global_size, batch.per_device) == (6 * processes, 6)


def put(section: str, **values: Any) -> Change:
    """A change to the fixture: values set in a section; None removes a key."""

    def change(tree: dict[str, Any]) -> None:
        place = tree
        for name in section.split("."):
            place = place[name]
        place |= values
        for key in [key for key, value in place.items() if value is None]:
            del place[key]

    return change


@pytest.mark.parametrize(
    ("changes", "wanted", "names"),
    [
        ({"model_type": "SRResNet", "block_type": "rcab"}, SRResNetConfig(block_type="rcab"), set()),
        ({"model_type": "sr-resnet", "block_type": "standard"}, SRResNetConfig(), {"Generator.block_type"}),
        ({"model_type": "lka", "block_type": None}, SRResNetConfig(block_type="lka"), set()),
        ({"model_type": "cgan", "res_scale": 0.1}, StochasticSRResNetConfig(res_scale=0.1), {"Generator.block_type"}),
    ],
)
def test_generators(changes: dict[str, Any], wanted: Any, names: set[str]) -> None:
    sizes = {"n_channels": None, "n_blocks": None, "use_icnr": None, "growth_channels": None}
    config, named = imported(put("Generator", **sizes, **changes))
    assert config.generator == wanted
    assert {name for name in named if name.startswith("Generator")} - {"Generator.res_scale"} == names


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model_type": "standard"}, SRGANDiscriminatorConfig()),
        (
            {"model_type": "standard", "n_blocks": 6, "use_spectral_norm": None},
            SRGANDiscriminatorConfig(n_blocks=6, use_spectral_norm=True),
        ),
        ({"model_type": "patchgan", "n_blocks": None}, PatchDiscriminatorConfig()),
        ({"model_type": "patchgan", "n_blocks": 4}, PatchDiscriminatorConfig(n_blocks=4)),
    ],
)
def test_discriminators(changes: dict[str, Any], wanted: Any) -> None:
    game = imported(put("Discriminator", **changes))[0].adversarial
    assert game is not None
    assert game.discriminator == wanted


def test_defaults_are_those_of_opensr_srgan() -> None:
    def bare(tree: dict[str, Any]) -> None:
        tree["Data"] = {"dataset_type": "SEN2NAIP"}
        tree["Training"] = {"Losses": {"adv_loss_beta": 0.5}}
        for name in ("Generator", "Discriminator", "Optimizers", "Schedulers", "Logging"):
            tree[name] = {}
        del tree["TruncatedVGG"]

    config, named = imported(bare)
    assert {"Data.dataset_type", "Data.normalization", "Training.Losses.fixed_idx", "Schedulers.metric_d"} <= named
    assert config.images.pairs.gt == "datasets/SEN2NAIP/train/HR"  # type: ignore[union-attr]
    assert config.images.radiometry == Radiometry(bands=(1, 2, 3, 4), white=0.3)
    assert config.batch.global_size == config.batch.per_device == 8
    assert config.generator == SRResNetConfig()
    assert config.losses.sam == SpectralAngle()
    assert (config.losses.tv, config.losses.pixel.weight) == (None, 1.0)
    assert config.losses.perceptual == PerceptualLoss(
        weight=0.1, layer_weights={"relu5_4": 1.0}, criterion="mse", use_input_norm=False, fixed_idx=(0, 1, 2)
    )
    assert (config.ema, config.optimizer.max_grad_norm) == (EMAConfig(decay=0.0), None)
    assert (config.optimizer.learning_rate, config.optimizer.betas, config.optimizer.eps) == (1e-4, (0.0, 0.99), 1e-7)
    game = config.adversarial
    assert game is not None
    assert (game.pretrain_g_only, game.adv_loss_ramp_steps, game.adv_loss_schedule) == (False, 20_000, "cosine")
    assert (game.loss.label_smoothing, game.r1) == (0.0, None)
    assert game.optimizer.learning_rate == 5e-5, "half of the generator's: two time scales"
    assert config.lr_scheduler == Plateau(metric="training/loss", patience=5)
    assert game.lr_scheduler == Plateau(metric="discriminator/loss", patience=5)


def test_what_the_discriminators_schedule_does_not_say_the_generators_does() -> None:
    game = imported(put("Schedulers", patience_d=None, factor_d=None))[0].adversarial
    assert game is not None
    assert isinstance(game.lr_scheduler, Plateau)
    assert (game.lr_scheduler.patience, game.lr_scheduler.factor) == (12, 0.4)


@pytest.mark.parametrize(
    ("section", "values", "key"),
    [
        ("Data", {"normalization": "normalise_10k_signed"}, "Data.normalization"),
        ("Data", {"normalization": {"name": "custom"}}, "Data.normalization"),
        ("Data", {"sen2naip_taco_file": "x.taco"}, "Data.sen2naip_taco_file"),
        ("Data", {"dataset_type": "S2_6b"}, "Data.dataset_type"),
        ("Model", {"load_checkpoint": "g.ckpt"}, "Model.load_checkpoint"),
        ("Model", {"continue_training": "run.ckpt"}, "Model.continue_training"),
        ("Training.Losses", {"adv_loss_type": "lsgan"}, "Training.Losses.adv_loss_type"),
        ("Training.Losses", {"randomize_bands": True}, "Training.Losses.randomize_bands"),
        ("Schedulers", {"metric_g": "val_metrics/psnr"}, "Schedulers.metric_g"),
        ("Generator", {"out_channels": 3}, "Generator.out_channels"),
        ("Generator", {"res_scale": 0.1}, "Generator.res_scale"),
        ("Optimizers", {"my_own": 1}, "Optimizers.my_own"),
    ],
)
def test_what_has_no_counterpart_is_named(section: str, values: dict[str, Any], key: str) -> None:
    assert key in imported(put(section, **values))[1]


def test_other_games_and_losses() -> None:
    config, _ = imported(
        put("Training.Losses", adv_loss_type="wasserstein", perceptual_metric="lpips", r1_gamma=0, tv_weight=0),
        put("Training", pretrain_g_only=False),
        put("Optimizers", gradient_clip_val=0),
        put("Schedulers", g_warmup_type="none", metric_g="val_metrics/psnr"),
    )
    game = config.adversarial
    assert game is not None
    assert game.loss == AdversarialLoss(type="wgan", weight=2e-3)
    assert (game.g_pretrain_steps, game.r1, config.losses.tv, config.optimizer.max_grad_norm) == (0, None, None, None)
    assert config.losses.perceptual == LPIPSLoss(weight=0.2, fixed_idx=(2, 1, 0))
    assert isinstance(config.lr_scheduler, Plateau)
    assert (config.lr_scheduler.metric, config.lr_scheduler.mode) == ("validation/psnr", "max")
    assert config.lr_scheduler.lr_warmup_steps == 0
    relative = imported(put("Training.Losses", relativistic_average_d=True))[0].adversarial
    assert relative is not None
    assert (relative.loss.relativistic, relative.loss.discriminator_weight) == (True, 2.0)


@pytest.mark.parametrize(("bands", "seen"), [(1, None), (2, (0, 1, 0)), (3, None), (6, (2, 1, 0))])
def test_any_number_of_bands(bands: int, seen: tuple[int, ...] | None) -> None:
    config, named = imported(put("Model", in_bands=bands))
    assert config.images.bands == bands
    assert config.losses.perceptual is not None
    assert config.losses.perceptual.fixed_idx == seen
    assert (config.losses.sam is None) == (bands == 1) == ("Training.Losses.sam_weight" in named)
    assert config.validation is not None
    assert config.validation.composites == (seen and {"bands": seen})


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("Model", {"in_bands": None}, "Model.in_bands: must be given, as opensr-srgan needs it too"),
        ("Training.Losses", {"adv_loss_beta": None}, "Training.Losses.adv_loss_beta: must be given"),
        ("Generator", {"model_type": "swin"}, "Generator.model_type: got swin; wanted one of srresnet, "),
        ("Generator", {"model_type": "srresnet", "block_type": "dense"}, "Generator.block_type: got dense; wanted one"),
        (
            "Discriminator",
            {"model_type": "unet"},
            "Discriminator.model_type: got unet; wanted one of standard",
        ),
        ("Optimizers", {"optim_g_lr": "fast"}, "Optimizers.optim_g_lr: got 'fast'; must be a number"),
        ("Data", {"train_batch_size": 2.5}, "Data.train_batch_size: got 2.5; must be a whole number"),
    ],
)
def test_what_is_no_training_of_opensr_srgan_is_a_mistake(section: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Mistake, match=f"^{sentence}"):
        imported(put(section, **values))


def test_the_command_translates_it_and_names_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(OPTIONS), "--out", str(tmp_path / "mine.yaml")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert {line.split(": ")[1] for line in told} == ALWAYS
    assert all(line.startswith("opensr_options.yaml: ") for line in told)
    text = (tmp_path / "mine.yaml").read_text()
    assert "There is no validation" not in text
    assert replace(load_config(RunConfig, tmp_path / "mine.yaml"), name="config_10m") == imported()[0]
    with pytest.raises(Mistake) as caught:
        execute(
            parse([str(tmp_path / "mine.yaml"), f"output_dir={tmp_path}", "losses.perceptual=null", "--check", "2"])
        )
    wrong = re.findall(r"^\s*([\w.]+): folder '([\w/]+)' does not exist", str(caught.value), re.MULTILINE)
    assert wrong == [("images.pairs.gt", "tiles/train/HR"), ("validation.source.gt", "tiles/val/HR")]


@pytest.mark.parametrize("name", ["opensr_options.yaml", "realesrgan_options.yml"])
def test_the_trainer_sends_another_programs_file_to_the_importer(name: str) -> None:
    path = OPTIONS.with_name(name)
    program = "opensr-srgan" if name.startswith("opensr") else "Real-ESRGAN"
    with pytest.raises(Mistake) as caught:
        load_config(RunConfig, path, ["seed=3"])
    assert str(caught.value) == (
        f"{path} is a configuration of {program}: `python -m trainer.import_options {path} --out mine.yaml` makes one "
        "of this program from it."
    )


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("Data", {"root_dir": ["a", "b"]}, "Data.root_dir: got ['a', 'b']; must be one name or path."),
        (
            "Training",
            {"Losses": {"adv_loss_beta": 1, "fixed_idx": 3}},
            "Training.Losses.fixed_idx: got 3; must be a list",
        ),
        ("Optimizers", {"betas": [2, 0.9]}, "  Optimizers.betas (here optimizer.betas): betas must be in [0, 1)"),
    ],
)
def test_mistakes_name_the_keys_of_the_file_that_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str, values: dict[str, Any], sentence: str
) -> None:
    tree = read_tree(OPTIONS)
    tree[section] |= values
    (tmp_path / "x.yaml").write_text(dump_tree(tree))
    assert main([str(tmp_path / "x.yaml")]) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_that_is_neithers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text(dump_tree({"name": "x", "scale": 4}))
    assert main([str(tmp_path / "x.yaml")]) == 2
    said = "has neither the sections of Real-ESRGAN's options nor those of opensr-srgan's."
    assert capsys.readouterr().err == f"error: {tmp_path / 'x.yaml'} {said}\n"
