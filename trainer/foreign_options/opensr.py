"""Translation of opensr-srgan's configurations, after its training guide and its sources (0.3 to 0.5).

A message names every option that is not translated, or that means something else here, with the reason.
"""

from typing import Any

from trainer.foreign_options.opensr_networks import discriminator, generator
from trainer.foreign_options.tree import Options, Tree
from trainer.mistakes import Mistake

STEPS, VALIDATION = 200_000, 1000
"""Optimizer steps of a run and between validations, where a file counts in epochs."""
LOSSES = "Training.Losses"

WHITES = {
    **dict.fromkeys(("normalise_10k", "normalise_10k_signed", "reflectance", "s2", "sentinel2"), 10_000.0),
    **dict.fromkeys(("sen2_stretch", "normalise_s2"), 0.3),
    **dict.fromkeys(("zero_one", "zero_one_signed", "identity"), 1.0),
}
"""White levels by `normalization`: the value in a file that becomes 1; 0 becomes 0."""
ADVERSARIAL_LOSSES = {"bce": "vanilla", "wasserstein": "wgan"}
METRICS = {
    "val_metrics/psnr": ("validation/psnr", "max"),
    "val_metrics/ssim": ("validation/ssim", "max"),
    "val_metrics/sam": ("validation/sam", "min"),
    "train_metrics/l1": ("training/loss_pixel", "min"),
    "generator/content_loss": ("training/loss", "min"),
    "generator/total_loss": ("training/loss", "min"),
    "discriminator/adversarial_loss": ("discriminator/loss", "min"),
}
"""Metrics of plateau schedules by opensr-srgan's names: our name, and `min` where lower is better, else `max`."""

REASONS = {
    "Data.val_batch_size": "pictures are validated one by one",
    "Data.prefetch_factor": "pictures are always decoded ahead",
    "Data.sen2naip_taco_file": "taco files are not read; images.pairs takes folders of GeoTIFF",
    "Data.sen2naip_val_fraction": "what is validated on is a source of its own",
    "Data.sen2naip_phase": "what is validated on is a source of its own",
    "Model.continue_training": "the same command resumes a run, from the newest complete checkpoint of its folder",
    "Model.load_checkpoint": "its networks have other layers, so their weights do not fit",
    "Training.find_unused_parameters": "each network has gradients for all that it has",
    "Training.limit_val_batches": "all pictures are validated on",
    "Training.EMA.device": "it has no effect there either",
    f"{LOSSES}.max_val": "pictures are measured in [0, 1]",
    f"{LOSSES}.ssim_win": "SSIM's window is always of 11 pixels",
    f"{LOSSES}.randomize_bands": "it has no effect there either",
    "Schedulers.verbose": "rates are always reported",
}
"""Reasons for keys, or whole sections, without a counterpart."""


def translate(tree: Tree, name: str) -> tuple[Tree, list[str]]:
    """Our configuration as a tree, for a run called `name`, and a message for each option that is not the same in it.

    Raises Mistake where a section has what opensr-srgan itself could not use.
    """
    options = Options(tree, "opensr-srgan", REASONS)
    for path in ("Model.load_checkpoint", "Model.continue_training"):
        if options.get(path) in (False, ""):
            continue  # it is not set
        options.read.discard(path)
    bands = options.integer("Model.in_bands")
    scale = options.integer("Generator.scaling_factor", 4)
    gt_size = 256 if scale == 8 else 128
    options.note("Data", f"there tiles are trained on whole; here it is gt_size, {gt_size} pixels, cut from each")
    images, validation = _data(options, bands)
    adversarial = _adversarial(options)
    ours: Tree = {
        "name": name,
        **({"output_dir": folder} if (folder := options.text("Logging.output_dir")) else {}),
        "seed": options.integer("Training.seed", 0),
        "scale": scale,
        "max_train_steps": _steps(options, adversarial),
        "high_order_degradation": False,
        "images": images,
        "gt_size": gt_size,
        "batch": _batch(options),
        "queue_size": 0,
        "generator": generator(options, bands),
        "losses": _losses(options, bands),
        "optimizer": _optimizer(options, "g", 1e-4),
        "lr_scheduler": _schedule(options, "g", "training/loss"),
        "ema": _ema(options),
    }
    ours["adversarial"] = {
        "discriminator": discriminator(options),
        **adversarial,
        "optimizer": _optimizer(options, "d", max(0.5 * ours["optimizer"]["learning_rate"], 1e-6)),
        "lr_scheduler": _schedule(options, "d", "discriminator/loss"),
    }
    return ours | {"validation": validation, "telemetry": _reports(options)}, options.messages()


