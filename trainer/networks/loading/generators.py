"""Open a generator: its architecture from the configuration beside its weights, else from the shapes of its tensors."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

from torch import Tensor

from trainer.mistakes import Mistake
from trainer.networks import (
    Generator,
    GivenNetwork,
    ImportedNetwork,
    RRDBNet,
    ShuffleRRDBNet,
    SpandrelNetwork,
    SRResNet,
    SRVGGNetCompact,
)
from trainer.networks.loading.state_dicts import LoadedWeights, check_finite, read_state_dict
from trainer.networks.zoo.detection import detected, is_installed

CLASSES: dict[str, Any] = {cls.__name__: cls for cls in get_args(Generator)}

MOST_SCALE = 8
MOST_ARGUMENT = 512
SIZE_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions when sizes are read from tensors, or a network is built by sizes, that do not go together."""
OF_THE_RUN = frozenset({"scale", "num_in_ch", "num_out_ch"})
"""Sizes that follow from the run's scale and bands."""
State = dict[str, Tensor]
Sizes = dict[str, int]


def open_generator(origin: str, key: str, trust: Collection[str] = ()) -> Generator:
    """The generator at `origin` as a diffusers model: float32, on the CPU, in evaluation mode.

    `origin` is a run folder, an export, a checkpoint, a .pth or .safetensors file, or a hub id. Raises Mistake, naming
    the configuration or command-line `key`, if it is none of these or holds no generator that this program or, where it
    is installed, spandrel knows, if a weight is no finite number, or if it names a class that would have to be imported
    and neither that nor a module that it lies in is in `trust`.
    """
    stored = read_state_dict(origin, key)
    check_finite(stored, key)
    net, reason = _from_config(stored, key, trust), ""
    if net is None:
        net, reason = _from_shapes(stored)
    if net is None:
        return _from_spandrel(stored, key, reason)
    try:
        net.load_state_dict(stored.tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise Mistake(f"{key}: {stored.place} does not hold a whole {type(net).__name__}: {reason}.") from error
    net.eval()
    return net


def scale_of(net: Generator) -> int:
    """Scale of `net`: side of its result per side of its input."""
    return int(net.config.scale)


def bands_of(net: Generator) -> int:
    """Number of channels of the input of `net`."""
    return int(net.config.num_in_ch)


def multiple_of(net: Generator) -> int:
    """The number of which the sides of an input of `net` must be multiples."""
    if isinstance(net, RRDBNet):
        return int(net.unshuffle)
    return int(net.config.multiple) if isinstance(net, ImportedNetwork | SpandrelNetwork) else 1


def _from_config(stored: LoadedWeights, key: str, trust: Collection[str]) -> Generator | None:
    """The network described by a configuration of this program; None without one."""
    config = stored.config or {}
    if (cls := CLASSES.get(str(config.get("_class_name")))) is None:
        return None
    if cls is GivenNetwork:
        raise Mistake(
            f"{key}: {stored.place} holds weights of {config.get('given')}, a module that a Python program gave: give "
            "them to that module, by its `load_state_dict`."
        )
    try:
        if cls is ImportedNetwork:
            net: Generator = cls.from_config(config, trust=trust)
        else:
            _check_sizes(config, stored.tensors)
            net = cls.from_config(config)
    except SIZE_ERRORS as error:
        raise Mistake(f"{key}: the configuration of {stored.place} builds no {cls.__name__}: {error}.") from error
    return net


def _check_sizes(config: dict[str, Any], state: State) -> None:
    """ValueError for a size that the tensors contradict: the network would be built, however large, before all else."""
    most = max(len(state), MOST_SCALE, *(side for value in state.values() for side in value.shape))
    for name, value in _numbers(config):
        if value > most:
            raise ValueError(f"its {name} is {value}, and its weights are {len(state)} tensors of at most {most} rows")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers of a configuration, in lists and in a section of arguments too, and their names.

    Of the latter those up to MOST_ARGUMENT are passed over: they may be of no tensor, as a range of levels is.
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from ((inner, number) for inner, number in _numbers(value) if number > MOST_ARGUMENT)
        else:
            yield from (
                (name, number) for number in (value if isinstance(value, list) else [value]) if type(number) is int
            )


def _from_shapes(stored: LoadedWeights) -> tuple[Generator | None, str]:
    """The network recognised by the names and shapes of the tensors; else None, with the reason if one was near."""
    state = stored.tensors
    for cls, signs, sizes in ARCHITECTURES:
        if state.keys() >= signs:
            try:
                net: Generator = cls(**sizes(state))
            except SIZE_ERRORS as error:
                return None, f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            return net, ""
    return None, ""


def _from_spandrel(stored: LoadedWeights, key: str, reason: str) -> Generator:
    """The network, with its weights, as spandrel finds it; Mistake if it does not, or is not installed.

    `reason` tells why the network is none of this program's.
    """
    more = "spandrel, which pip install 'wildsr[zoo]' brings, may know it"
    if is_installed():
        try:
            return detected(stored.tensors, "spandrel").eval()
        except (ValueError, Mistake) as error:  # the latter where its torchvision does not import
            more = str(error).rstrip(".")
    known = f"{key}: {stored.place} is no generator that this program knows"
    if reason:
        raise Mistake(f"{known}: {reason}.")
    begin = ", ".join(list(stored.tensors)[:3])
    raise Mistake(f"{known} ({', '.join(CLASSES)}); its tensors begin with {begin}; {more}.")


def generator_section(stored: LoadedWeights) -> str | None:
    """The `generator` section that takes all of these weights, by their configuration or shapes; None if unknown."""
    config = stored.config or {}
    if config.get("_class_name") == SpandrelNetwork.__name__:
        return f"{{type: spandrel, arch: {config.get('arch')}, arguments: {config.get('arguments')}}}"
    cls, sizes = config.get("_class_name"), {name: value for name, value in config.items() if name[0] != "_"}
    if cls not in CLASSES:
        try:
            cls, sizes = next((known.__name__, sizes_of(stored.tensors)) for known, signs, sizes_of in ARCHITECTURES
                              if stored.tensors.keys() >= signs)  # fmt: skip
        except (StopIteration, *SIZE_ERRORS):
            return None
    elif cls == ImportedNetwork.__name__:
        cls, sizes = "module", {"path": config.get("path")}
    inner = {name: value for name, value in sizes.items() if name not in OF_THE_RUN}
    words = ", ".join(f"{name}: {value}" for name, value in {"type": cls, **inner}.items())
    scale = f" with scale: {sizes['scale']}" if "scale" in sizes else ""
    return f"{{{words}}}{scale}"


def _rrdb(state: State) -> Sizes:
    width, read_bands = state["conv_first.weight"].shape[:2]
    bands = state["conv_last.weight"].shape[0]
    unshuffles = {bands * side**2: side for side in (1, 2, 4)}
    if read_bands not in unshuffles:
        raise ValueError(f"its first convolution reads {read_bands} channels and its last writes {bands}")
    return {
        "scale": 4 // unshuffles[read_bands],
        "num_in_ch": bands,
        "num_out_ch": bands,
        "num_feat": width,
        "num_block": _count(state, "body"),
        "num_grow_ch": state["body.0.rdb1.conv1.weight"].shape[0],
    }


def _compact(state: State) -> Sizes:
    width, bands = state["body.0.weight"].shape[:2]
    last = _count(state, "body") - 1
    if "body.1.weight" not in state:
        raise ValueError("its activations have no weights, so they are ReLU or LeakyReLU, and only a config.json tells")
    return {
        "scale": _side(state[f"body.{last}.weight"].shape[0], bands),
        "num_in_ch": bands,
        "num_out_ch": bands,
        "num_feat": width,
        "num_conv": last // 2 - 1,
    }


def _shuffle_rrdb(state: State) -> Sizes:
    width, bands = state["head.weight"].shape[:2]
    steps = [value.shape[0] for name, value in state.items() if name.startswith("upsampler.") and value.ndim == 4]
    return {
        "scale": math.prod(_side(channels, width) for channels in steps),
        "num_in_ch": bands,
        "num_out_ch": state["tail.2.weight"].shape[0],
        "n_channels": width,
        "n_blocks": _count(state, "body"),
        "growth_channels": state["body.0.rdb1.conv1.weight"].shape[0],
    }


def _old_rrdb(_: State) -> Sizes:
    raise ValueError("it is an ESRGAN of the old layout that does not upsample twice, as RRDBNet does")


def _srresnet(_: State) -> Sizes:
    raise ValueError("it is an SRResNet, whose res_scale is in no tensor; open the folder that has its config.json")


ARCHITECTURES: tuple[tuple[Any, set[str], Callable[[State], Sizes]], ...] = (
    (RRDBNet, {"conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"}, _rrdb),
    (ShuffleRRDBNet, {"head.weight", "body.0.rdb1.conv1.weight", "tail.2.weight"}, _shuffle_rrdb),
    (SRVGGNetCompact, {"body.0.weight", "body.2.weight"}, _compact),
    (RRDBNet, {"model.1.sub.0.RDB1.conv1.0.weight"}, _old_rrdb),
    (SRResNet, {"head.0.weight", "body_tail.weight"}, _srresnet),
)
"""Each architecture, the tensors by which it is recognised, and the function that reads its sizes from the shapes."""


def _count(state: State, stack: str) -> int:
    """Number of numbered layers in `stack`; ValueError if there are fewer tensors than that."""
    layers = {int(name.split(".")[1]) for name in state if name.startswith(f"{stack}.")}
    if max(layers) > len(state):
        raise ValueError(
            f"its layers {stack} have the numbers {min(layers)} to {max(layers)}, and there are {len(layers)}"
        )
    return 1 + max(layers)


def _side(channels: int, bands: int) -> int:
    """The factor of a pixel shuffle from `channels` to `bands`; ValueError if there is none."""
    side = math.isqrt(channels // bands)
    if bands * side**2 != channels:
        raise ValueError(f"{channels} channels do not shuffle into {bands}")
    return side
