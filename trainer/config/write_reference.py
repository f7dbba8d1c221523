"""Makes the reference of all configuration keys from the schema: `python -m trainer.config.write_reference`.

It writes `reference.json`, which `--explain` reads, and `configs/README.md`. The sentences are the docstrings of the
fields; a test compares both files with the schema.
"""

import ast
import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from trainer.config.annotations import bare_names, is_path, item, keys, members, options, short_form, tag
from trainer.config.reference import FILE, Alternative, Key, Reference, Repeated
from trainer.config.schema import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
NUMBERS = {2: "two", 3: "three"}
HEAD = """\
# Configurations

Made by `python -m trainer.config.write_reference`, as what `python -m trainer.run --explain [KEY]` prints: from the
fields of the configuration and their docstrings. Every key can be set in a file or as `key.path=value` behind it.

"""


def reference() -> Reference:
    """Every section of the configuration and its keys."""
    names: dict[type, str] = {}
    sections: dict[str, Any] = {}
    _add(RunConfig, "run", names, sections)
    return Reference(sections, dict(RunConfig.RENAMED_KEYS))


def _add(cls: type, name: str, names: dict[type, str], sections: dict[str, Any]) -> None:
    """Add a section to `sections` as `name`, then those that its keys may hold, each named by the first key with it."""
    names[cls] = name
    entries: dict[str, Any] = {}
    sections[name] = {"type": _own_type(cls), "sentence": _first_paragraph(inspect.getdoc(cls) or ""), "keys": entries}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key, hint in keys(cls).items():
        if key == "type" and _own_type(cls):
            continue
        inside = _sections_of(hint)
        entries[key] = {
            "type": in_words(hint),
            "default": _default(fields[key]),
            "sentence": _sentence(cls, key, inside),
        }
        for member in [member for member in inside if member not in names]:
            _add(member, f"{name}.{key}" + (f".{_own_type(member)}" if len(inside) > 1 else ""), names, sections)
        if inside:
            entries[key] |= {"sections": [names[member] for member in inside], "list": not members(hint)}


def _own_type(cls: type) -> str | None:
    """The only value of a section's `type`, which chooses it in a union; None if `type` is an option or absent."""
    return tag(cls) if len(get_args(keys(cls).get("type"))) == 1 else None


def _sections_of(hint: Any) -> list[type]:
    """The sections that a key may hold, or the entries of its list."""
    return members(hint) or (members(inside) if (inside := item(hint)) is not None else [])


def _sentence(cls: type, key: str, inside: list[type]) -> str:
    """The first paragraph of a key's docstring, or of its section's if it has none."""
    text = _docstrings(cls).get(key) or (inspect.getdoc(inside[0]) if len(inside) == 1 else None)
    if not text:
        raise ValueError(f"{cls.__module__}.{cls.__name__}.{key} has no docstring under its field")
    return _first_paragraph(text)


@cache
def _docstrings(cls: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass and of its bases."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if dataclasses.is_dataclass(owner):
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
            for line, after in pairwise(body):
                if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr):
                    found[line.target.id] = ast.literal_eval(after.value)  # type: ignore[union-attr]
    return found


def _first_paragraph(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].replace("``", "`").split())


def in_words(hint: Any) -> str:
    """The values that an annotation allows, in a user's words."""
    kinds = [kind for kind in options(hint) if kind is not NoneType]
    sections = members(hint)
    words = []
    if sections:
        tags = [json.dumps(tag(section)) for section in sections]
        words.append("section" if len(sections) == 1 else f"section with type {', '.join(tags)}")
    if short := short_form(hint):
        words.append(f"its {short[1]} alone")
    words += [_kind(kind) for kind in kinds if kind not in sections]
    return ", or ".join(words + ["null"] * (NoneType in options(hint)))


