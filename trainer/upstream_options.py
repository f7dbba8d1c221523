"""Real-ESRGAN's option files in our words; `realesrgan/models`, `realesrgan/data` and BasicSR say what they mean.

Everything that is not translated is named, with the reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from degradations.second_order import SecondOrder
from trainer.mistakes import Mistake

Tree = dict[str, Any]

CROP = 400  # what RealESRGANDataset cuts from a picture, whatever the options say
DEGRADATION = tuple(f.name for f in fields(SecondOrder) if f.name != "type")
OPTIMIZERS = {"Adam": "adam", "AdamW": "adamw"}
PIXEL = {"L1Loss": "l1", "MSELoss": "mse", "CharbonnierLoss": "charbonnier"}
CRITERIA = {"l1": "l1", "l2": "mse", "fro": "frobenius"}

REASONS = {
    "dist_params": "`accelerate launch` joins the processes",
    "datasets.train.name": "it has no effect there either",
    "datasets.val.name": "it has no effect there either",
    "datasets.train.meta_info": "every picture below the folder is trained on, so put only those of the list there",
    "datasets.train.io_backend": "pictures are read from folders (or, by another `type`, from datasets and parquet)",
    "datasets.val.io_backend": "pictures are read from folders",
    "datasets.train.gt_size": "the networks see the gt_size at the top; what is cut from a picture is images.crop_size",
    "datasets.train.use_shuffle": "the order is always shuffled, by the seed",
    "datasets.train.dataset_enlarge_ratio": "there are no epochs whose ends would cost time",
    "datasets.train.prefetch_mode": "pictures are always decoded ahead",
    "datasets.train.num_prefetch_queue": "pictures are always decoded ahead",
    "datasets.train.pin_memory": "memory is pinned where there is a GPU",
    "datasets.train.persistent_workers": "workers always live as long as the run",
    "path.param_key_g": "params_ema is taken before params, where a file has both",
    "path.param_key_d": "params_ema is taken before params, where a file has both",
    "path.strict_load_g": "what fits is loaded, and the run says how much that was",
    "path.strict_load_d": "what fits is loaded, and the run says how much that was",
    "path.resume_state": "the same command resumes a run, from the newest complete checkpoint of its folder",
    "path.experiments_root": "output_dir is outputs",
    "val.save_img": "a sheet of samples is always saved",
    "val.metrics": "PSNR and SSIM are always measured; others are not",
    "logger.wandb": "report_to: wandb sends to a project named wildsr",
    "train.manual_seed": "seed is the key of every draw",
}
"""Why a key, or a section, has no counterpart."""


@dataclass(slots=True)
class Options:
    """A tree of options that remembers what was read of it, and what is to be said."""

    tree: Tree
    notes: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def get(self, path: str, default: Any = None) -> Any:
        """The option at a dotted path; `default` where it is absent or null."""
        self.read.add(path)
        place: Any = self.tree
        for key in path.split("."):
            place = place.get(key) if isinstance(place, dict) else None
        return default if place is None else place

    def need(self, path: str) -> Any:
        """The same; Mistake where it is absent."""
        value = self.get(path)
        if value is None:
            raise Mistake(f"{path}: must be given, as Real-ESRGAN needs it too.")
        return value

    def whole(self, path: str, default: int | None = None) -> int:
        """An option that counts: upstream writes `!!float 5e3` for 5000."""
        return _whole(path, self.need(path) if default is None else self.get(path, default))

    def among(self, path: str, known: dict[str, str], default: str) -> str:
        """Our word for one of upstream's; a note and ours for `default` where we have none."""
        value = self.get(path, default)
        if value not in known:
            self.note(path, f"got {value}; here there are {', '.join(known)}, and {default} is taken")
        return known.get(value, known[default])

    def expect(self, path: str, wanted: Any) -> None:
        """Say so where an option that can have one value here has another."""
        if (value := self.get(path, wanted)) != wanted:
            self.note(path, f"got {value}; here it is always {wanted}")

    def note(self, path: str, reason: str) -> None:
        """Remember to say something of an option."""
        self.notes.append(f"{path}: {reason}")

    def unread(self) -> Iterator[str]:
        """Dotted paths of what has a value and was never asked for, as high in the tree as the reason is one."""
        said = set()
        for path in self._leaves(self.tree, ""):
            parts = path.split(".")
            above = [".".join(parts[: n + 1]) for n in range(len(parts))]
            if self.read.isdisjoint(above):
                name = next((part for part in above if part in REASONS), path)
                if name not in said:
                    said.add(name)
                    yield name

    def _leaves(self, tree: Any, path: str) -> Iterator[str]:
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield from self._leaves(value, f"{path}.{key}" if path else str(key))
        elif tree is not None:
            yield path


