"""Translation of Real-ESRGAN's option files: resulting values, and a message for every dropped option."""

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trainer.building.accelerator import make_accelerator
from trainer.command import execute
from trainer.config.loader import dump_tree, load_config, read_tree, validated
from trainer.config.schema import RunConfig
from trainer.dry_run import dry_run
from trainer.foreign_options.realesrgan import translate
from trainer.images.pairs import PairFolders
from trainer.images.sources import Folder
from trainer.images.validation import LowQuality
from trainer.import_options import main
from trainer.lifecycle.assemble import assemble
from trainer.losses import PerceptualLoss
from trainer.mistakes import Mistake
from trainer.networks import RRDBNetConfig, SRVGGNetCompactConfig, UNetDiscriminatorSNConfig
from trainer.optim.lr_plateau import Constant, Cosine, MultiStep
from trainer.run import parse
from trainer.validation.config import ValidationConfig

OPTIONS = Path(__file__).parent / "realesrgan_options.yml"
ROOT = Path(__file__).parents[3]
EVERY_FILE = [  # of upstream's, that the fixture has and we do not
    "datasets.train.name",
    "datasets.train.gt_size",
    "datasets.train.use_shuffle",
    "datasets.train.dataset_enlarge_ratio",
    "path.param_key_g",
    "path.strict_load_g",
    "dist_params",
]


def unchanged(_: dict[str, Any]) -> None:
    """No change to the fixture."""


def options(change: Callable[[dict[str, Any]], object] = unchanged) -> dict[str, Any]:
    tree = read_tree(OPTIONS)
    change(tree)
    return tree


def imported(tree: dict[str, Any]) -> tuple[RunConfig, list[str]]:
    """The translated configuration, and the keys that messages name."""
    ours, notes = translate(tree, gpus=4)
    assert all(": " in note for note in notes)
    return validated(RunConfig, ours, "the translation"), [note.split(":")[0] for note in notes]


def as_realesrnet(tree: dict[str, Any]) -> None:
    tree["model_type"], tree["gt_usm"] = "RealESRNetModel", True
    for key in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "network_d"):
        del tree[key]
    for key in ("optim_d", "perceptual_opt", "gan_opt", "net_d_iters", "net_d_init_iters"):
        del tree["train"][key]


def as_x2(tree: dict[str, Any]) -> None:
    tree["scale"] = tree["network_g"]["scale"] = 2
    tree["num_gpu"] = "auto"


def as_finetuning(tree: dict[str, Any]) -> None:
    tree["path"] |= {"pretrain_network_d": "d.pth", "param_key_d": "params", "strict_load_d": True}


