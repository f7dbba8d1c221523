"""Translation of Real-ESRGAN's option files, after `realesrgan/models`, `realesrgan/data` and BasicSR.

A message names every option that is not translated, with the reason.
"""

from dataclasses import fields

from degradations.second_order import SecondOrder
from trainer.foreign_options.realesrgan_losses import gan_path, losses, with_named_entries
from trainer.foreign_options.realesrgan_optimizers import SCHEDULE_FREE, optimizer
from trainer.foreign_options.redux_mixing import mixing
from trainer.foreign_options.tree import Options, Tree, integer
from trainer.mistakes import Mistake

CROP = 400  # what RealESRGANDataset cuts from a picture, whatever the options say
DEGRADATION = tuple(f.name for f in fields(SecondOrder) if f.name != "type")
MEASURED = ("calculate_psnr", "calculate_ssim")
PERCEPTUAL = {"calculate_niqe": "niqe", "calculate_lpips": "lpips", "calculate_dists": "dists"}
"""BasicSR's metrics beside PSNR and SSIM, and those of traiNNer-redux and neosr."""
COSINE = ("CosineAnnealingRestartLR", "CosineAnnealingLR", "TrueCosineAnnealingLR")

REASONS = {
    "dist_params": "`accelerate launch` joins the processes",
    "datasets.train.name": "it has no effect there either",
    "datasets.train.gt_size": "the networks see the gt_size at the top; what is cut from a picture is images.crop_size",
    "datasets.train.use_shuffle": "the order is always shuffled, by the seed",
    "datasets.train.dataset_enlarge_ratio": "there are no epochs whose ends would cost time",
    "datasets.train.prefetch_mode": "pictures are always decoded ahead",
    "datasets.train.num_prefetch_queue": "pictures are always decoded ahead",
    "datasets.train.pin_memory": "memory is pinned where there is a GPU",
    "datasets.train.persistent_workers": "workers always live as long as the run",
    "path.param_key_g": "params_ema is taken before params, where a file has both",
    "path.param_key_d": "params_ema is taken before params, where a file has both",
    "path.strict_load_g": "the first and last layers may differ; with init.partial: true others may too",
    "path.strict_load_d": "the first and last layers may differ; with init.partial: true others may too",
    "path.resume_state": "the same command resumes a run, from the newest complete checkpoint of its folder",
    "datasets.train.mean": "networks see [0, 1] as it is",
    "datasets.train.std": "networks see [0, 1] as it is",
    "train.scheduler.restarts": "the rate does not rise again",
    "logger.wandb.resume_id": "a resumed run goes on under the id that it had",
}
"""Reasons for keys, or whole sections, without a counterpart."""


def translate(tree: Tree, gpus: int) -> tuple[Tree, list[str]]:
    """Our configuration as a tree, and a message for each option that has no counterpart in it.

    `gpus` is how many a file with `num_gpu: auto` ran on: its batch and its queue are for each of them. Raises Mistake
    where the options are not those of a Real-ESRGAN training.
    """
    options = Options(with_named_entries(tree), "Real-ESRGAN", REASONS)
    model = options.need("model_type")
    if model not in ("RealESRNetModel", "RealESRGANModel"):
        raise Mistake(f"model_type: got {model}; wanted RealESRNetModel or RealESRGANModel.")
    adversarial = model == "RealESRGANModel"
    degraded = bool(options.get("high_order_degradation", True))
    ours = {**_run(options), **_images(options, degraded), **_sharpening(options, adversarial, degraded)}
    ours |= {**_batch(options, degraded, gpus), **mixing(options)}
    if degraded:
        ours["degradation"] = _degradation(options)
    ours |= {"generator": _generator(options), "losses": losses(options, ours["gt_size"])}
    ours |= {"optimizer": optimizer(options, "train.optim_g"), "lr_scheduler": _schedule(options, "train.optim_g")}
    if adversarial:
        ours["adversarial"] = _adversarial(options, ours["gt_size"])
    ours["ema"] = {"decay": options.get("train.ema_decay", 0.0), "warmup_power": 0.0}
    ours |= {**_validation(options), **_reports(options)}
    return ours, options.messages()