def _whole(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise Mistake(f"{path}: got {value!r}; must be a whole number.")
    return int(value)


def translate(tree: Tree, gpus: int) -> tuple[Tree, list[str]]:
    """Our configuration as a tree, and a sentence for each option that has no counterpart in it.

    `gpus` is how many a file with `num_gpu: auto` ran on: its batch and its queue are for each of them. Raises Mistake
    where the options are not those of a Real-ESRGAN training.
    """
    options = Options(tree)
    model = options.need("model_type")
    if model not in ("RealESRNetModel", "RealESRGANModel"):
        raise Mistake(f"model_type: got {model}; wanted RealESRNetModel or RealESRGANModel.")
    adversarial = model == "RealESRGANModel"
    degraded = bool(options.get("high_order_degradation", True))
    ours = {**_run(options), **_images(options, degraded), **_sharpening(options, adversarial, degraded)}
    ours |= _batch(options, degraded, gpus)
    if degraded:
        ours["degradation"] = _degradation(options)
    ours |= {"generator": _generator(options), "losses": _losses(options, adversarial)}
    schedule = _schedule(options)
    ours |= {"optimizer": _optimizer(options, "train.optim_g"), "lr_scheduler": schedule}
    if adversarial:
        ours["adversarial"] = _adversarial(options, schedule)
    ours["ema"] = {"decay": options.get("train.ema_decay", 0.0)}
    ours |= {**_validation(options), **_reports(options)}
    left = [f"{path}: {REASONS.get(path, 'no counterpart, and no effect here')}" for path in options.unread()]
    return ours, options.notes + left


def _run(options: Options) -> Tree:
    given = {
        "generator": options.get("path.pretrain_network_g"),
        "discriminator": options.get("path.pretrain_network_d"),
    }
    return {
        "name": options.need("name"),
        "seed": options.whole("manual_seed", 0),
        "scale": options.whole("scale"),
        "max_train_steps": options.whole("train.total_iter"),
        "init": {player: origin for player, origin in given.items() if origin},
    }


def _images(options: Options, degraded: bool) -> Tree:
    train = "datasets.train"
    options.read.add(f"{train}.type")  # the options below say it too
    gt = options.need(f"{train}.dataroot_gt")
    turning = {
        "use_hflip": options.get(f"{train}.use_hflip", True),
        "use_rot": options.get(f"{train}.use_rot", False),
        "dataloader_num_workers": options.whole(f"{train}.num_worker_per_gpu", 5),
    }
    if degraded:
        source = {"type": "folder", "path": gt}
        return {"images": {"source": source, "crop_size": CROP, **turning}, "gt_size": options.whole("gt_size")}
    pairs = {"type": "pairs", "gt": gt, "lq": options.need(f"{train}.dataroot_lq")}
    size = options.whole(f"{train}.gt_size", options.whole("gt_size", 256))
    return {"high_order_degradation": False, "images": {"pairs": pairs, **turning}, "gt_size": size}


def _sharpening(options: Options, adversarial: bool, degraded: bool) -> Tree:
    if not adversarial:
        return {"gt_usm": options.get("gt_usm", False)}
    flags = {key: options.get(key, False) for key in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")}
    return {"degrade_gt_usm": degraded, **flags}


def _batch(options: Options, degraded: bool, gpus: int) -> Tree:
    count = options.get("num_gpu", "auto")
    if count == "auto":
        options.note("num_gpu", f"got auto; taken for {gpus}, by which batch.global_size and queue_size are multiplied")
    elif (gpus := options.whole("num_gpu")) < 0:
        raise Mistake(f"num_gpu: got {gpus}; must be at least 0, or auto.")
    gpus = max(gpus, 1)  # none is the CPU, which takes one batch
    per_device = options.whole("datasets.train.batch_size_per_gpu", 12)
    queue = options.whole("queue_size", 180) * gpus if degraded else 0
    return {"batch": {"global_size": per_device * gpus, "per_device": per_device}, "queue_size": queue}


def _degradation(options: Options) -> Tree:
    """Upstream keeps what kernels are made of with the data set, and the rest at the top."""
    found = {key: options.get(key, options.get(f"datasets.train.{key}")) for key in DEGRADATION}
    return {"type": "second_order", **{key: value for key, value in found.items() if value is not None}}


def _generator(options: Options) -> Tree:
    net, scale = "network_g", options.whole("scale")
    kind = options.need(f"{net}.type")
    for key in ("num_in_ch", "num_out_ch"):
        options.expect(f"{net}.{key}", 3)
    for key in ("scale", "upscale"):
        if (said := options.get(f"{net}.{key}", scale)) != scale:
            options.note(f"{net}.{key}", f"got {said}; the run's scale, {scale}, is taken")
    if kind == "RRDBNet":
        sizes = {"num_feat": 64, "num_block": 23, "num_grow_ch": 32}
        return {"type": kind, **{key: options.whole(f"{net}.{key}", size) for key, size in sizes.items()}}
    if kind == "SRVGGNetCompact":
        sizes = {"num_feat": 64, "num_conv": 16}
        act = {"act_type": options.get(f"{net}.act_type", "prelu")}
        return {"type": kind, **{key: options.whole(f"{net}.{key}", size) for key, size in sizes.items()}, **act}
    raise Mistake(f"{net}.type: got {kind}; wanted RRDBNet or SRVGGNetCompact.")


def _losses(options: Options, adversarial: bool) -> Tree:
    pixel = "train.pixel_opt"
    options.expect(f"{pixel}.reduction", "mean")
    kind = options.among(f"{pixel}.type", PIXEL, "L1Loss")
    losses: Tree = {"pixel": {"type": kind, "weight": options.get(f"{pixel}.loss_weight", 1.0)}}
    perceptual = "train.perceptual_opt"
    if not adversarial or options.get(f"{perceptual}.type") is None:
        return losses
    options.expect(f"{perceptual}.vgg_type", "vgg19")
    options.expect(f"{perceptual}.range_norm", False)
    losses["perceptual"] = {
        "type": "vgg",
        "weight": options.get(f"{perceptual}.perceptual_weight", 1.0),
        "style_weight": options.get(f"{perceptual}.style_weight", 0.0),
        "layer_weights": options.need(f"{perceptual}.layer_weights"),
        "criterion": options.among(f"{perceptual}.criterion", CRITERIA, "l1"),
        "use_input_norm": options.get(f"{perceptual}.use_input_norm", True),
    }
    return losses


def _optimizer(options: Options, path: str) -> Tree:
    decay = options.get(f"{path}.weight_decay", 0)
    if decay:
        options.note(f"{path}.weight_decay", "it is applied to kernels alone, not to biases and slopes")
    return {
        "type": options.among(f"{path}.type", OPTIMIZERS, "Adam"),
        "learning_rate": options.need(f"{path}.lr"),
        "betas": options.get(f"{path}.betas", [0.9, 0.999]),
        "weight_decay": decay,
    }


def _schedule(options: Options) -> Tree:
    """Upstream's first fall is at its last step, which comes to a constant rate."""
    path, total = "train.scheduler", options.whole("train.total_iter")
    warmup = max(0, options.whole("train.warmup_iter", -1))
    rise = {"lr_warmup_steps": warmup} if warmup else {}
    kind = options.get(f"{path}.type", "MultiStepLR")
    if kind not in ("MultiStepLR", "MultiStepRestartLR"):
        options.note(f"{path}.type", f"got {kind}; here a file's MultiStepLR is known, and a constant rate is taken")
        return {"type": "constant", **rise}
    milestones = options.get(f"{path}.milestones", [])
    if not isinstance(milestones, list):
        raise Mistake(f"{path}.milestones: got {milestones!r}; must be a list of steps.")
    falls = [step for step in (_whole(f"{path}.milestones", step) for step in milestones) if step < total]
    gamma = options.get(f"{path}.gamma", 0.1)
    return {"type": "multistep", "milestones": falls, "gamma": gamma, **rise} if falls else {"type": "constant", **rise}


def _adversarial(options: Options, schedule: Tree) -> Tree:
    net, loss = "network_d", "train.gan_opt"
    kind = options.need(f"{net}.type")
    if kind not in ("UNetDiscriminatorSN", "VGGStyleDiscriminator"):
        raise Mistake(f"{net}.type: got {kind}; wanted UNetDiscriminatorSN or VGGStyleDiscriminator.")
    options.expect(f"{net}.num_in_ch", 3)
    discriminator = {"type": kind, "num_feat": options.whole(f"{net}.num_feat", 64)}
    if kind == "UNetDiscriminatorSN":
        discriminator["skip_connection"] = options.get(f"{net}.skip_connection", True)
    options.expect(f"{loss}.type", "GANLoss")
    options.expect(f"{loss}.fake_label_val", 0.0)
    real = options.get(f"{loss}.real_label_val", 1.0)
    if isinstance(real, bool) or not isinstance(real, int | float):
        raise Mistake(f"{loss}.real_label_val: got {real!r}; must be a number.")
    return {
        "discriminator": discriminator,
        "loss": {
            "type": options.need(f"{loss}.gan_type"),
            "weight": options.get(f"{loss}.loss_weight", 1.0),
            "label_smoothing": round(1 - real, 9),
        },
        "optimizer": _optimizer(options, "train.optim_d"),
        "lr_scheduler": dict(schedule),
        "net_d_iters": options.whole("train.net_d_iters", 1),
        "net_d_init_iters": options.whole("train.net_d_init_iters", 0),
    }


def _validation(options: Options) -> Tree:
    gt, lq = options.get("datasets.val.dataroot_gt"), options.get("datasets.val.dataroot_lq")
    if gt is None or lq is None:
        return {}
    options.read.add("datasets.val.type")
    psnr = "val.metrics.psnr"
    options.expect(f"{psnr}.type", "calculate_psnr")
    return {
        "validation": {
            "source": {"type": "pairs", "gt": gt, "lq": lq},
            "validation_steps": options.whole("val.val_freq", 5000),
            "crop_border": options.whole(f"{psnr}.crop_border", 0),
            "channel": "y" if options.get(f"{psnr}.test_y_channel", False) else "rgb",
        }
    }


def _reports(options: Options) -> Tree:
    tensorboard = "tensorboard" if options.get("logger.use_tb_logger", True) else "none"
    return {
        "checkpoints": {"checkpointing_steps": options.whole("logger.save_checkpoint_freq", 5000)},
        "telemetry": {"report_steps": options.whole("logger.print_freq", 100), "report_to": tensorboard},
    }
