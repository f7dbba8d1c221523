"""Any `torch.nn.Module` that Python can import, as a generator or as a discriminator.

The module is built in this process and trained as it is; its state-dict names are its own, here and in every file.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.dotted_path import imported_name, made
from trainer.networks.foreign import ForeignNetwork, check_judge, joined, output_shape
from trainer.networks.layers.sizes import check_sizes


class ImportedNetwork(ForeignNetwork):
    """The module at a dotted path, built with `arguments`; its state-dict names are those of the module alone.

    A configuration in a file may come from anybody: its path is imported only if `trust` names it, or a module or
    package that contains it.

    ValueError if there is no such class, it is no module, or it refuses the arguments. `scale`, `num_in_ch` and
    `multiple` describe a saved generator to its readers: its factor, its bands, and what its input's sides must be
    multiples of.
    """

    takes_a_path: ClassVar[bool] = True

    @register_to_config
    def __init__(
        self,
        path: str,
        arguments: dict[str, Any],
        scale: int = 1,  # noqa: ARG002 - these three are kept by register_to_config
        num_in_ch: int = 3,  # noqa: ARG002
        multiple: int = 1,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.hold(_build_module(path, arguments))

    @classmethod
    def from_pretrained(cls, origin: Any, *, trust: Collection[str] = (), **options: Any) -> Any:
        """As of any network; ValueError for a path that is not trusted."""
        return super().from_pretrained(origin, **{"trust": trust, **options})

    @classmethod
    def from_config(cls, config: Any, *, trust: Collection[str] = (), **options: Any) -> Any:
        """As in diffusers; ValueError for a path that is not trusted."""
        check_trust(config.get("path"), trust)
        check_no_further_path(config["path"])
        return super().from_config(config, **options)


class ImportedDiscriminator(ImportedNetwork):
    """An imported module that judges: its logits, or those of its scales side by side, [B, sum N]."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the module."""
        out: Tensor = joined(self.net(*inputs))
        return out


def check_trust(path: Any, trust: Collection[str]) -> None:
    """ValueError unless `trust` names `path`, the dotted path of a class, or a module or package that contains it."""
    names = [trust] if isinstance(trust, str) else trust
    if not any(f"{path}.".startswith(f"{name}.") for name in names if name):
        raise ValueError(
            f"it names {str(path)!r:.200}, which would be imported and run; if you trust who made it and that module, "
            f"say so by --trust, or trust=[...] in Python"
        )


def check_no_further_path(path: str) -> None:
    """ValueError for a class, trusted though it is, that would import and call whatever its arguments name."""
    if getattr(imported_name(path), "takes_a_path", False):
        raise ValueError(f"it names {path}, whose arguments would name something else to import and run")


def _build_module(path: str, arguments: dict[str, Any]) -> nn.Module:
    cls = imported_name(path)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ValueError(f"path: {path} is no torch.nn.Module")
    return made(cls, path, arguments)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedGeneratorConfig:
    """A generator from any installed package: it maps [B, C, h, w] in [0, 1] to [B, C, scale*h, scale*w]."""

    type: Literal["module"] = "module"
    path: str
    """The class, as package.module.Class."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class, beside the scale and the bands."""
    scales: tuple[int, ...]
    """The scales that the module supports; more than one needs `scale_argument`."""
    multiple: int = 1
    """The number of which the sides of its input must be multiples."""
    scale_argument: str | None = None
    """The name of the argument that takes the run's scale, if it has one."""
    bands_arguments: tuple[str, ...] = ()
    """The names of the arguments that take the number of channels, in and out, if it has them."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f"scales: got {list(self.scales)}; must name what the module can upscale by")
        if len(self.scales) > 1 and self.scale_argument is None:
            raise ValueError("scale_argument: must be given where scales has several entries")
        check_sizes(self, multiple=1)

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """The number of which the sides of an input must be multiples."""
        return self.multiple

    def build(self, scale: int, bands: int) -> ImportedNetwork:
        """Build the module and try it once on a small input; ValueError if it fails or gives another size."""
        if scale not in self.scales:
            raise ValueError(f"{self.path} upscales by {', '.join(map(str, self.scales))}, not by {scale}")
        sizes = {
            **({self.scale_argument: scale} if self.scale_argument else {}),
            **dict.fromkeys(self.bands_arguments, bands),
        }
        net = ImportedNetwork(self.path, {**self.arguments, **sizes}, scale, bands, self.multiple)
        side = -(-16 // self.multiple) * self.multiple
        answer, wanted = output_shape(net, (1, bands, side, side)), (1, bands, scale * side, scale * side)
        if answer != wanted:
            raise ValueError(
                f"{self.path} makes {list(answer)} of an input of {[1, bands, side, side]}; x{scale} is {list(wanted)}"
            )
        return net


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedDiscriminatorConfig:
    """A discriminator from any installed package: it maps [B, C, H, W] in [0, 1] to [B, ...] logits.

    A list or tuple of logits, as of a multi-scale discriminator, is laid side by side, [B, sum N]: each logit counts
    alike, so a scale counts by how many it gives, the finest most.
    """

    type: Literal["module"] = "module"
    path: str
    """The class, as package.module.Class."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class, beside the bands."""
    bands_arguments: tuple[str, ...] = ()
    """The names of the arguments that take the number of channels, if it has them."""

    def problem(self, gt_size: int) -> str | None:  # noqa: ARG002 - one signature for all discriminators
        """None: what it cannot judge is unknown before it is built and tried."""
        return None

    def build(self, gt_size: int, bands: int) -> ImportedDiscriminator:
        """Build the module and try it once on two patches of `gt_size`; ValueError if it fails or cannot learn."""
        net = ImportedDiscriminator(self.path, {**self.arguments, **dict.fromkeys(self.bands_arguments, bands)})
        check_judge(net, self.path, (2, bands, gt_size, gt_size))
        return net
