"""The options of another program, while they are translated: what was read of them, and what is to be said."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.mistakes import Mistake

Tree = dict[str, Any]
WORDS = {"yes": True, "on": True, "no": False, "off": False}
"""What their readers take for true and false, by YAML 1.1, in lower, upper or title case; ours leaves it text."""
NOTHING = "no counterpart, and no effect here"


@dataclass(slots=True)
class Options:
    """The options of another program, which remember what was read of them and what is to be said."""

    tree: Tree
    program: str
    """Whose they are."""
    reasons: Mapping[str, str]
    """Why a key, or a section, has no counterpart."""
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
        """The same; Mistake where it is absent."""
        value = self.get(path)
        if value is None:
            raise Mistake(f"{path}: must be given, as {self.program} needs it too.")
        return value

    def whole(self, path: str, default: int | None = None) -> int:
        """An option that counts: upstream writes `!!float 5e3` for 5000."""
        return whole(path, self.need(path) if default is None else self.get(path, default))

    def number(self, path: str, default: float | None = None) -> float:
        """An option that is a number."""
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
        """Take an option, or a section, for read, and say why it has no counterpart where it is there."""
        if self.get(path) is not None and reason:
            self.note(path, reason)

    def among(self, path: str, known: dict[str, str], default: str) -> str:
        """Our word for one of upstream's; a note and ours for `default` where we have none."""
        value = self.get(path, default)
        if not isinstance(value, str) or value not in known:
            self.note(path, f"got {value}; here there are {', '.join(known)}, and {default} is taken")
            return known[default]
        return known[value]

    def expect(self, path: str, wanted: Any) -> None:
        """Say so where an option that can have one value here has another."""
        if (value := self.get(path, wanted)) != wanted:
            self.note(path, f"got {value}; here it is always {wanted}")

    def note(self, path: str, reason: str) -> None:
        """Remember to say something of an option."""
        self.notes.append(f"{path}: {reason}")

    def unread(self) -> Iterator[str]:
        """Dotted paths of what has a value and was never asked for, as high in the tree as the reason is one."""
        said = set()
        for path in self._leaves(self.tree, ""):
            parts = path.split(".")
            above = [".".join(parts[: n + 1]) for n in range(len(parts))]
            if self.read.isdisjoint(above):
                name = next((part for part in above if part in self.reasons), path)
                if name not in said:
                    said.add(name)
                    yield name

    def told(self) -> list[str]:
        """All that is to be said: the notes, then what has no counterpart, with the reason."""
        return self.notes + [f"{path}: {self.reasons.get(path, NOTHING)}" for path in self.unread()]

    def _leaves(self, tree: Any, path: str) -> Iterator[str]:
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield from self._leaves(value, f"{path}.{key}" if path else str(key))
        elif tree is not None:
            yield path


def whole(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise Mistake(f"{path}: got {value!r}; must be a whole number.")
    return int(value)
