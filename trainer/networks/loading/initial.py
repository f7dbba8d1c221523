"""Initial weights: from a run, an export, the hub, or a file of Real-ESRGAN's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.files.paths import PathText
from trainer.mistakes import Mistake
from trainer.networks import ImportedNetwork, SpandrelNetwork
from trainer.networks.given import bare
from trainer.networks.loading.generators import generator_section
from trainer.networks.loading.state_dicts import LoadedWeights, Role, basicsr_names, check_finite, read_state_dict
from trainer.networks.zoo.detection import detected

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class InitConfig:
    """Initial weights of a run that does not resume."""

    generator: PathText | None = None
    """A run folder, an export, a .safetensors or .pth file, or a hub id; null starts from random weights."""
    discriminator: PathText | None = None
    """The same for the discriminator; a run folder gives that of its newest checkpoint."""
    partial: bool = False
    """Take what fits of weights of another depth or width, too; else only the first and last layers may differ, as they
    do for another scale or other bands. Of a network of another package (`type: module`) these layers are not known, so
    that another scale or other bands need this too."""


def load_weights(
    net: nn.Module, origin: str, key: str, role: Role = "generator", *, partial: bool = False
) -> list[str]:
    """Copy the fitting weights at `origin` into `net`; return sentences with their number and each tensor that did not
    fit.

    Raises Mistake, naming the configuration `key`, if nothing can be read or nothing fits, if a number is not
    finite, and, unless `partial`, if more than the network's `ends` stays random or a tensor of its body is left.
    """
    stored = read_state_dict(origin, key, role)
    check_finite(stored, key)
    found, own = _renamed(net, stored), net.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise Mistake(
            f"{key}: none of the {len(found)} tensors in {stored.place} fits the network's {len(own)}; "
            f"it begins with {', '.join(list(found)[:3])}, the network with {', '.join(list(own)[:3])}"
            f"{_advice(stored, role)}."
        )
    anew, unused = [name for name in own if name not in fitting], [name for name in found if name not in fitting]
    layers = {name.split(".")[0] for name in own}
    ends: tuple[str, ...] = getattr(net, "ends", ())
    body = [name for name in anew if not name.startswith(ends)]
    body += [name for name in unused if name.split(".")[0] in layers and not name.startswith(ends)]
    counts = f"{len(fitting)} of {len(own)} tensors from {stored.place}"
    if unused:
        counts += f", {len(unused)} of whose {len(found)} are not used"
    if body and not partial:
        where = f"they differ in the body too, first in {body[0]}{_advice(stored, role)}"
        if isinstance(net, ImportedNetwork):
            where = f"they differ in {body[0]}, and which layers of a network of type module follow its scale and bands"
            where += " is not known"
        raise Mistake(f"{key}: only {counts}: {where}; init.partial: true takes what fits.")
    net.load_state_dict(fitting, strict=False)
    notes = [f"{key}: {counts}"]
    if anew:
        notes.append(f"{key}: random weights stay in {_listed([_compared(name, own, found) for name in anew])}")
    if unused and (others := [name for name in unused if name not in own]):
        notes.append(f"{key}: the network has no {_listed(others)}")
    return notes


def _renamed(net: nn.Module, stored: LoadedWeights) -> dict[str, Tensor]:
    """The tensors of a file by the network's names: BasicSR's, or spandrel's for a network of its."""
    if stored.tensors.keys() & net.state_dict().keys():
        return stored.tensors
    if not isinstance(net, SpandrelNetwork):
        return basicsr_names(stored.tensors)
    try:
        return detected(stored.tensors, net.config.arch).state_dict()
    except ValueError:  # nothing fits, as is said then
        return stored.tensors


def copy_weights(origin: nn.Module, net: nn.Module, key: str) -> list[str]:
    """Copy a module's weights into a network of the same tensors; Mistake, beginning with `key`, if they differ."""
    theirs, ours = bare(origin).state_dict(), net.state_dict()
    odd = [name for name in {**ours, **theirs} if name not in theirs or name not in ours]
    odd += [name for name, value in ours.items() if name in theirs and theirs[name].shape != value.shape]
    if odd:
        raise Mistake(f"{key}: the module's tensors are not those of the network; they differ in {odd[0]}.")
    net.load_state_dict(theirs)
    return [f"{key}: {len(ours)} of {len(ours)} tensors from a module"]


def _compared(name: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """A tensor of the network that stays random, with both shapes if the file has one of that name."""
    shapes = [list(state[name].shape) for state in (own, found) if name in state]
    return f"{name} ({shapes[0]}, there {shapes[1]})" if len(shapes) == 2 else name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _advice(stored: LoadedWeights, role: Role) -> str:
    """The generator section that would take the whole file, if known."""
    section = generator_section(stored) if role == "generator" else None
    return f"; the file is of generator: {section}" if section else ""
