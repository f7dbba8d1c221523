"""Read state dicts: where weights lie, how files pack them, and how their layers were named."""

import json
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainer.checkpoints.names import EMA_WEIGHTS
from trainer.checkpoints.store import Checkpoints
from trainer.distributed.waiting import WATCH
from trainer.files.paths import check_path, is_absent
from trainer.images.opened import kind_of
from trainer.mistakes import Mistake

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
FILES = (".pth", ".pt", ".ckpt", ".safetensors")
WRAPPERS = ("module.", "_orig_mod.", "ema_model.", "netG.", "netD.", "generator.")
PARTS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
"""Keys under which files keep the weights among other things: the average before the live ones."""

MOST_CONFIG_BYTES = 2**20
"""Bytes read of a `config.json`: no network's is longer, and a longer one, cut there, is no JSON."""

Role = Literal["generator", "discriminator"]
PLACES = {
    "generator": (WEIGHTS, f"export/{WEIGHTS}", EMA_WEIGHTS),
    "discriminator": (WEIGHTS, "discriminator.safetensors"),
}
"""Files in which a folder may hold each network, beside the newest checkpoint of a run."""

OLD_NAMES = (
    (re.compile(r"^model\.0\."), "conv_first."),
    (re.compile(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\."), r"body.\1.rdb\2.conv\3."),
    (re.compile(r"^model\.1\.sub\.\d+\.(?=weight|bias)"), "conv_body."),
    (re.compile(r"^model\.3\."), "conv_up1."),
    (re.compile(r"^model\.6\."), "conv_up2."),
    (re.compile(r"^model\.8\."), "conv_hr."),
    (re.compile(r"^model\.10\."), "conv_last."),
    (re.compile(r"^RRDB_trunk\.(\d+)\.RDB(\d)\."), r"body.\1.rdb\2."),
    (re.compile(r"^trunk_conv\."), "conv_body."),
    (re.compile(r"^upconv(\d)\."), r"conv_up\1."),
    (re.compile(r"^HRconv\."), "conv_hr."),
)
"""Names of layers in ESRGAN's first and second programs -> BasicSR's names."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """Weights read from a file, and their network's configuration if it is known."""

    tensors: dict[str, Tensor]
    """By BasicSR's names, or spandrel's where the configuration is of its, without the prefixes of wrappers."""
    config: dict[str, Any] | None
    """The network's configuration, of a `config.json` or of the metadata of an export."""
    place: str
    """The file, or the hub id."""


def read_state_dict(origin: str, key: str, role: Role = "generator", *, as_written: bool = False) -> LoadedWeights:
    """The weights at `origin`: a run folder, an export, a checkpoint, a file or a hub id; `as_written`, by its names.

    Raises Mistake, naming the configuration or command-line `key`, if nothing can be read.
    """
    check_path(origin, key)
    file = _find(origin, key, role)
    place = str(file) if Path(origin).exists() else origin
    content, metadata = content_of(file, key, place)
    config = _config(file, metadata)
    is_ours = config is not None and "_class_name" in config  # whose names are the network's own
    unpacked = {name: value for name, value in _unpacked(content).items() if isinstance(value, Tensor)}
    tensors = unpacked if as_written or is_ours else {_bare(name): value for name, value in unpacked.items()}
    if not tensors:
        raise Mistake(f"{key}: {place} holds no weights.")
    # spandrel's own ESRGAN has the older names
    as_written |= config is not None and config.get("_class_name") == "SpandrelNetwork"
    return LoadedWeights(tensors if as_written else basicsr_names(tensors), config, place)


def is_readable(origin: str) -> bool:
    """True if `origin` is a path here with weights that can be read."""
    try:
        return Path(origin).exists() and bool(read_state_dict(origin, "").tensors)
    except Mistake:
        return False


def check_finite(stored: LoadedWeights, key: str) -> None:
    """Mistake, naming the first such tensor, if a weight is no finite number in float32."""
    for name, value in stored.tensors.items():
        if not value.float().isfinite().all():
            raise Mistake(f"{key}: {stored.place} has numbers in {name} that are not finite; take an earlier save.")


def _find(origin: str, key: str, role: Role) -> Path:
    path = Path(origin)
    if path.is_file():
        return path
    if path.exists() and not path.is_dir():
        raise Mistake(f"{key}: {origin} is {kind_of(path)}; wanted a file or a folder.")
    if not path.is_dir():
        return _from_hub(origin, key)
    candidates = [path / place for place in PLACES[role]]
    checkpoints = Checkpoints(path / "checkpoints")
    if not any(file.is_file() for file in candidates) and (newest := checkpoints.newest()[0]) is not None:
        candidates += [checkpoints.path(newest) / place for place in PLACES[role]]
    for file in candidates:
        if file.is_file():
            return file
    raise Mistake(f"{key}: the folder {origin} holds no run, no export and no checkpoint with a {role}.")


def _from_hub(origin: str, key: str) -> Path:
    """Download an exported network; Mistake if `origin` is neither a path nor a repository that can be reached."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if "/" not in origin or is_absent(origin) or Path(origin).suffix in FILES:
        raise Mistake(f"{key}: {origin} does not exist.")
    try:
        with WATCH.phase(f"asking the hub for {origin} ({key})"):  # its client tries for half a minute, and says so
            weights = hf_hub_download(origin, WEIGHTS)  # first: a hub that is away is then asked once
        with suppress(EntryNotFoundError):  # the shapes will do
            hf_hub_download(origin, CONFIG)  # it then lies beside the weights
        return Path(weights)
    except Exception as error:  # the hub's client raises its own, httpx's and builtin errors
        raise Mistake(
            f"{key}: {origin} is no file or folder here, and the hub did not give it: {refusal(error, WEIGHTS)}."
        ) from error


def refusal(error: Exception, file: str) -> str:
    """Reason why the hub does not give `file`, by the kind of the error, whose message is whole paragraphs."""
    from huggingface_hub import errors

    reasons: dict[type[Exception], str] = {
        errors.GatedRepoError: "its authors ask for their consent on its page first",
        errors.RepositoryNotFoundError: "it has no such repository, or none that this token may read",
        errors.RemoteEntryNotFoundError: f"the repository has no {file}",
        errors.LocalEntryNotFoundError: "it cannot be reached, or HF_HUB_OFFLINE is set, and no copy was kept",
    }
    return next((reason for kind, reason in reasons.items() if isinstance(error, kind)), type(error).__name__)


def content_of(file: Path, key: str, place: str) -> tuple[Any, dict[str, str]]:
    """The content of a file, and a safetensors file's metadata. Pickles are opened without running code in them.

    Raises Mistake, which begins with `key` and calls the file `place`, if it is no file of weights.
    """
    try:
        return _content(file)
    except Exception as error:  # torch and safetensors raise half a dozen kinds for a file that is none of theirs
        raise Mistake(f"{key}: {place} cannot be read as weights: {_reason(file, error)}.") from error


def _reason(file: Path, error: Exception) -> str:
    """Reason why a file cannot be read, found by looking at it: the errors are about their readers' internals."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with file.open("rb") as opened:
        begin = opened.read(8)
    if not begin:
        return "it is empty"
    if begin.startswith((b"<", b"version ")):
        return "it is text: a web page, or a pointer of git-lfs in place of the file"
    if isinstance(error, safetensors.SafetensorError):
        return f"it is damaged, cut short or no safetensors file ({error})"
    if found := re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", str(error)):
        return f"it holds {found[1]}, which could run programs and is not opened; save the state dict alone"
    if begin.startswith((b"PK", b"\x80")):
        newer = re.search(r"Unsupported operand \d+", str(error))
        return (
            "its pickle is of a newer protocol; save it by torch.save's own" if newer else "it is damaged or cut short"
        )
    return "PyTorch did not write it"


def _content(file: Path) -> tuple[Any, dict[str, str]]:
    if file.suffix != ".safetensors":
        with warnings.catch_warnings():  # about a pickle that may fail to load, which raises an error anyway
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True), {}
    with safetensors.safe_open(file, framework="pt") as opened:
        metadata = opened.metadata() or {}
    return safetensors.torch.load_file(file), metadata


def _unpacked(content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        return {}
    return next((content[part] for part in PARTS if isinstance(content.get(part), Mapping)), content)


def _bare(name: str) -> str:
    """A tensor's name without the prefixes of wrappers."""
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def basicsr_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of ESRGAN's two older layouts to BasicSR's names; others stay as they are."""
    first, second = "model.1.sub.0.RDB1.conv1.0.weight", "RRDB_trunk.0.RDB1.conv1.weight"
    if second not in tensors and not (first in tensors and "model.10.weight" in tensors):
        return tensors
    return {_basicsr_name(name): value for name, value in tensors.items()}


def _basicsr_name(name: str) -> str:
    for pattern, replacement in OLD_NAMES:
        name, changed = pattern.subn(replacement, name)
        if changed:
            break
    return name


def _config(file: Path, metadata: dict[str, str]) -> dict[str, Any] | None:
    """The network's configuration: in the file, beside it, or for a checkpoint in the export of its run."""
    if "config" in metadata:
        return _parsed(metadata["config"])
    run = file.absolute().parent.parent.parent  # of a checkpoint's file
    config = {WEIGHTS: file.with_name(CONFIG), EMA_WEIGHTS: run / "export" / CONFIG}.get(file.name)
    if config is None or not config.is_file():
        return None
    with config.open("rb") as opened:
        return _parsed(opened.read(MOST_CONFIG_BYTES))


def _parsed(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object, or None if it is none: other programs use the file name too."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # the latter for endless brackets
        return None
    return content if isinstance(content, dict) else None