def _run(options: Options) -> Tree:
    given = {  # BasicSR had other names once
        "generator": options.text("path.pretrain_network_g", options.text("path.pretrain_model_g")),
        "discriminator": options.text("path.pretrain_network_d", options.text("path.pretrain_model_d")),
    }
    return {
        "name": options.needed_text("name"),
        **({"output_dir": root} if (root := options.text("path.experiments_root")) else {}),
        "seed": options.integer("manual_seed", 0),
        "scale": options.integer("scale"),
        "max_train_steps": options.integer("train.total_iter"),
        "init": {network: origin for network, origin in given.items() if origin},
    }


def _images(options: Options, degraded: bool) -> Tree:
    train = "datasets.train"
    options.read.add(f"{train}.type")  # the options below say it too
    gt = options.needed_text(f"{train}.dataroot_gt")
    turning = {
        "use_hflip": options.get(f"{train}.use_hflip", options.get(f"{train}.use_flip", True)),
        "use_rot": options.get(f"{train}.use_rot", False),
        "dataloader_num_workers": options.integer(f"{train}.num_worker_per_gpu", 5),
    }
    _backend(options, train)
    chosen = _list(options, train)
    if degraded:
        source = {"type": "folder", "path": gt, **chosen}
        return {"images": {"source": source, "crop_size": CROP, **turning}, "gt_size": options.integer("gt_size")}
    pairs = {
        "type": "pairs",
        "gt": gt,
        "lq": options.needed_text(f"{train}.dataroot_lq"),
        **_template(options, train),
        **chosen,
    }
    size = options.integer(f"{train}.gt_size", options.integer("gt_size", 256))
    return {"high_order_degradation": False, "images": {"pairs": pairs, **turning}, "gt_size": size}


def _list(options: Options, dataset: str) -> Tree:
    """The `list` file that selects pictures of a folder; Real-ESRGAN and BasicSR name its key differently."""
    path = options.text(f"{dataset}.meta_info", options.text(f"{dataset}.meta_info_file"))
    return {"list": path} if path else {}


def _template(options: Options, dataset: str) -> Tree:
    """Name template of the low-quality pictures (`lq_name`), where it is not the name itself."""
    template = options.text(f"{dataset}.filename_tmpl", "{}")
    return {"lq_name": template} if template != "{}" else {}


def _backend(options: Options, dataset: str) -> None:
    """Note an `io_backend` other than files on disk."""
    if (kind := options.get(f"{dataset}.io_backend.type", "disk")) != "disk":
        options.note(f"{dataset}.io_backend", f"got {kind}; pictures are read from files, datasets and parquet")