def as_pairs(tree: dict[str, Any]) -> None:
    as_finetuning(tree)
    tree["high_order_degradation"] = False
    kept = ("name", "l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "scale")
    for key in [
        key for key in tree if key.endswith(("_prob", "_prob2", "_range", "_range2", "_size")) and key not in kept
    ]:
        del tree[key]
    train = tree["datasets"]["train"]
    for key in [key for key in train if key.startswith(("blur", "kernel", "sinc", "beta", "final"))]:
        del train[key]
    train |= {"type": "RealESRGANPairedDataset", "dataroot_lq": "poor"}


def test_realesrgan_x4() -> None:
    config, named = imported(options())
    assert named == EVERY_FILE
    assert (config.name, config.seed, config.scale, config.max_train_steps) == ("gan", 7, 4, 4000)
    assert (config.batch.global_size, config.batch.per_device, config.queue_size) == (24, 12, 360)
    assert (config.gt_size, config.images.crop_size, config.images.dataloader_num_workers) == (64, 400, 5)
    assert config.images.source == Folder(path="photographs", list="photographs.txt")
    assert (config.gt_usm, config.degrade_gt_usm) == (False, True)
    assert (config.l1_gt_usm, config.percep_gt_usm, config.gan_gt_usm) == (True, True, False)
    assert config.degradation.second_blur_prob == 0.75
    assert config.degradation.kernel_list2 == ("iso", "aniso")
    assert config.degradation.blur_kernel_size2 == 15
    assert config.generator == RRDBNetConfig()
    assert isinstance(config.losses.perceptual, PerceptualLoss)
    assert config.losses.perceptual.layer_weights == {"conv1_2": 0.1, "conv5_4": 1}
    game = config.adversarial
    assert game is not None
    assert game.discriminator == UNetDiscriminatorSNConfig()
    assert (game.loss.type, game.loss.weight, game.optimizer.learning_rate) == ("vanilla", 0.1, 2e-4)
    assert config.optimizer.learning_rate == 1e-4
    assert config.lr_scheduler == game.lr_scheduler == Constant()
    assert config.ema.decay == 0.999
    assert config.init.generator == "g.pth"
    assert (config.checkpoints.checkpointing_steps, config.telemetry.report_steps) == (5000, 100)
    assert config.validation is None


def test_realesrnet_x2_on_any_number_of_gpus() -> None:
    config, named = imported(options(lambda tree: (as_realesrnet(tree), as_x2(tree))))
    assert named == ["num_gpu", *EVERY_FILE]
    assert (config.scale, config.batch.global_size, config.queue_size) == (2, 48, 720)
    assert (config.gt_usm, config.degrade_gt_usm, config.adversarial, config.losses.perceptual) == (
        True,
        False,
        None,
        None,
    )


def test_fine_tuning_starts_from_both_networks() -> None:
    config, named = imported(options(as_finetuning))
    assert (config.init.generator, config.init.discriminator) == ("g.pth", "d.pth")
    assert {"path.param_key_d", "path.strict_load_d"} <= {*named}


def test_given_pairs() -> None:
    config, named = imported(options(as_pairs))
    assert not config.high_order_degradation
    assert config.images.source is None
    assert config.images.pairs is not None
    assert config.images.pairs == PairFolders(gt="photographs", lq="poor", list="photographs.txt")
    assert (config.queue_size, config.degrade_gt_usm, config.gt_size) == (0, False, 64)
    assert "datasets.train.gt_size" not in named


def test_a_compact_generator_with_its_activation() -> None:
    def change(tree: dict[str, Any]) -> None:
        sizes = {"num_feat": 48, "num_conv": 20, "upscale": 4, "act_type": "leakyrelu"}
        tree["network_g"] = {"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, **sizes}

    config, named = imported(options(change))
    assert config.generator == SRVGGNetCompactConfig(init="torch", num_feat=48, num_conv=20, act_type="leakyrelu")
    assert named == EVERY_FILE


def test_validation_is_taken_over() -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["datasets"]["val"] = {"name": "v", "type": "PairedImageDataset", "dataroot_gt": "a", "dataroot_lq": "b"}
        psnr = {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": False}
        tree["val"] = {"val_freq": 5e2, "save_img": True, "metrics": {"psnr": psnr, "niqe": {"type": "calculate_niqe"}}}

    config, named = imported(options(change))
    assert config.validation is not None
    assert config.validation.source == PairFolders(gt="a", lq="b")
    assert config.validation.save_images
    assert (config.validation.validation_steps, config.validation.crop_border) == (500, 4)
    assert config.validation.channel == "rgb"
    assert config.validation.best_by() == "psnr"
    assert [metric.type for metric in config.validation.chosen] == ["psnr", "ssim", "niqe"]
    assert {*named} - {*EVERY_FILE} == {"datasets.val.name", "val.metrics.niqe"}, "its border is that of PSNR"


def test_schedules() -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["train"] |= {"scheduler": {"type": "MultiStepLR", "milestones": [1e3, 4000], "gamma": 0.1}}
        tree["train"]["warmup_iter"] = 200

    config, _ = imported(options(change))
    assert config.lr_scheduler == MultiStep(milestones=(1000,), gamma=0.1, lr_warmup_steps=200)
    assert config.adversarial is not None
    assert config.adversarial.lr_scheduler == config.lr_scheduler


@pytest.mark.parametrize(
    ("scheduler", "named_too"),
    [
        ({"type": "CosineAnnealingRestartLR", "periods": [4e3], "restart_weights": [1], "eta_min": 1e-6}, False),
        ({"type": "TrueCosineAnnealingLR", "T_max": 4000, "eta_min": 1e-6}, False),
        ({"type": "CosineAnnealingRestartLR", "periods": [1000, 3000], "eta_min": 1e-6}, True),
    ],
)
def test_half_a_cosine_over_the_run(scheduler: dict[str, Any], named_too: bool) -> None:
    config, named = imported(options(lambda tree: tree["train"].update(scheduler=scheduler)))
    assert config.adversarial is not None
    assert config.lr_scheduler == Cosine(min_factor=1e-2)
    assert config.adversarial.lr_scheduler == Cosine(min_factor=5e-3), "of its own rate, which is twice as high"
    assert ({*named} - {*EVERY_FILE} == {"train.scheduler.type"}) == named_too


def test_partners_by_a_template_and_basicsrs_names_of_keys() -> None:
    def change(tree: dict[str, Any]) -> None:
        as_pairs(tree)
        train = tree["datasets"]["train"]
        train |= {"filename_tmpl": "{}x4", "meta_info": None, "meta_info_file": "m.txt", "use_flip": False}
        del train["use_hflip"]
        tree["path"]["pretrain_model_g"] = tree["path"].pop("pretrain_network_g")
        tree["path"]["experiments_root"] = "runs"

    config, named = imported(options(change))
    assert config.images.pairs == PairFolders(gt="photographs", lq="poor", list="m.txt", lq_name="{}x4")
    assert (config.images.use_hflip, config.init.generator, config.output_dir) == (False, "g.pth", "runs")
    assert "filename_tmpl" not in str(named)


def validating(dataset: dict[str, Any], name: str = "val", **val: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        tree["datasets"][name] = {"type": "SingleImageDataset", "io_backend": {"type": "disk"}, **dataset}
        tree["val"] = {"val_freq": 500, "save_img": True, **val}

    return change


def test_low_quality_pictures_alone_are_validated_on() -> None:
    config, named = imported(options(validating({"dataroot_lq": "b", "meta_info_file": "m.txt"}, "val_1")))
    assert config.validation == ValidationConfig(
        source=LowQuality(path="b", list="m.txt"), validation_steps=500, save_images=True
    )
    assert named == EVERY_FILE
    psnr = {"psnr": {"type": "calculate_psnr", "crop_border": 4}}
    config, named = imported(options(validating({"dataroot_lq": "b"}, metrics=psnr)))
    assert "val.metrics" in named
    assert config.validation == ValidationConfig(source=LowQuality(path="b"), validation_steps=500, save_images=True)


def test_pictures_without_truth_are_measured_by_niqe_where_it_is_asked_for() -> None:
    niqe = {"type": "calculate_niqe", "crop_border": 4}
    config, named = imported(options(validating({"dataroot_lq": "b"}, metrics={"niqe": niqe})))
    assert named == EVERY_FILE
    assert config.validation is not None
    assert (config.validation.crop_border, config.validation.best_by()) == (4, "niqe")
    both = {"p": {"type": "calculate_psnr", "crop_border": 4}, "niqe": niqe}
    config, named = imported(options(validating({"dataroot_lq": "b"}, metrics=both)))
    assert {*named} - {*EVERY_FILE} == {"val.metrics"}
    assert config.validation is not None
    assert config.validation.best_by() == "niqe"


def test_perceptual_metrics_of_other_forks_are_taken_over_and_unknown_ones_named() -> None:
    pairs = {"dataroot_gt": "a", "dataroot_lq": "b"}
    kinds = {"psnr": "calculate_psnr", "lp": "calculate_lpips", "d": "calculate_dists", "t": "calculate_topiq"}
    metrics = {name: {"type": kind, "crop_border": 4, "better": "lower"} for name, kind in kinds.items()}
    config, named = imported(options(validating(pairs, metrics=metrics)))
    assert {*named} - {*EVERY_FILE} == {"val.metrics.t"}
    assert config.validation is not None
    assert list(config.validation.figures) == ["psnr", "ssim", "lpips", "dists", "colour_drift"]


def test_how_is_measured_is_told_by_metrics_of_any_name() -> None:
    pairs = {"dataroot_gt": "a", "dataroot_lq": "b", "filename_tmpl": "{}x4"}
    how = {"crop_border": 3, "test_y_channel": True}
    ssim = {"type": "calculate_ssim", **how}
    config, named = imported(options(validating(pairs, metrics={"s": ssim})))
    assert named == EVERY_FILE
    assert config.validation is not None
    assert config.validation.source == PairFolders(gt="a", lq="b", lq_name="{}x4")
    assert (config.validation.crop_border, config.validation.channel) == (3, "y")
    metrics = {"s": ssim, "p": {"type": "calculate_psnr", "crop_border": 5, "better": "higher"}}
    config, named = imported(options(validating(pairs, metrics=metrics)))
    assert {*named} - {*EVERY_FILE} == {"val.metrics.s"}
    assert (config.validation.crop_border, config.validation.channel) == (5, "rgb")  # type: ignore[union-attr]


def test_other_sets_to_validate_on_are_named_and_settings_without_one_too() -> None:
    def twice(tree: dict[str, Any]) -> None:
        validating({"dataroot_lq": "b"})(tree)
        tree["datasets"]["val_2"] = {"type": "SingleImageDataset", "dataroot_lq": "c"}

    config, named = imported(options(twice))
    assert {*named} - {*EVERY_FILE} == {"datasets.val_2"}
    assert config.validation.source == LowQuality(path="b")  # type: ignore[union-attr]
    config, named = imported(options(lambda tree: tree.update(val={"val_freq": 10, "save_img": True})))
    assert {*named} - {*EVERY_FILE} == {"val"}
    assert config.validation is None


def test_losses_that_upstream_has_in_either_model() -> None:
    def change(tree: dict[str, Any]) -> None:
        perceptual = tree["train"]["perceptual_opt"]
        as_realesrnet(tree)
        tree["train"] |= {"perceptual_opt": perceptual}
        del tree["train"]["pixel_opt"]

    config, named = imported(options(change))
    assert isinstance(config.losses.perceptual, PerceptualLoss)
    assert config.losses.pixel.weight == 0, "upstream has none without pixel_opt"
    assert named == EVERY_FILE


@pytest.mark.parametrize(
    ("logger", "trackers"),
    [
        ({}, ["tensorboard"]),
        ({"use_tb_logger": False}, []),
        ({"wandb": {"project": "mine"}}, ["tensorboard", "wandb"]),
        ({"wandb": {"project": "mine"}, "use_tb_logger": False}, ["wandb"]),
    ],
)
def test_trackers(logger: dict[str, Any], trackers: list[str]) -> None:
    config, named = imported(options(lambda tree: tree["logger"].update(logger)))
    assert (config.telemetry.trackers, named) == (trackers, EVERY_FILE)
    assert config.telemetry.tracker_options == ({"wandb": {"project": "mine"}} if "wandb" in logger else {})


def test_eps_of_each_optimizer() -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["train"]["optim_g"]["eps"], tree["train"]["optim_d"]["eps"] = 1e-6, 1e-5

    config, named = imported(options(change))
    assert config.adversarial is not None
    assert (config.optimizer.eps, config.adversarial.optimizer.eps, named) == (1e-6, 1e-5, EVERY_FILE)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"type": "AdamW"}, {"type": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}),
        ({"type": "adam", "amsgrad": True}, {"type": "adam", "betas": [0.9, 0.999], "arguments": {"amsgrad": True}}),
        ({"type": "NADAM", "betas": [0.9, 0.99]}, {"type": "NAdam", "betas": [0.9, 0.99]}),
        ({"type": "Adam", "foreach": True}, {"type": "adam", "arguments": {}}),
        ({"type": "Sophia", "rho": 0.04}, {"type": "adam", "arguments": {}}),
        ({"type": "Adagrad"}, {"type": "Adagrad", "eps": 1e-10}),
        ({"type": "Prodigy"}, {"type": "pytorch_optimizer.Prodigy", "betas": [0.9, 0.999]}),
        ({"type": "SGD", "momentum": 0.9}, {"type": "SGD", "arguments": {"momentum": 0.9}}),
        (
            {"type": "Adan", "betas": [0.98, 0.92, 0.99]},
            {"type": "pytorch_optimizer.Adan", "arguments": {"betas": [0.98, 0.92, 0.99]}},
        ),
        (
            {"type": "AdamWScheduleFree", "warmup_steps": 100},
            {"type": "schedulefree.AdamWScheduleFree", "arguments": {"warmup_steps": 100}},
        ),
    ],
    ids=lambda tree: str(tree["type"]),
)
def test_optimizers_of_torch_and_of_other_packages(given: dict[str, Any], ours: dict[str, Any]) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["train"]["optim_g"] = {"lr": 1e-3, **given}

    config, _ = imported(options(change))
    found = asdict(config.optimizer)
    wanted = {**found, **ours, "learning_rate": 1e-3}
    assert {**found, "betas": list(found["betas"])} == {**wanted, "betas": list(wanted["betas"])}
    assert not config.optimizer.type.startswith("schedulefree") or isinstance(config.lr_scheduler, Constant)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda tree: tree["train"]["optim_g"].update(type="Sophia"), "train.optim_g.type"),
        (lambda tree: tree["train"]["optim_g"].update(weight_decay=0.1), "train.optim_g.weight_decay"),
        (lambda tree: tree["train"]["scheduler"].update(type="OneCycleLR"), "train.scheduler.type"),
        (lambda tree: tree["train"]["scheduler"].update(restarts=[1]), "train.scheduler.restarts"),
        (lambda tree: tree["train"]["pixel_opt"].update(type=["L1Loss"]), "train.pixel_opt.type"),
        (lambda tree: tree["datasets"]["train"].update(io_backend={"type": "lmdb"}), "datasets.train.io_backend"),
        (lambda tree: tree["datasets"]["train"].update(mean=[0.5, 0.5, 0.5]), "datasets.train.mean"),
        (
            lambda tree: tree.update(network_d={"type": "VGGStyleDiscriminator", "input_size": 128}, gt_size=256),
            "network_d.input_size",
        ),
        (lambda tree: tree["train"]["pixel_opt"].update(type="WeightedTVLoss"), "train.pixel_opt.type"),
        (lambda tree: tree["train"]["perceptual_opt"].update(vgg_type="vgg16"), "train.perceptual_opt.vgg_type"),
        (lambda tree: tree["train"]["gan_opt"].update(fake_label_val=0.1), "train.gan_opt.fake_label_val"),
        (lambda tree: tree["network_g"].update(num_in_ch=12), "network_g.num_in_ch"),
        (lambda tree: tree["network_g"].update(scale=2), "network_g.scale"),
        (lambda tree: tree["logger"]["wandb"].update(resume_id="abc"), "logger.wandb.resume_id"),
        (lambda tree: tree["train"].update(gw_opt={"type": "gw_loss"}), "train.gw_opt"),
        (lambda tree: tree.update(my_own_key=3), "my_own_key"),
    ],
)
def test_what_has_no_counterpart_is_named(change: Callable[[dict[str, Any]], object], key: str) -> None:
    assert key in imported(options(change))[1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tree: tree.update(model_type="SwinIRModel"), "model_type: got SwinIRModel; wanted RealESRNetModel or"),
        (lambda tree: tree.pop("model_type"), "model_type: must be given"),
        (lambda tree: tree["network_g"].update(type="EDSR"), "network_g.type: got EDSR; wanted RRDBNet or SRVGGNet"),
        (lambda tree: tree["network_d"].update(type="PatchGAN"), "network_d.type: got PatchGAN; wanted UNetDiscrim"),
        (lambda tree: tree["train"].update(total_iter="many"), "train.total_iter: got 'many'; must be a whole number"),
        (
            lambda tree: tree["train"].update(total_iter=float("inf")),
            "train.total_iter: got inf; must be a whole number",
        ),
        (
            lambda tree: tree["train"].update(total_iter=float("nan")),
            "train.total_iter: got nan; must be a whole number",
        ),
        (lambda tree: tree.update(num_gpu=-1), "num_gpu: got -1; must be at least 0, or auto"),
        (lambda tree: tree["train"]["scheduler"].update(milestones=5), "milestones: got 5; must be a list of steps"),
        (lambda tree: tree["train"]["gan_opt"].update(real_label_val="x"), "real_label_val: got 'x'; must be a number"),
    ],
)
def test_what_is_no_training_of_realesrgan_is_a_mistake(
    change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    with pytest.raises(Mistake, match=sentence):
        translate(options(change), gpus=4)


def test_no_is_false_as_its_own_reader_has_it() -> None:
    """YAML 1.1, which PyYAML reads, has `no` and `on` for false and true; as text, `no` would count for true."""
    with pytest.raises(Mistake, match=r"datasets\.train\.dataroot_lq: must be given"):
        imported(options(lambda tree: tree.update(high_order_degradation="no")))
    ours, _ = imported(options(lambda tree: tree.update(l1_gt_usm="On", percep_gt_usm="OFF")))
    assert (ours.l1_gt_usm, ours.percep_gt_usm) == (True, False)


def test_without_a_gpu_there_is_one_batch_as_upstream_has_it() -> None:
    one, none = (imported(options(lambda tree, count=count: tree.update(num_gpu=count)))[0] for count in (1, 0))
    assert one == none


def test_the_options_are_not_replaced_by_what_they_come_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "o.yml").write_bytes(OPTIONS.read_bytes())
    assert main([str(tmp_path / "o.yml"), "--out", str(tmp_path / "o.yml")]) == 2
    assert capsys.readouterr().err == f"error: --out: {tmp_path / 'o.yml'} is what is read; give another file.\n"
    assert (tmp_path / "o.yml").read_bytes() == OPTIONS.read_bytes()


