"""The reference of all configuration keys, read from `reference.json` beside this file: `--explain` prints it.

The file is made from the schema by `python -m trainer.config.write_reference`; reading it takes no torch.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.mistakes import Mistake, suggestion

FILE = Path(__file__).with_name("reference.json")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its dotted path, its values in words, and its sentence."""

    path: str
    type: str
    default: str | None
    """As YAML; None where the key must be given."""
    sentence: str

    @property
    def fallback(self) -> str:
        """The default in words."""
        return "must be given" if self.default is None else f"default {self.default}"


@dataclass(frozen=True, slots=True)
class Alternative:
    """The heading of the keys that exist with one `type`."""

    path: str
    tag: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Repeated:
    """A reference to sections whose keys are listed at another path already."""

    path: str
    tags: tuple[str, ...]
    elsewhere: str


@dataclass(slots=True)
class Reference:
    """All sections of the configuration by name; the first is the root."""

    sections: dict[str, Any]
    renamed_keys: dict[str, str]
    """See `trainer.config.renamed_keys`."""
    listed: dict[str, str] = field(default_factory=dict)
    """Section -> the path at which its keys were listed first."""

    @property
    def whole(self) -> str:
        """The root section, which holds all others."""
        return next(iter(self.sections))

    def below(self, names: list[str], path: str) -> Iterator[Key | Alternative | Repeated]:
        """The keys of the sections `names`, which a key at `path` may hold, and of those below; each section once."""
        known = [name for name in names if name in self.listed]
        for place in dict.fromkeys(self.listed[name] for name in known if self.listed[name] != path):
            tags = (self.sections[name]["type"] for name in known if self.listed[name] == place)
            yield Repeated(path, tuple(tag for tag in tags if tag and len(names) > 1), place)
        for name in [name for name in names if name not in known]:
            section = self.sections[name]
            self.listed[name] = path
            if len(names) > 1:
                yield Alternative(path, section["type"], section["sentence"])
            for key, entry in section["keys"].items():
                yield from self.entry(f"{path}.{key}".lstrip("."), entry)

    def entry(self, path: str, entry: Any) -> Iterator[Key | Alternative | Repeated]:
        """One key and those below it."""
        yield Key(path, entry["type"], entry["default"], entry["sentence"])
        if inside := entry.get("sections"):
            yield from self.below(inside, f"{path}.N" if entry.get("list") else path)

    def found(self, wanted: str) -> Iterator[Key | Alternative | Repeated]:
        """The key at a dotted path, with each `type` that has it, and those below; Mistake where there is none."""
        places: list[tuple[str, str, Any]] = [("", "", {"sections": [self.whole]})]
        for part in wanted.split("."):
            above = places
            places = [place for path, _, entry in above for place in self._step(path, entry, part)]
            if not places:
                raise Mistake(self._unknown(wanted, part, above))
        for path, owner, entry in places:
            if owner:
                section = self.sections[owner]
                yield Alternative(path.rpartition(".")[0], section["type"], section["sentence"])
            self.listed.clear()
            yield from self.entry(path, entry)

    def _step(self, path: str, entry: Any, part: str) -> Iterator[tuple[str, str, Any]]:
        """The keys called `part` below a key: for each its path, its section if there are several, and its entry."""
        if entry.get("list"):
            path, entry = f"{path}.N", entry | {"list": False}
            if part.isdecimal() or part == "N":
                yield path, "", entry
                return
        names = entry.get("sections", [])
        for name in names:
            if below := self.sections[name]["keys"].get(part):
                yield f"{path}.{part}".lstrip("."), name if len(names) > 1 else "", below

    def _unknown(self, wanted: str, part: str, above: list[tuple[str, str, Any]]) -> str:
        """The error for a key that does not exist, with the nearest ones that do."""
        path = above[0][0]
        names = [name for _, _, entry in above for name in entry.get("sections", [])]
        allowed = list(dict.fromkeys(key for name in names for key in self.sections[name]["keys"]))
        if not allowed:
            return f"{wanted}: no such key; {path} has none below it."
        if part in self.renamed_keys:
            advice = f"here it is {self.renamed_keys[part]}."
        elif same := [key for key in self._paths() if key.endswith(f".{part}")]:
            advice = f"did you mean {' or '.join(map(repr, same[:3]))}?"
        else:
            advice = f"{suggestion(part, allowed)}."
        return f"{f'{path}.{part}'.lstrip('.')}: no such key; {advice}"

    def _paths(self) -> list[str]:
        """The paths of all keys, each where it is listed first."""
        self.listed.clear()
        return [item.path for item in self.below([self.whole], "") if isinstance(item, Key)]


def read() -> Reference:
    """Read `reference.json`."""
    return Reference(**json.loads(FILE.read_text(encoding="utf-8")))


def explain(wanted: str) -> str:
    """All keys, or the one at the dotted path `wanted` and those below it, as text; Mistake where there is none."""
    reference = read()
    items = reference.found(wanted) if wanted else reference.below([reference.whole], "")
    return "\n".join(line for item in items for line in _lines(item)) + "\n"


def _lines(item: Key | Alternative | Repeated) -> Iterator[str]:
    """The lines of one entry of the reference."""
    if isinstance(item, Repeated):
        kinds = f" with type {', '.join(item.tags)}" if item.tags else ""
        yield f"{item.path}.*{kinds}: the keys of {item.elsewhere}"
        return
    if isinstance(item, Alternative):
        yield f"with {item.path}.type: {item.tag}"
    else:
        yield f"{item.path}: {item.type}; {item.fallback}"
    indent = " " * 4
    yield from textwrap.wrap(
        item.sentence, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
