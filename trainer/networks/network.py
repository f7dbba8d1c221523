"""Base class of all networks: a diffusers model that opens only complete files of its own class, and runs no code in
them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin

from trainer.networks.layers.recomputing import keep, recompute
from trainer.networks.loading.state_dicts import CONFIG

READER = logging.getLogger("diffusers.models.modeling_utils")


class Network(ModelMixin, ConfigMixin):
    """A diffusers model that refuses another class's configuration, and weights that are not exactly its own."""

    ends: tuple[str, ...] = ()
    """Prefixes of the names of tensors whose shapes follow from the scale, the bands or the patch: the first and the
    last layers. All others are the body."""
    layout: ClassVar[torch.memory_format] = torch.channels_last
    """The memory format of its weights and pictures in training: NHWC, in which GPUs' convolutions compute."""
    _supports_gradient_checkpointing = True

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Any = None) -> None:  # noqa: ARG002
        """Compute the repeated blocks again in the backward pass, as diffusers' switch of this name does.

        ValueError if the network has no block that can be.
        """
        if not recompute(self):
            raise ValueError(f"{type(self).__name__} has no repeated blocks without BatchNorm to compute again")

    def disable_gradient_checkpointing(self) -> None:
        """Keep what the backward pass needs, as at first."""
        keep(self)

    @classmethod
    def from_pretrained(cls, origin: Any, **options: Any) -> Any:
        """As in diffusers, from safetensors alone; of a run folder it opens the export.

        ValueError if the configuration is another class's or asks for a quantiser, or a tensor is missing or left.
        """
        folder = Path(origin)
        if not (folder / CONFIG).is_file() and (folder / "export" / CONFIG).is_file():
            origin = folder / "export"
        wants_info = options.pop("output_loading_info", False)
        with _only_errors(READER):  # diffusers' reader lists every tensor that does not fit
            net, info = super().from_pretrained(
                origin, **{"use_safetensors": True, **options, "output_loading_info": True}
            )
        for fault in ("missing", "unexpected"):
            if names := sorted(info[f"{fault}_keys"]):
                raise ValueError(
                    f"the weights in {origin} are not those of the {cls.__name__} in its {CONFIG}: {len(names)} "
                    f"{fault} tensors, the first is {names[0]}"
                )
        return (net, info) if wants_info else net

    @classmethod
    def extract_init_dict(cls, config_dict: Any, **options: Any) -> Any:
        """As in diffusers; ValueError for keys that the class does not know, where diffusers logs that they are
        ignored."""
        known = {"quantization_config", *cls._get_init_keys(cls)}
        if foreign := sorted(name for name in map(str, config_dict) if name[:1] != "_" and name not in known):
            raise ValueError(f"its {CONFIG} has {', '.join(foreign)!s:.160}, which a {cls.__name__} does not know")
        return super().extract_init_dict(config_dict, **options)

    @classmethod
    def load_config(cls, *origin: Any, **options: Any) -> Any:
        """As in diffusers; ValueError if the configuration is another class's or asks for a quantiser."""
        loaded = super().load_config(*origin, **options)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        place = origin[0] if origin else options.get("pretrained_model_name_or_path")
        named = config.get("_class_name", cls.__name__) if isinstance(config, dict) else type(config).__name__
        if named != cls.__name__:
            raise ValueError(
                f"{place} holds a {named!s:.80}, not a {cls.__name__}: open it with the class of that name"
            )
        if config.get("quantization_config"):
            raise ValueError(f"the {CONFIG} of {place} asks for a quantiser, which a {cls.__name__} does not have")
        return loaded


@contextmanager
def _only_errors(log: logging.Logger) -> Iterator[None]:
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