SHIPPED = {
    "train_realesrnet_x4plus": (as_realesrnet,),
    "train_realesrnet_x2plus": (as_realesrnet, as_x2),
    "train_realesrgan_x4plus": (),
    "train_realesrgan_x2plus": (as_x2,),
    "finetune_realesrgan_x4plus": (as_finetuning,),
    "finetune_realesrgan_x4plus_pairdata": (as_pairs,),
}
"""Changes to the fixture that yield each of upstream's files."""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_comes_to_a_run_that_lacks_its_data_alone(tmp_path: Path, name: str) -> None:
    tree = options(lambda tree: [change(tree) for change in SHIPPED[name]])
    (tmp_path / f"{name}.yml").write_text(dump_tree(tree))
    mine = tmp_path / "mine.yaml"
    assert main([str(tmp_path / f"{name}.yml"), "--out", str(mine)]) == 0
    key = "images.pairs.gt" if name.endswith("pairdata") else "images.source.path"
    without_vgg = ["losses.perceptual=null", "percep_gt_usm=false"]  # which is on the hub
    with pytest.raises(Mistake) as caught:
        execute(parse([str(mine), f"output_dir={tmp_path}", *without_vgg, "--check", "2"]))
    assert f"{key}: folder 'photographs' does not exist" in str(caught.value)
    wrong = re.findall(r"^\s*([\w.]+): ", str(caught.value), re.MULTILINE)
    assert {*wrong} <= {key, "init.generator", "init.discriminator"}


