"""Location of pretrained weights: a file, a hub repository, or torchvision's own file in torch's cache."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from trainer.distributed.waiting import WATCH
from trainer.files.paths import check_path, is_absent
from trainer.images.opened import kind_of
from trainer.mistakes import Mistake
from trainer.networks.loading.state_dicts import content_of, refusal

HUB_FILE = "model.safetensors"
ADDRESS = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """A file of torchvision's weights for ImageNet; its name ends with the first digits of its SHA-256."""

    name: str
    size: str

    @property
    def digits(self) -> str:
        """The first digits of its checksum."""
        return self.name.removesuffix(".pth").rpartition("-")[2]

    @property
    def place(self) -> Path:
        """The path where torch, and so torchvision, keeps it."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.name

    def is_meant_by(self, origin: str | None) -> bool:
        """True for null and for a path that ends with the file's name: these are verified by the checksum."""
        return origin is None or Path(origin).name == self.name

    def advice(self) -> str:
        """Where to get it, for a Mistake."""
        return (
            f"Wanted is torchvision's file {ADDRESS}{self.name} ({self.size}); where there is no network, download it "
            f"beforehand to {self.place}, or give its path."
        )


def located_official(official: OfficialFile, origin: str | None, key: str, download: bool) -> Path:
    """The path of torchvision's file, at `origin` or in torch's cache, with its checksum verified.

    With `download` it may be fetched, which one process does before the others. Raises Mistake, naming the `key`, where
    it is absent or has another content.
    """
    if origin is None and download and not official.place.exists():
        _download(official, key)
    path = official.place if origin is None else located(origin, key, download, official.advice())
    if not path.is_file():
        raise Mistake(f"{key}: {path} does not exist. {official.advice()}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(official.digits):
        raise Mistake(
            f"{key}: {path} is not torchvision's file of that name: its SHA-256 begins with {found[:8]}. Give other "
            "weights another name, and figures by them are named so too."
        )
    return path


def _download(official: OfficialFile, key: str) -> None:
    official.place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with WATCH.phase(f"downloading {official.name} ({key})"):
            torch.hub.download_url_to_file(ADDRESS + official.name, str(official.place), official.digits, False)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: another checksum
        reason = getattr(error, "reason", None) or error
        raise Mistake(f"{key}: {official.name} could not be downloaded: {reason}. {official.advice()}") from error


def located(origin: str, key: str, download: bool, advice: str) -> Path:
    """The file at `origin`, a path or a hub id, of which the hub is asked only with `download`.

    Raises Mistake, naming the `key` and ending with `advice`, where there is none.
    """
    check_path(origin, key)
    path = Path(origin)
    if path.is_file():
        return path
    if path.exists():
        raise Mistake(f"{key}: {origin} is {kind_of(path)}; wanted a file. {advice}")
    if path.suffix in (".pth", ".pt", ".safetensors") or "/" not in origin or is_absent(origin):
        raise Mistake(f"{key}: {origin} does not exist. {advice}")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(origin, HUB_FILE, local_files_only=not download))
    except Exception as error:  # the hub's client raises its own, httpx's and builtin errors
        raise Mistake(
            f"{key}: {origin} is no file here, and the hub did not give its {HUB_FILE}: {refusal(error, HUB_FILE)}. "
            f"{advice}"
        ) from error


def tensors_of(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a file by name; Mistake, naming the `key`, where it cannot be read."""
    content, _ = content_of(path, key, str(path))
    found = content.items() if isinstance(content, Mapping) else ()
    return {name: value for name, value in found if isinstance(value, Tensor)}
