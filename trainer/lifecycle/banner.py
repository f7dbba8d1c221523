"""The banner of a run: folder, device, batch, images, degradation, networks."""

import torch

from trainer.building.pairs import degradation_path
from trainer.config.schema import RunConfig
from trainer.experiment import Experiment
from trainer.images.sources import ImageSource
from trainer.images.streaming.dataset import Shards
from trainer.validation.validator import Validator


def banner(run: Experiment) -> str:
    """The run in a few lines: device, batch, data, sizes, and where it stands."""
    config = run.config
    source = f"{describe_source_size(run.source)} from {run.source.where}"
    parameters = sum(p.numel() for p in run.model.generator.net.parameters())
    start = f"resumes at step {run.state.step}" if run.state.step else "starts at step 0"
    rows = {
        "run": f"{run.folder.path}, {start} of {config.max_train_steps}",
        "device": f"{device_name(run.accelerator.device)}, precision {config.mixed_precision}",
        "batch": str(run.model.batch),
        "images": f"{source}, {describe_crops(config)}; {describe_validation(run.validator)}",
        "degradation": f"{config.degradation.type}, {degradation_path(config, run.accelerator.device)}",
        "generator": f"{config.generator.type} x{config.scale}, {parameters:,} parameters",
    }
    if config.images.source is None:  # given pairs are what they are
        del rows["degradation"]
    width = max(map(len, rows))
    return "\n".join(f"{name:>{width}}  {text}" for name, text in rows.items())


def describe_validation(validator: Validator | None) -> str:
    """The size of the validation, in words."""
    if validator is None:
        return "no validation"
    what, count = "pair" if validator.config.has_gt else "picture", len(validator)
    without = "" if validator.config.has_gt else " without ground truth"
    return f"{count} {what}{'' if count == 1 else 's'}{without} to validate on"


def describe_crops(config: RunConfig) -> str:
    """Sizes of the crops that are degraded, or of the patches of given pairs, in words."""
    if config.images.source is None:
        return f"{config.gt_size} px patches"
    mixed = f", a given pair with probability {config.images.pair_prob:g}" if config.images.pairs else ""
    return f"{config.images.crop_size} px crops{mixed}"


def describe_source_size(source: ImageSource | Shards) -> str:
    """The size of a source in words: pictures, or shards of a stream, whose pictures are not counted."""
    return f"{len(source.names)} shards" if isinstance(source, Shards) else str(len(source))


def device_name(device: torch.device) -> str:
    """The name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)} per process"