def _data(options: Options, bands: int) -> tuple[Tree, Tree]:
    """The `images` section, of training pairs, and the `validation` section."""
    kind = options.needed_text("Data.dataset_type")
    root = options.text("Data.root_dir", options.text("Data.dataset_root"))
    if kind != "LRHRFolderDataset" or root is None:
        root = root or f"datasets/{kind}"
        options.note("Data.dataset_type", f"got {kind}; it is read as pairs of GeoTIFF in {root}/train/HR and LR")
    radiometry = {"bands": list(range(1, bands + 1)), "black": 0.0, "white": _white(options)}
    train, val = (
        {"type": "pairs", "gt": f"{root}/{part}/HR", "lq": f"{root}/{part}/LR", "radiometry": dict(radiometry)}
        for part in ("train", "val")
    )
    images = {
        "pairs": train,
        "use_hflip": False,  # it augments nothing
        "use_rot": False,
        "dataloader_num_workers": options.integer("Data.num_workers", 4),
    }
    seen = {} if bands in (1, 3) else {"composites": {"bands": _three(options, bands)}}
    shown = {"num_samples": options.integer("Logging.num_val_images", 5)}
    return images, {"source": val, "validation_steps": _interval(options), **seen, **shown}


def _white(options: Options) -> float:
    """White level: the value in a file that becomes 1."""
    path = "Data.normalization"
    kind = options.get(path, "sen2_stretch")
    if not isinstance(kind, str) or kind.lower() not in WHITES:
        options.note(path, f"got {kind}; that of normalise_10k is taken")
        return WHITES["normalise_10k"]
    if kind.lower() in ("sen2_stretch", "normalise_s2"):
        options.note(path, f"got {kind}, for reflectance in [0, 1]; where files hold it x 10000, white is 3000")
    if kind.lower().endswith("_signed") or kind.lower() == "normalise_s2":
        options.note(path, f"got {kind}; here networks see [0, 1] and not [-1, 1]")
    return WHITES[kind.lower()]


def _three(options: Options, bands: int) -> list[int]:
    """The bands shown as red, green and blue, where there are other than one or three."""
    if bands == 2:
        return [0, 1, 0]
    chosen = options.get(f"{LOSSES}.fixed_idx", [0, 1, 2])
    if not isinstance(chosen, list):
        raise Mistake(f"{LOSSES}.fixed_idx: got {chosen!r}; must be a list of three bands.")
    return chosen


def _interval(options: Options) -> int:
    """Steps between validations: a whole number counts batches, a fraction is of an epoch."""
    path = "Training.val_check_interval"
    value: Any = options.get(path, 1.0)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return options.integer(path)
    options.note(path, f"got {value}, of an epoch; here steps are counted, and {VALIDATION} are taken")
    return VALIDATION


def _steps(options: Options, adversarial: Tree) -> int:
    path = "Training.max_epochs"
    steps: int = max(STEPS, 2 * (max(0, adversarial["g_pretrain_steps"]) + adversarial["adv_loss_ramp_steps"]))
    options.note(path, f"got {options.get(path)}; here steps are counted, and max_train_steps {steps} is taken")
    return steps


def _batch(options: Options) -> Tree:
    """The batch of each process, and of all GPUs together."""
    each = options.integer("Data.train_batch_size", options.integer("Data.batch_size", 8))
    gpus: Any = options.get("Training.gpus", 1)
    count = len(gpus) if isinstance(gpus, list) else options.integer("Training.gpus", 1)
    if options.get("Training.device", "auto") == "cpu" or count < 1:
        count = 1
    return {"global_size": each * count, "per_device": each}


def _losses(options: Options, bands: int) -> Tree:
    losses: Tree = {"pixel": {"type": "l1", "weight": options.number(f"{LOSSES}.l1_weight", 1.0)}}
    weight = options.number(f"{LOSSES}.perceptual_weight", options.number("Training.perceptual_loss_weight", 0.1))
    metric = options.among(f"{LOSSES}.perceptual_metric", {"vgg": "vgg", "lpips": "lpips"}, "vgg")
    given = options.get(f"{LOSSES}.fixed_idx")
    if weight:
        losses["perceptual"] = {"type": metric, "weight": weight}
        if bands not in (1, 3):
            losses["perceptual"]["fixed_idx"] = _three(options, bands)
            if bands > 3 and given is None:
                options.note(f"{LOSSES}.fixed_idx", "not given, so there three bands are drawn; [0, 1, 2] is taken")
        if metric == "vgg":
            block, conv = options.integer("TruncatedVGG.i", 5), options.integer("TruncatedVGG.j", 4)
            layer = {"layer_weights": {f"relu{block}_{conv}": 1.0}}
            losses["perceptual"] |= {**layer, "criterion": "mse", "use_input_norm": False}
    if sam := options.number(f"{LOSSES}.sam_weight", 0.05):
        if bands > 1:
            losses["sam"] = {"weight": sam}
        else:
            options.note(f"{LOSSES}.sam_weight", "one band has no spectrum")
    if tv := options.number(f"{LOSSES}.tv_weight", 0.0):
        losses["tv"] = {"weight": tv}
    return losses


