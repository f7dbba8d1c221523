"""Redaction of a configuration before it is published: names on the hub stay, local folders are removed."""

import re
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from trainer.images.hub_dataset import GLOB
from trainer.images.sources import Package

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
FILES = frozenset({".parquet", ".pt", ".pth", ".safetensors", ".tar"})
LOCAL_KEYS = frozenset({"output_dir", "gt", "list", "lq", "data_files"})
LOCAL_TYPES = frozenset({"folder", "lq", "pairs"})
NO_PLACES = frozenset({"hub", "metric"})
"""Fields whose slash is not a path's: the run's own repository, and the metric that a plateau watches."""


def redact_paths(tree: Any, is_local: bool = False) -> Any:
    """A configuration's tree with every path cut to its last part.

    Names on the hub stay whole, except in sections and keys that are always local: `is_local`, or by key or type.
    """
    if isinstance(tree, dict):
        inside = is_local or tree.get("type") in LOCAL_TYPES
        return {key: redact_paths(value, inside or key in LOCAL_KEYS) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [redact_paths(value, is_local) for value in tree]
    if isinstance(tree, str) and re.search(r"[/\\]", tree) and (is_local or not is_hub_id(tree)):
        return PureWindowsPath(tree).name  # both separators
    return tree


def hub_id(source: Any) -> str | None:
    """The name of the dataset on the hub that a source reads; None for any other source."""
    path = getattr(source, "path", "")
    return path if source.type in ("dataset", "dataset_pairs", "stream") and is_hub_id(path) else None


def is_hub_id(text: str) -> bool:
    """True if `text` has the form of a name on the hub and no such local path exists."""
    return _reads_as_hub_id(text) and not Path(text).exists()


def _reads_as_hub_id(text: str) -> bool:
    return bool(HUB_ID.fullmatch(text)) and PurePath(text).suffix not in FILES


def hub_names(part: Any) -> set[str]:
    """All names on the hub, see `is_hub_id`, in a configuration or a part of one."""
    if isinstance(part, str):
        return {part} if is_hub_id(part) else set()
    inside = part if isinstance(part, list | tuple) else _values_with_places(part).values()
    return {name for value in inside for name in hub_names(value)}


def freeze_hub_ids(part: Any, names: Collection[str]) -> Any:
    """A configuration with `./` before every text that looks like a name on the hub but is a path: not in `names`.

    `names` are those that the run found on the hub when it started. Absence of a local path proves nothing, as the run
    or its data may have been moved since.
    """
    if isinstance(part, str):
        return f"./{part}" if _reads_as_hub_id(part) and part not in names else part
    if isinstance(part, list | tuple):
        return type(part)(freeze_hub_ids(value, names) for value in part)
    inside = {key: freeze_hub_ids(value, names) for key, value in _values_with_places(part).items()}
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **inside)
    return inside if isinstance(part, dict) else part


def _values_with_places(part: Any) -> dict[str, Any]:
    """The values of a section without fields of `NO_PLACES`, or those of a mapping; none for another value."""
    if is_dataclass(part):
        return {field.name: getattr(part, field.name) for field in fields(part) if field.name not in NO_PLACES}
    return part if isinstance(part, dict) else {}


def disjoint(one: Any, other: Any) -> bool:
    """True if two sources can share no picture, as far as their names and paths show.

    True for two packages or different files of one, two datasets or different splits of one, and two folders of which
    neither contains the other.
    """
    if isinstance(one, Package) and isinstance(other, Package):
        same = (one.package, one.folder) == (other.package, other.folder)
        return not same or set(one.files).isdisjoint(other.files)
    if (name := hub_id(one)) and name == hub_id(other):
        chosen = [getattr(source, "data_files", None) for source in (one, other)]
        return one.split != other.split and chosen == [None, None]  # with data_files the split is only a label
    return not any(
        mine == theirs or mine in theirs.parents or theirs in mine.parents
        for mine in _places(one)
        for theirs in _places(other)
    )


def _places(source: Any) -> Iterator[Path]:
    """The folders and files that a source reads from, a pattern's as far as it is fixed."""
    for key in ("path", "gt", "lq"):
        if path := getattr(source, key, None):
            parts = Path(path).parts
            fixed = next((number for number, part in enumerate(parts) if GLOB & set(part)), len(parts))
            yield Path(*parts[:fixed]).resolve()
