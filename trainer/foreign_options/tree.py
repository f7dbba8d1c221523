"""Typed access to another program's options during translation, with a record of keys read and messages."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from trainer.mistakes import Mistake

Tree = dict[str, Any]
WORDS = {"yes": True, "on": True, "no": False, "off": False}
"""Booleans of YAML 1.1, in lower, upper or title case, as upstream's readers take them; ours leaves them text."""
NOTHING = "no counterpart, and no effect here"


@dataclass(slots=True)
class Options:
    """The options of another program, with a record of the keys that were read and of messages for the user."""

    tree: Tree
    program: str
    """Name of the program."""
    reasons: Mapping[str, str]
    """Reasons for keys, or whole sections, without a counterpart."""
    notes: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def get(self, path: str, default: Any = None) -> Any:
        """The option at a dotted path; `default` where it is absent or null."""
        self.read.add(path)
        place: Any = self.tree
        for key in path.split("."):
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, str) and place in (place.lower(), place.upper(), place.title()):
            place = WORDS.get(place.lower(), place)
        return default if place is None else place

    def need(self, path: str) -> Any:
        """The option at a dotted path; Mistake where it is absent or null."""
        value = self.get(path)
        if value is None:
            raise Mistake(f"{path}: must be given, as {self.program} needs it too.")
        return value

    def text(self, path: str, default: str | None = None) -> str | None:
        """An option that is a name or a path; Mistake where it is several."""
        value: str | None = self.get(path, default)
        if isinstance(value, list | dict):
            raise Mistake(f"{path}: got {value!r:.160}; must be one name or path.")
        return value

    def needed_text(self, path: str) -> str | None:
        """An option that is a name or a path; Mistake where it is absent or several."""
        self.need(path)
        return self.text(path)

    def integer(self, path: str, default: int | None = None) -> int:
        """An integer option, also from an integral float: upstream writes `!!float 5e3` for 5000."""
        return integer(path, self.need(path) if default is None else self.get(path, default))

    def number(self, path: str, default: float | None = None) -> float:
        """An int or float option; Mistake for any other type."""
        value = self.need(path) if default is None else self.get(path, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Mistake(f"{path}: got {value!r}; must be a number.")
        return value

    def section(self, path: str) -> list[str]:
        """The keys of a section, none where it is absent or null. They count as unread."""
        place: Any = self.tree
        for key in path.split("."):
            place = place.get(key) if isinstance(place, dict) else None
        return list(map(str, place)) if isinstance(place, dict) else []

    def skip(self, path: str, reason: str = "") -> None:
        """Mark an option, or a section, as read; where it is given, note `reason`, if any."""
        if self.get(path) is not None and reason:
            self.note(path, reason)

    def among(self, path: str, known: dict[str, str], default: str) -> str:
        """Our value for upstream's, by `known`; for an unknown one a note, and the value for `default`."""
        value = self.get(path, default)
        if not isinstance(value, str) or value not in known:
            self.note(path, f"got {value}; here there are {', '.join(known)}, and {default} is taken")
            return known[default]
        return known[value]

    def expect(self, path: str, wanted: Any) -> None:
        """Note an option that differs from `wanted`, the only value supported here."""
        if (value := self.get(path, wanted)) != wanted:
            self.note(path, f"got {value}; here it is always {wanted}")

    def note(self, path: str, reason: str) -> None:
        """Add a message about an option."""
        self.notes.append(f"{path}: {reason}")

    def unread(self) -> Iterator[str]:
        """Dotted paths of options with a value that were never read; a section with one reason appears once."""
        yielded = set()
        for path in self._leaves(self.tree, ""):
            parts = path.split(".")
            above = [".".join(parts[: n + 1]) for n in range(len(parts))]
            if self.read.isdisjoint(above):
                name = next((part for part in above if part in self.reasons), path)
                if name not in yielded:
                    yielded.add(name)
                    yield name

    def messages(self) -> list[str]:
        """All messages for the user: the notes, then each option without a counterpart, with the reason."""
        return self.notes + [f"{path}: {self.reasons.get(path, NOTHING)}" for path in self.unread()]

    def _leaves(self, tree: Any, path: str) -> Iterator[str]:
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield from self._leaves(value, f"{path}.{key}" if path else str(key))
        elif tree is not None:
            yield path


def deciding_options(tree: Tree, translate: Callable[[Tree], tuple[Tree, Any]], key: str) -> list[str]:
    """Paths of the options in `tree` that decide the value of our dotted `key`: changing one changes that value."""
    before = repr(_at(translate(tree)[0], key))
    found = []
    for path in Options(tree, "", {})._leaves(tree, ""):
        changed = copy.deepcopy(tree)
        *above, last = path.split(".")
        place = _at(changed, ".".join(above))
        if not isinstance(place, dict) or last not in place:  # a key with a dot in it
            continue
        place[last] = _another(place[last])
        with suppress(Mistake):
            after = _at(translate(changed)[0], key)
            if after is not None and repr(after) != before:
                found.append(path)
    return found


def foreign_name(tree: Tree, translate: Callable[[Tree], tuple[Tree, Any]], key: str, message: str) -> str:
    """Our dotted `key`, which an error `message` is about, named by the other program's options in `tree`."""
    word = message.split()[0].rstrip(":")
    ours = translate(tree)[0]
    if isinstance(section := _at(ours, key), dict) and word in section:  # a section's own check names its key first
        key = f"{key}.{word}" if key else word
    while _at(ours, key) is None and "." in key:  # an entry of a list
        key = key.rpartition(".")[0]
    theirs = deciding_options(tree, translate, key) if _at(ours, key) is not None else []
    if not theirs:
        return f"here {key}"
    return key if theirs == [key] else f"{' and '.join(theirs)} (here {key})"


def _at(tree: Any, path: str) -> Any:
    """The value at a dotted path, the tree itself for an empty path; None where it is absent."""
    for key in path.split(".") if path else ():
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _another(value: Any) -> Any:
    """A different value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if math.isfinite(value) else 1.0
    return [*value, *(value[-1:] or [1])] if isinstance(value, list) else f"{value}x"


def integer(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise Mistake(f"{path}: got {value!r}; must be a whole number.")
    return int(value)
