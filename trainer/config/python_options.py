"""Options given in Python, of Real-ESRGAN's names or of ours or a file of either, as one `RunConfig`."""

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from trainer.config.foreign_files import program_of
from trainer.config.loader import load_config, read_tree, validated
from trainer.config.schema import RunConfig
from trainer.foreign_options.realesrgan import translate
from trainer.foreign_options.realesrgan_losses import with_named_entries
from trainer.foreign_options.tree import foreign_name
from trainer.mistakes import Mistake
from trainer.networks.given import GivenDiscriminatorConfig, GivenGeneratorConfig, bare, description

NET_MODEL, GAN_MODEL = "RealESRNetModel", "RealESRGANModel"
NET_DEFAULTS = {
    "network_g": {"type": "RRDBNet"},
    "train": {
        "ema_decay": 0.999,
        "total_iter": 1_000_000,
        "optim_g": {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99]},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
    },
}
"""Real-ESRGAN's own options of `options/train_realesrnet_x4plus.yml`, for sections that are not given."""
GAN_DEFAULTS = {
    "network_g": {"type": "RRDBNet"},
    "network_d": {"type": "UNetDiscriminatorSN"},
    "train": {
        "ema_decay": 0.999,
        "total_iter": 400_000,
        "optim_g": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]},
        "optim_d": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
        "perceptual_opt": {
            "type": "PerceptualLoss",
            "layer_weights": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1},
        },
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1},
    },
}
"""Real-ESRGAN's own options of `options/train_realesrgan_x4plus.yml`, for sections that are not given."""
OURS = ("images", "generator", "adversarial", "degradation", "optimizer", "max_train_steps", "batch")
"""Top-level keys of our configurations that Real-ESRGAN's options do not have."""
FROM_PROGRAM = {"type": "python"}


def config_of(opt: Any, model: str | None = None) -> tuple[RunConfig, list[str]]:
    """The configuration of `opt` for `model`, by default the one that `opt` names, and notes on untranslated options.

    Raises:
        Mistake: `opt` is of another type, has an error, or is for the other model.
    """
    notes: list[str] = []
    if isinstance(opt, RunConfig):
        config = opt
    elif isinstance(opt, str | Path):
        tree = read_tree(path := Path(opt))
        if program_of(tree):
            config, notes = _translated(tree, model, str(path))
        else:
            config = load_config(RunConfig, path)
    elif isinstance(opt, Mapping):
        tree = _plain(opt)
        if any(key in tree for key in OURS):
            config = validated(RunConfig, _with_images(tree), "opt")
        else:
            config, notes = _translated(tree, model, "opt")
    else:
        raise Mistake(f"opt: got {type(opt).__name__}; must be a dict of options, a RunConfig, or the path of a YAML.")
    if model == GAN_MODEL and config.adversarial is None:
        raise Mistake(f"{model}: there is no adversarial section for it; RealESRNetModel trains without one.")
    if model == NET_MODEL and config.adversarial is not None:
        raise Mistake(f"{model}: has no discriminator, and there is an adversarial section: use RealESRGANModel.")
    return config, notes


def with_given_networks(config: RunConfig, net_g: nn.Module | None, net_d: nn.Module | None) -> RunConfig:
    """The configuration with given networks described in place of its own; Mistake for an object that is no module."""
    for name, net in (("net_g", net_g), ("net_d", net_d)):
        if net is not None and not isinstance(net, nn.Module):
            raise Mistake(f"{name}: got {type(net).__name__}; must be a torch.nn.Module.")
        if net is not None and bare(net) is not net:
            raise Mistake(
                f"{name}: got {type(net).__name__}; give the module inside: processes are joined by the launcher, and "
                "`compile: true` compiles."
            )
        if net is not None and not any(parameter.requires_grad for parameter in net.parameters()):
            raise Mistake(f"{name}: got {type(net).__name__} without a parameter that learns (requires_grad).")
    if net_g is not None:
        config = replace(config, generator=GivenGeneratorConfig(given=description(net_g)))
    if net_d is not None:
        if config.adversarial is None:
            raise Mistake("net_d: there is no adversarial section for it.")
        given = GivenDiscriminatorConfig(given=description(net_d))
        config = replace(config, adversarial=replace(config.adversarial, discriminator=given))
    return config


def _plain(opt: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy of `opt` without sections that are `...` or `{...}`, as documents abbreviate them."""
    tree = copy.deepcopy(dict(opt))
    return {
        key: value
        for key, value in tree.items()
        if value is not ... and not (isinstance(value, set) and value == {...})
    }


def _with_images(tree: dict[str, Any]) -> dict[str, Any]:
    """`tree`, with pictures from the calling program if it has no `images`."""
    if tree.get("images") is None:
        tree["images"] = {"source": FROM_PROGRAM}
    return tree


def _section(tree: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """A section of a tree, made where it is not given; Mistake for what is none."""
    if tree.get(name) is None:
        tree[name] = {}
    if not isinstance(section := tree[name], dict):
        raise Mistake(f"{path}: got {type(section).__name__}; must be a dict of options.")
    return section


def _translated(tree: dict[str, Any], model: str | None, origin: str) -> tuple[RunConfig, list[str]]:
    """The configuration of a tree of Real-ESRGAN's options, with its own defaults for absent sections; and notes."""
    model = model or tree.get("model_type") or (GAN_MODEL if "network_d" in tree else NET_MODEL)
    tree = {
        **copy.deepcopy(GAN_DEFAULTS if model == GAN_MODEL else NET_DEFAULTS),
        "name": model,
        **tree,
        "model_type": model,
    }
    train = _section(_section(tree, "datasets", "datasets"), "train", "datasets.train")
    from_program = "dataroot_gt" not in train
    if from_program:  # the calling program gives the pictures
        train["dataroot_gt"] = "fed"
        if not tree.get("high_order_degradation", True):
            train["dataroot_lq"] = "fed"
    tree.setdefault("num_gpu", int(os.environ.get("WORLD_SIZE", "1")))  # `batch_size_per_gpu` is of each process
    ours, notes = translate(tree, 1)
    if from_program:
        ours["images"] |= {key: FROM_PROGRAM for key in ("source", "pairs") if key in ours["images"]}
    called = partial(foreign_name, with_named_entries(tree), lambda again: translate(again, 1))
    return validated(RunConfig, ours, origin, called=called), notes