def test_with_its_data_it_passes_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pairs with DIV2K's names, in one folder, by a list, as in upstream's file for pairs."""

    def change(tree: dict[str, Any]) -> None:
        as_pairs(tree)
        small(tree)
        tree["datasets"]["train"] |= {"dataroot_gt": "DIV2K", "dataroot_lq": "DIV2K", "meta_info": "meta_info.txt"}
        del tree["path"]["pretrain_network_d"]

    for folder, ending, side in (("HR", "", 64), ("LR", "x4", 16)):
        (tmp_path / "DIV2K" / folder).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (side, side)).save(tmp_path / "DIV2K" / folder / f"000{number}{ending}.png")
    (tmp_path / "meta_info.txt").write_text("HR/0001.png, LR/0001x4.png\nHR/0002.png, LR/0002x4.png\n")
    (tmp_path / "o.yml").write_text(dump_tree(options(change)))
    monkeypatch.chdir(tmp_path)
    assert main(["o.yml", "--out", "mine.yaml"]) == 0
    execute(parse(["mine.yaml", "--check", "1"]))
    assert capsys.readouterr().out.splitlines()[-1] == "outputs/gan"


def small(tree: dict[str, Any]) -> None:
    tree["network_g"] |= {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}
    tree["num_gpu"], tree["queue_size"] = 1, 4
    tree["datasets"]["train"] |= {"batch_size_per_gpu": 2, "num_worker_per_gpu": 0}
    tree["path"]["pretrain_network_g"] = None
    if "network_d" in tree:
        tree["network_d"]["num_feat"] = 8
        del tree["train"]["perceptual_opt"]  # its weights are on the hub
        tree["percep_gt_usm"] = False


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize("kind", [unchanged, as_realesrnet])
def test_the_printed_yaml_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Callable[[dict[str, Any]], object]
) -> None:
    (tmp_path / "options.yml").write_text(dump_tree(options(lambda tree: (kind(tree), small(tree)))))
    assert main([str(tmp_path / "options.yml")]) == 0
    (tmp_path / "ours.yaml").write_text(capsys.readouterr().out)
    source = "images.source={type: package, package: skimage, folder: data, files: [astronaut.png]}"
    config = load_config(
        RunConfig, tmp_path / "ours.yaml", [source, "images.crop_size=96", "gt_size=32", f"output_dir={tmp_path}"]
    )
    dry_run(assemble(config, make_accelerator(config)))
    assert "one step" in capsys.readouterr().out


def test_the_command_writes_a_file_and_names_keys_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(OPTIONS), "--out", str(tmp_path / "mine.yaml")]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(": ")[1] for line in told.err.splitlines()] == EVERY_FILE
    assert load_config(RunConfig, tmp_path / "mine.yaml").name == "gan"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.yml"], "absent.yml cannot be read"),
        ([str(OPTIONS), "--num-gpu", "0"], "--num-gpu: got 0; must be at least 1"),
        ([str(OPTIONS), "--out", "/nowhere/at/all.yaml"], "--out: /nowhere/at/all.yaml cannot be written"),
    ],
)
def test_mistakes_exit_with_2_and_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert sentence in told.err
    assert len(told.err.splitlines()) == 1


def wrong(tree: dict[str, Any]) -> None:
    tree["train"]["optim_g"]["betas"], tree["train"]["ema_decay"] = [2, 0.9], 7
    tree["datasets"]["train"] |= {"blur_kernel_size": "x", "batch_size_per_gpu": 0}
    tree["scale"] = 5


def test_mistakes_name_the_keys_of_the_file_that_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "options.yml").write_text(dump_tree(options(wrong)))
    assert main([str(tmp_path / "options.yml")]) == 2
    head, *lines = capsys.readouterr().err.splitlines()
    assert head == f"error: {tmp_path / 'options.yml'}: 5 things are wrong:"
    assert sorted(line.split(": ")[0].strip() for line in lines) == [
        "datasets.train.batch_size_per_gpu (here batch.global_size)",
        "datasets.train.blur_kernel_size (here degradation.blur_kernel_size)",
        "scale",
        "train.ema_decay (here ema.decay)",
        "train.optim_g.betas (here optimizer.betas)",
    ]


def test_several_paths_where_one_is_read_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("dataroot_gt", "meta_info"):
        changed = options(lambda tree, key=key: tree["datasets"]["train"].update({key: ["a", "b"]}))  # type: ignore[misc]
        (tmp_path / "options.yml").write_text(dump_tree(changed))
        assert main([str(tmp_path / "options.yml")]) == 2
        said = f"error: datasets.train.{key}: got ['a', 'b']; must be one name or path.\n"
        assert capsys.readouterr().err == said


def test_a_configuration_of_somebody_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same again is no loss; what a person has changed since would be."""
    mine = tmp_path / "mine.yaml"
    assert main([str(OPTIONS), "--out", str(mine)]) == main([str(OPTIONS), "--out", str(mine)]) == 0
    mine.write_text(changed := mine.read_text() + "# mine\n")
    capsys.readouterr()
    assert main([str(OPTIONS), "--out", str(mine)]) == 2
    assert capsys.readouterr().err == f"error: --out: {mine} is there already; give another name, or remove it.\n"
    assert mine.read_text() == changed
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_configuration_that_cannot_be_written_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(OSError), Path("/dev/full").open("w") as full, redirect_stdout(full):  # it cannot be closed either
        assert main([str(OPTIONS)]) == 2
    assert capsys.readouterr().err == "error: standard output cannot be written: No space left on device.\n"


def test_help_waits_for_nothing_heavy() -> None:
    program = "import sys; from trainer.import_options import parse; parse(['x']); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
