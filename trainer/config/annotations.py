"""Annotations of configuration keys: sections, the `type` that chooses one, lists, text and paths."""

import dataclasses
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from trainer.files.paths import PATH


def options(hint: Any) -> tuple[Any, ...]:
    """The members of a union; of another annotation, `hint` alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def members(hint: Any) -> list[type]:
    """The sections, which are dataclasses, that a key's annotation allows."""
    return [part for part in options(hint) if isinstance(part, type) and dataclasses.is_dataclass(part)]


def may_be_null(hint: Any) -> bool:
    """True if the annotation allows null."""
    return type(None) in options(hint)


def is_text(hint: Any) -> bool:
    """True if the annotation allows any text, and besides it at most null."""
    kinds = [part for part in options(hint) if part is not type(None)]
    return bool(kinds) and all(kind is str or is_path(kind) for kind in kinds)


def is_path(hint: Any) -> bool:
    """True if the annotation is of a path, or of a path or null."""
    return any(get_origin(part) is Annotated and PATH in get_args(part)[1:] for part in options(hint))


def alternatives(hint: Any) -> str:
    """The values that an annotation of several plain types allows, in words; empty for any other annotation."""
    kinds = [kind for kind in options(hint) if kind is not type(None)]
    plain = all(kind in (int, float, str, bool) or get_origin(kind) is Literal for kind in kinds)
    return " or ".join(_in_words(kind) for kind in kinds) if plain and len(kinds) > 1 else ""


def item(hint: Any) -> Any:
    """The annotation of a list's elements or a mapping's values; None if `hint` is of neither."""
    for part in options(hint):
        arguments = get_args(part)
        if get_origin(part) is dict or (get_origin(part) is tuple and arguments[1:] == (Ellipsis,)):
            return arguments[-1] if get_origin(part) is dict else arguments[0]
    return None


@cache
def keys(cls: type) -> dict[str, Any]:
    """The keys of a section with their annotations, without class variables."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def tag(cls: type) -> str | None:
    """The value of `type` that chooses `cls` in a union; None if it has no such key."""
    hint = keys(cls).get("type")
    return str(get_args(hint)[0]) if get_origin(hint) is Literal else None


def chosen(sections: list[type], tree: Any) -> type | None:
    """The section that `tree` describes, of several by its `type`; None if that names none of them."""
    if len(sections) == 1:
        return sections[0]
    tags = {tag(section): section for section in sections}
    name = tree.get("type") if isinstance(tree, dict) else None
    return tags.get(name) if isinstance(name, str) else None


def example(sections: list[type]) -> str:
    """An example of a section in YAML: `{type: folder, path: ...}`."""
    first = sections[0]
    needed = [field.name for field in dataclasses.fields(first) if not _has_default(field)]
    others = [name for name in keys(first) if name != "type"]
    kind = [f"type: {name}"] if (name := tag(first)) and len(sections) > 1 else []
    return "{" + ", ".join(kind + [f"{name}: ..." for name in needed or others[: not kind]]) + "}"


def short_form(hint: Any) -> tuple[type, str] | None:
    """The section that may be given as plain text, and the key which that text sets; None if there is none."""
    for member in members(hint):
        if short := getattr(member, "SHORT", None):
            return member, str(short)
    return None


def bare_names(hint: Any) -> dict[str, type]:
    """The sections that may be given as the name of their `type` alone."""
    return {name: member for member in members(hint) if getattr(member, "BARE", False) and (name := tag(member))}


def mistyped(part: Any, path: str = "") -> Iterator[str]:
    """A sentence for each value of another type than its annotation, in a section built in Python and those below."""
    section: Any = type(part)
    for key, hint in keys(section).items():
        value = getattr(part, key)
        if not any(_fits(value, kind) for kind in options(hint)):
            kinds = " or ".join(_in_words(kind) for kind in options(hint))
            yield f"{path}{key}: got {value!r}; must be {kinds}"
        elif dataclasses.is_dataclass(value):
            yield from mistyped(value, f"{path}{key}.")


def _fits(value: Any, kind: Any) -> bool:
    """True if the outermost type of a value is that of the annotation `kind`."""
    if get_origin(kind) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if isinstance(value, bool) or kind is Any:
        return kind in (bool, Any)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, str if is_path(kind) else get_origin(kind) or kind)


def _in_words(kind: Any) -> str:
    """The values that an annotation allows, for an error."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "None"}
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return "text" if is_path(kind) else words.get(kind, str(getattr(kind, "__name__", kind)))


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