def _kind(kind: Any) -> str:
    """One type in words."""
    plain = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any value"}
    if is_path(kind):
        return "path"
    if get_origin(kind) is Literal:
        values = ", ".join(map(json.dumps, get_args(kind)))
        return f"one of {values}" if len(get_args(kind)) > 1 else values
    if get_origin(kind) is dict:
        return f"{_plural(item(kind))} by name"
    if get_origin(kind) is tuple:
        inside = item(kind)
        many = "" if inside is not None else f"{NUMBERS[len(get_args(kind))]} "
        return f"list of {many}{_plural(get_args(kind)[0])}"
    return plain[kind]


def _plural(hint: Any) -> str:
    """Several values of one type in words."""
    if several := members(hint):
        alone = f", or of {', '.join(names)} the names alone" if (names := bare_names(hint)) else ""
        return f"sections with type {', '.join(json.dumps(tag(section)) for section in several)}{alone}"
    if get_origin(hint) is dict:
        return "mappings"
    words = in_words(hint)
    return words.replace("list", "lists", 1) if words.startswith("list") else f"{words}s"


def _default(field: "dataclasses.Field[Any]") -> str | None:
    """The default as YAML; of a section, only values that differ from its keys' own defaults."""
    if field.default_factory is not dataclasses.MISSING:
        return _value(field.default_factory())
    return None if field.default is dataclasses.MISSING else _value(field.default)


def _value(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w.:/-]+", value) else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {field.name: _default(field) for field in dataclasses.fields(value)}
        differing = {key: part for key in own if _value(part := getattr(value, key)) != own[key]}
        kind = {"type": name} if (name := _own_type(type(value))) else {}
        return _value(kind | differing)
    return json.dumps(value)


def page() -> str:
    """The text of configs/README.md."""
    parts = [HEAD, "## Files\n\n| file | |\n|---|---|\n", *map(_file, sorted(CONFIGS.rglob("*.*")))]
    whole = reference()
    entries = whole.sections[whole.whole]["keys"]
    alone = [key for key, entry in entries.items() if not entry.get("sections")]
    for heading, names in (("The run", alone), *((key, [key]) for key in entries if key not in alone)):
        parts.append(f"\n## {heading}\n")
        parts += _tables(part for name in names for part in whole.entry(name, entries[name]))
    return "".join(parts)


def _tables(items: Iterable[Key | Alternative | Repeated]) -> Iterator[str]:
    """Entries of the reference in Markdown: keys as tables, the rest as lines between them."""
    in_table = False
    for part in items:
        if isinstance(part, Key) and not in_table:
            yield "\n| key | values | default | |\n|---|---|---|---|\n"
        in_table = isinstance(part, Key)
        yield _row(part)


def _file(path: Path) -> str:
    """The line of a shipped file: its first comment."""
    if path.suffix not in (".yaml", ".txt"):
        return ""
    name, first = path.relative_to(CONFIGS), path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return f"| [{name}]({name}) | {_cell(first)} |\n"


def _row(part: Key | Alternative | Repeated) -> str:
    """An entry of the reference in Markdown: a row of a table, or the line between two tables."""
    if isinstance(part, Key):
        default = "must be given" if part.default is None else f"`{part.default}`"
        return f"| `{part.path}` | {_cell(part.type)} | {_cell(default)} | {_cell(part.sentence)} |\n"
    if isinstance(part, Alternative):
        return f"\n**`{part.path}.type: {part.tag}`** {_cell(part.sentence)}\n"
    kinds = f" with type {', '.join(f'`{kind}`' for kind in part.tags)}" if part.tags else ""
    return f"\n`{part.path}.*`{kinds}: the keys of `{part.elsewhere}`.\n"


def _cell(text: str) -> str:
    """Text escaped for a cell: a bar would end it, a star outside code would begin italics."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else re.sub(r"([*<])", r"\\\1", part) for number, part in enumerate(parts))


def text_of(whole: Reference) -> str:
    """The content of `reference.json`, a line for each value."""
    return (
        json.dumps({"sections": whole.sections, "renamed_keys": whole.renamed_keys}, indent=1, ensure_ascii=False)
        + "\n"
    )


if __name__ == "__main__":
    FILE.write_text(text_of(reference()), encoding="utf-8")
    (CONFIGS / "README.md").write_text(page(), encoding="utf-8")
