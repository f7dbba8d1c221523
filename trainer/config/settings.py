"""The settings of a run, each with its default and its sentence, from a configuration's tree and `reference.json`.

No torch: the page of a run and the table of a sweep's hyper-parameters are made from this.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config.reference import read
from trainer.files.bounded_yaml import parsed, shown

ABSENT = object()
NOT_COMPARED = frozenset({"name", "output_dir"})
"""Keys that every run of a sweep has its own of."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a configuration."""

    path: str
    """Dotted, with the number of an entry of a list: degradation.steps.0.type."""
    value: Any
    default: str
    """The default in words: its YAML, or "must be given"."""
    differs: bool
    """True if the value is not the default; a key without a default always differs."""
    sentence: str
    """Empty for a key that this version does not know."""


def settings(tree: Mapping[str, Any]) -> list[Setting]:
    """The settings of a resolved configuration, in its order; a section that is absent is one setting, null."""
    reference, plain = read(), json.loads(json.dumps(tree))  # a tuple is a list in YAML
    return list(_below("", plain, reference.whole, {}, reference.sections))


def hyper_parameters(tree: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """The settings that differ from their defaults, by path, as a tracker compares runs by; lists as YAML text."""
    chosen = {one.path: one.value for one in settings(tree) if one.differs and one.path not in NOT_COMPARED}
    return {
        path: value if isinstance(value, bool | int | float | str) else shown(value) for path, value in chosen.items()
    }


def _below(
    path: str, tree: Mapping[str, Any], name: str, defaults: Mapping[str, Any], sections: Mapping[str, Any]
) -> Iterator[Setting]:
    """The settings of the section called `name`; `defaults` are the values that its owner gives its keys."""
    section = sections[name]
    for key, value in sorted(tree.items(), key=lambda item: item[0] != "type"):
        place = f"{path}.{key}".lstrip(".")
        if key == "type" and section["type"]:
            default = defaults.get("type", ABSENT)
            words = "must be given" if default is ABSENT else str(default)
            yield Setting(place, value, words, value != default, section["sentence"])
        elif entry := section["keys"].get(key):
            default = defaults.get(key, ABSENT if entry["default"] is None else parsed(entry["default"]))
            yield from _one(place, value, entry, default, sections)
        else:
            yield Setting(place, value, "unknown to this version", True, "")


def _one(path: str, value: Any, entry: Any, default: Any, sections: Mapping[str, Any]) -> Iterator[Setting]:
    """The settings at one key: its own, or those of the sections that it holds."""
    inside = entry.get("sections", [])
    parts = (
        {f"{path}.{number}": part for number, part in enumerate(value)} if isinstance(value, list) else {path: value}
    )
    known = {place: _section(part, inside, sections) for place, part in parts.items()}
    if not inside or not parts or not all(known.values()):
        words = "must be given" if default is ABSENT else shown(default)
        yield Setting(path, value, words, default is ABSENT or value != default, entry["sentence"])
        return
    for place, part in parts.items():
        name = known[place]
        assert name
        own = default if isinstance(default, dict) else {}
        if own.get("type") != sections[name]["type"]:  # another kind of section: its keys have their own defaults
            own = {key: kind for key, kind in own.items() if key == "type"}
        yield from _below(place, part, name, own, sections)


def _section(value: Any, names: list[str], sections: Mapping[str, Any]) -> str | None:
    """The one of the sections `names` that a value is; None for a value that is no section."""
    if not isinstance(value, dict):
        return None
    tags = {sections[name]["type"]: name for name in names}
    return tags.get(value.get("type"), names[0] if len(names) == 1 else None)