def _sharpening(options: Options, adversarial: bool, degraded: bool) -> Tree:
    if not adversarial:
        return {"gt_usm": options.get("gt_usm", False)}
    flags = {key: options.get(key, False) for key in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")}
    return {"degrade_gt_usm": degraded, **flags}


def _batch(options: Options, degraded: bool, gpus: int) -> Tree:
    count = options.get("num_gpu", "auto")
    if count == "auto":
        options.note("num_gpu", f"got auto; taken for {gpus}, by which batch.global_size and queue_size are multiplied")
    elif (gpus := options.integer("num_gpu")) < 0:
        raise Mistake(f"num_gpu: got {gpus}; must be at least 0, or auto.")
    gpus = max(gpus, 1)  # none is the CPU, which takes one batch
    per_device = options.integer("datasets.train.batch_size_per_gpu", 12)
    queue = options.integer("queue_size", 180) * gpus if degraded else 0
    return {"batch": {"global_size": per_device * gpus, "per_device": per_device}, "queue_size": queue}


def _degradation(options: Options) -> Tree:
    """The `degradation` section; upstream has the keys of its kernels in the data set, the others at the top."""
    found = {key: options.get(key, options.get(f"datasets.train.{key}")) for key in DEGRADATION}
    return {"type": "second_order", **{key: value for key, value in found.items() if value is not None}}


def _generator(options: Options) -> Tree:
    net, scale = "network_g", options.integer("scale")
    kind = options.need(f"{net}.type")
    for key in ("num_in_ch", "num_out_ch"):
        options.expect(f"{net}.{key}", 3)
    for key in ("scale", "upscale"):
        if (said := options.get(f"{net}.{key}", scale)) != scale:
            options.note(f"{net}.{key}", f"got {said}; the run's scale, {scale}, is taken")
    if kind == "RRDBNet":
        sizes = {"num_feat": 64, "num_block": 23, "num_grow_ch": 32}
        return {"type": kind, **{key: options.integer(f"{net}.{key}", size) for key, size in sizes.items()}}
    if kind == "SRVGGNetCompact":
        sizes = {"num_feat": 64, "num_conv": 16}
        act = {"act_type": options.get(f"{net}.act_type", "prelu"), "init": "torch"}
        return {"type": kind, **{key: options.integer(f"{net}.{key}", size) for key, size in sizes.items()}, **act}
    raise Mistake(f"{net}.type: got {kind}; wanted RRDBNet or SRVGGNetCompact.")


def _schedule(options: Options, own: str) -> Tree:
    """Learning rate schedule of one optimizer, from upstream's only schedule.

    In upstream's own files the first milestone is the last step, which amounts to a constant rate.
    """
    path, total = "train.scheduler", options.integer("train.total_iter")
    warmup = max(0, options.integer("train.warmup_iter", -1))
    rise = {"lr_warmup_steps": warmup} if warmup else {}
    if str(options.get(f"{own}.type")).lower() in SCHEDULE_FREE:
        options.skip(path, f"a constant rate is taken, as {own} is schedule-free")
        return {"type": "constant", **rise}
    kind = options.get(f"{path}.type", "MultiStepLR")
    if kind in COSINE:
        least, full = options.number(f"{path}.eta_min", 0.0), options.number(f"{own}.lr")
        periods = options.get(f"{path}.periods", [options.get(f"{path}.T_max", total)])
        if periods != [total]:
            options.note(f"{path}.type", f"got {kind} of {periods}; one half of a cosine, over the run, is taken")
        options.read.add(f"{path}.restart_weights")  # of the restarts that there are not
        return {"type": "cosine", "min_factor": round(least / full, 9) if full else 0.0, **rise}
    if kind not in ("MultiStepLR", "MultiStepRestartLR"):
        options.note(
            f"{path}.type", f"got {kind}; here MultiStepLR and a cosine are known, and a constant rate is taken"
        )
        return {"type": "constant", **rise}
    milestones = options.get(f"{path}.milestones", [])
    if not isinstance(milestones, list):
        raise Mistake(f"{path}.milestones: got {milestones!r}; must be a list of steps.")
    falls = [step for step in (integer(f"{path}.milestones", step) for step in milestones) if step < total]
    gamma = options.get(f"{path}.gamma", 0.1)
    return {"type": "multistep", "milestones": falls, "gamma": gamma, **rise} if falls else {"type": "constant", **rise}


def _adversarial(options: Options, gt_size: int) -> Tree:
    net, loss = "network_d", gan_path(options)
    kind = options.need(f"{net}.type")
    if kind not in ("UNetDiscriminatorSN", "VGGStyleDiscriminator"):
        raise Mistake(f"{net}.type: got {kind}; wanted UNetDiscriminatorSN or VGGStyleDiscriminator.")
    options.expect(f"{net}.num_in_ch", 3)
    discriminator = {"type": kind, "num_feat": options.integer(f"{net}.num_feat", 64)}
    if kind == "UNetDiscriminatorSN":
        discriminator["skip_connection"] = options.get(f"{net}.skip_connection", True)
    elif (size := options.get(f"{net}.input_size", gt_size)) != gt_size:
        options.note(f"{net}.input_size", f"got {size}; it judges what the networks see, {gt_size} pixels")
    if loss == "train.gan_opt":
        options.expect(f"{loss}.type", "GANLoss")
    options.expect(f"{loss}.fake_label_val", 0.0)
    real = options.number(f"{loss}.real_label_val", 1.0)
    return {
        "discriminator": discriminator,
        "loss": {
            "type": options.need(f"{loss}.gan_type"),
            "weight": options.get(f"{loss}.loss_weight", 1.0),
            "label_smoothing": round(1 - real, 9),
        },
        "optimizer": optimizer(options, "train.optim_d"),
        "lr_scheduler": _schedule(options, "train.optim_d"),
        "net_d_iters": options.integer("train.net_d_iters", 1),
        "net_d_init_iters": options.integer("train.net_d_init_iters", 0),
    }


def _validation(options: Options) -> Tree:
    """The `validation` section, of the first data set whose name begins with val; upstream validates on all of them."""
    first, *others = [f"datasets.{key}" for key in options.section("datasets") if key.split("_")[0] == "val"] or [""]
    for other in others:
        options.skip(other, f"one source is validated on, that of {first}")
    if not first:
        options.skip("val", "there is no datasets.val, so nothing is validated on")
        return {}
    for key, reason in (("type", ""), ("name", "it has no effect there either"), ("phase", "")):
        options.skip(f"{first}.{key}", reason)
    _backend(options, first)
    source, measures = _validated_on(options, first), _measures(options)
    if measures and source["type"] == "lq":
        there = "niqe" in measures.get("metrics", ())
        what = "only NIQE" if there else "nothing"
        if not there or "channel" in measures or len(measures["metrics"]) > 3:
            options.note("val.metrics", f"{first} has no ground truth, so {what} is measured")
        measures = {"crop_border": measures["crop_border"], "metrics": ["niqe"]} if there else {}
    steps = options.integer("val.val_freq", 5000)
    saved = options.get("val.save_img", False)
    return {"validation": {"source": source, "validation_steps": steps, "save_images": saved, **measures}}


def _validated_on(options: Options, dataset: str) -> Tree:
    """Validation source: pairs, or low-quality pictures alone without ground truth (SingleImageDataset)."""
    gt, lq = options.text(f"{dataset}.dataroot_gt"), options.needed_text(f"{dataset}.dataroot_lq")
    chosen = _list(options, dataset)
    if gt is None:
        return {"type": "lq", "path": lq, **chosen}
    return {"type": "pairs", "gt": gt, "lq": lq, **_template(options, dataset), **chosen}


def _measures(options: Options) -> Tree:
    """Metrics, and border and channel: those of the first PSNR metric, whatever its name, else of SSIM or another."""
    names = [f"val.metrics.{name}" for name in options.section("val.metrics")]
    kinds = {name: str(options.get(f"{name}.type")) for name in names}
    known = [name for kind in (*MEASURED, *PERCEPTUAL) for name in names if kinds[name] == kind]
    found: dict[str, Tree] = {}
    for name in names:
        options.read.add(name)
        if name not in known:
            options.note(name, f"{kinds[name]} is not measured: as `type: module` any metric can be")
    for name in known:
        border = options.integer(f"{name}.crop_border", 0)
        is_y = options.get(f"{name}.test_y_channel", False)
        found[name] = {
            "crop_border": border,
            **({"channel": "y" if is_y else "rgb"} if kinds[name] in MEASURED else {}),
        }
        if found[known[0]] | found[name] != found[known[0]]:
            options.note(name, f"the border and the channel are those of {known[0]}")
    others = dict.fromkeys(PERCEPTUAL[kinds[name]] for name in known if kinds[name] in PERCEPTUAL)
    return {**found[known[0]], **({"metrics": ["psnr", "ssim", *others]} if others else {})} if known else {}


def _reports(options: Options) -> Tree:
    names = ["tensorboard"] if options.get("logger.use_tb_logger", True) else []
    telemetry: Tree = {"report_steps": options.integer("logger.print_freq", 100)}
    if project := options.text("logger.wandb.project"):
        names.append("wandb")
        telemetry["tracker_options"] = {"wandb": {"project": project}}
    telemetry["report_to"] = names if len(names) > 1 else "".join(names) or "none"
    return {
        "checkpoints": {"checkpointing_steps": options.integer("logger.save_checkpoint_freq", 5000)},
        "telemetry": telemetry,
    }