def _adversarial(options: Options) -> Tree:
    """Keys of the `adversarial` section: pretraining, ramp, adversarial loss and R1 penalty."""
    begins = options.integer("Training.g_pretrain_steps", 0) if options.get("Training.pretrain_g_only", False) else 0
    if not begins:
        options.skip("Training.g_pretrain_steps")
    else:
        options.note("Training.g_pretrain_steps", "pretrain_objective is l1, the guide's; its 0.3 and 0.5 have content")
    ramp = max(0, options.integer("Training.adv_loss_ramp_steps", 20_000))
    if ramp:
        options.note(
            "Training.adv_loss_ramp_steps", "steps are the generator's; there both networks' steps are counted"
        )
    kind = options.among(f"{LOSSES}.adv_loss_type", ADVERSARIAL_LOSSES, "bce")
    relative = bool(options.get(f"{LOSSES}.relativistic_average_d", False)) and kind == "vanilla"
    loss = {
        "type": kind,
        "weight": options.number(f"{LOSSES}.adv_loss_beta"),
        "relativistic": relative,
        "label_smoothing": 0.1 if options.get("Training.label_smoothing", False) and kind == "vanilla" else 0.0,
        "discriminator_weight": 1.0 if kind == "wgan" else 2.0 if relative else 0.5,
    }
    gamma = options.number(f"{LOSSES}.r1_gamma", 0.0)
    return {
        "loss": loss,
        **({"r1": {"gamma": gamma, "interval": 1}} if gamma else {}),
        "pretrain_g_only": begins != 0,
        "g_pretrain_steps": begins,
        "pretrain_objective": "l1",
        "adv_loss_ramp_steps": ramp,
        "adv_loss_schedule": options.get(f"{LOSSES}.adv_loss_schedule", "cosine"),
    }


def _optimizer(options: Options, network: str, rate: float) -> Tree:
    clip = options.number("Optimizers.gradient_clip_val", options.number("Schedulers.gradient_clip_val", 0.0))
    return {
        "type": "adam",
        "learning_rate": options.number(f"Optimizers.optim_{network}_lr", rate),
        "betas": options.get("Optimizers.betas", [0.0, 0.99]),
        "eps": options.number("Optimizers.eps", 1e-7),
        "weight_decay": options.number(f"Optimizers.weight_decay_{network}", 0.0),
        "max_grad_norm": clip or None,
    }


def _schedule(options: Options, network: str, own: str) -> Tree:
    """Plateau schedule of one network, `g` or `d`, which watches its loss `own` by default.

    Options that are not given for the discriminator are the generator's.
    """
    path = "Schedulers"
    patience, factor = options.integer(f"{path}.patience_g", 5), options.number(f"{path}.factor_g", 0.5)
    watched = options.get(f"{path}.metric_{network}", options.get(f"{path}.metric"))
    metric, mode = METRICS.get(str(watched), (own, "min"))
    if str(watched) not in METRICS:
        options.note(f"{path}.metric_{network}", f"got {watched}, which is not reported here; {own} is taken")
    elif mode == "max":
        options.note(f"{path}.metric_{network}", f"got {watched}, of which more is better: there it is taken for worse")
    schedule = {
        "type": "plateau",
        "metric": metric,
        "mode": mode,
        "patience": options.integer(f"{path}.patience_{network}", patience),
        "factor": options.number(f"{path}.factor_{network}", factor),
        "threshold": options.number(f"{path}.threshold", 1e-3),
        "cooldown": options.integer(f"{path}.cooldown", 0),
        "min_lr": options.number(f"{path}.min_lr", 1e-7),
    }
    warmup, kind = options.integer(f"{path}.g_warmup_steps", 0), options.get(f"{path}.g_warmup_type", "none")
    if network == "d" or warmup < 1 or kind == "none":
        return schedule
    return schedule | {"lr_warmup_steps": warmup, "lr_warmup_type": kind}


def _ema(options: Options) -> Tree:
    path = "Training.EMA"
    if not options.get(f"{path}.enabled", False):
        options.skip(path)
        return {"decay": 0.0}
    if rising := options.get(f"{path}.use_num_updates", True):
        options.note(f"{path}.use_num_updates", "warmup_power 0.75 is taken, which rises much alike")
    return {
        "decay": options.number(f"{path}.decay", 0.999),
        "update_after_step": options.integer(f"{path}.update_after_step", 0),
        "warmup_power": 0.75 if rising else 0.0,
    }


def _reports(options: Options) -> Tree:
    wandb = "Logging.wandb"
    if not options.get(f"{wandb}.enabled", False):
        options.skip(wandb)
        return {"report_steps": 50, "report_to": "tensorboard"}
    settings = {key: options.text(f"{wandb}.{key}") for key in ("project", "entity")}
    chosen = {"wandb": {key: value for key, value in settings.items() if value}}
    return {"report_steps": 50, "report_to": "wandb", "tracker_options": chosen}
