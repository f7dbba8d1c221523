"""What a run says of itself before it starts."""

import torch

from trainer.assemble import Experiment
from trainer.config import RunConfig
from trainer.images.sources import ImageSource
from trainer.images.stream import Shards


def banner(x: Experiment) -> str:
    """The run in a few lines: device, batch, data, sizes, and where it stands."""
    config = x.config
    parameters = sum(p.numel() for p in x.generator.module.parameters())
    validation = f"{len(x.validator)} pairs to validate on" if x.validator else "no validation"
    start = f"resumes at step {x.state.step}" if x.state.step else "starts at step 0"
    rows = {
        "run": f"{x.folder.path}, {start} of {config.max_train_steps}",
        "device": f"{device_name(x.accelerator.device)}, precision {config.mixed_precision}",
        "batch": str(x.batch),
        "images": f"{amount(x.source)} from {x.source.where}, {crops(config)}; {validation}",
        "generator": f"{config.generator.type} x{config.scale}, {parameters:,} parameters",
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:>{width}}  {text}" for name, text in rows.items())


def crops(config: RunConfig) -> str:
    """What is cut from them: crops to degrade, or patches of given pairs."""
    if config.images.source is None:
        return f"{config.gt_size} px patches"
    mixed = f", a given pair with probability {config.images.pair_prob:g}" if config.images.pairs else ""
    return f"{config.images.crop_size} px crops{mixed}"


def amount(source: ImageSource | Shards) -> str:
    """How much there is of a source; nobody has counted the pictures of a streamed one."""
    return f"{len(source.names)} shards" if isinstance(source, Shards) else str(len(source))


def device_name(device: torch.device) -> str:
    """What a person would call the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)} per process"
