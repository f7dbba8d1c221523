"""YAML and dotted overrides to one validated RunConfig, and back. The only module that knows pydantic or yaml.

pydantic validates values (strictly: "12" is not 12) and runs every `__post_init__`; the walk before it finds what
pydantic says badly: names that do not exist, with the nearest that do, and unions chosen by their `type`.
"""

import dataclasses
import difflib
import json
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from trainer.mistakes import Mistake

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: `1e-4` is a number, `no` is a word, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in lines:
                raise Mistake(
                    f"{node.start_mark.name}: key '{key}' stands on line {lines[key]} and again on line {line}."
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|false|False)$"), list("tTfF"))
_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(*_EXPONENT)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader`, or any other reader of YAML, would take for something else than text: '1e-4', 'no'."""


_Dumper.add_implicit_resolver(*_EXPONENT)

WANTED = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text, in quotes where it looks like something else",
    "dataclass_type": "must be keys and values",
    "tuple_type": "must be a list, in brackets",
    "too_long": "has too many entries",
}
"""pydantic's types of errors in the words of a person who writes YAML."""


def load_config(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read `path`, apply overrides such as `optimizer.learning_rate=1e-4`, and validate.

    Raises Mistake with every error at once, each with its dotted path, what was got and what is allowed.
    """
    tree = read_tree(path)
    for override in overrides:
        _apply(tree, override)
    return validated(cls, tree, str(path))


def read_tree(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; Mistake where it is none."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _named_loader(path))
    except OSError as error:
        raise Mistake(f"the config {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Mistake(f"the config {path} is not text in UTF-8.") from None
    except yaml.YAMLError as error:
        raise Mistake(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict):
        raise Mistake(f"{path} must hold keys and values, got {tree!r}.")
    return tree


def validated(cls: type[T], tree: dict[str, Any], origin: str) -> T:
    """The dataclass that `tree`, read from `origin`, describes; Mistake with all errors."""
    elsewhere: Mapping[str, str] = getattr(cls, "ELSEWHERE", {})
    problems = {**dict(_misnamed(cls, tree, (), elsewhere)), **dict(_endless(tree, ()))}
    try:
        # JSON mode is strict about scalars yet lets a YAML list become a tuple.
        config = TypeAdapter(cls).validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        for path, message in _values(cls, tree, error):
            if not any(path[: len(known)] == known for known in problems if known):
                problems.setdefault(path, message)
        if not problems:  # what the walk does not know yet must not pass for right
            problems[()] = str(error)
    if not problems:
        return config
    lines = []
    for path, message in problems.items():
        where = ".".join(map(str, path))
        lines += [f"  {where}: {line}" if where else f"  {line}" for line in message.split("\n")]
    raise Mistake(
        f"{origin}: {len(lines)} {'thing is' if len(lines) == 1 else 'things are'} wrong:\n" + "\n".join(lines)
    )


def dump_config(config: Any) -> str:
    """The YAML that loads again to `config`; every key is written, defaults too."""
    return dump_tree(dataclasses.asdict(config))


def dump_tree(tree: dict[str, Any], compact: bool = False) -> str:
    """Keys and values, such as a part of a configuration, as YAML; `compact` writes a list of numbers on one line."""
    style = None if compact else False
    plain = json.loads(json.dumps(tree))
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=style))


def differences(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """The dotted keys in which two configurations differ, with both values (None where a side lacks the key)."""
    before, after = dict(_leaves(dataclasses.asdict(old), ())), dict(_leaves(dataclasses.asdict(new), ()))
    keys = [*before, *(key for key in after if key not in before)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _named_loader(path: Path) -> Any:
    def make(stream: str) -> _Loader:
        loader = _Loader(stream)
        loader.name = str(path)
        return loader

    return make


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key of the tree; a number in the path counts into a list."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise Mistake(f"the argument '{override}' should read key.path=value.")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise Mistake(f"the value of '{override}' is not YAML.") from None
    *parents, last = dotted.split(".")
    place: Any = tree
    for key in parents:
        index = _index(place, key, override)
        place = place[index] if isinstance(place, list) else place.setdefault(index, {})
    place[_index(place, last, override)] = value


def _index(place: Any, key: str, override: str) -> Any:
    """What `key` of an override's path is in `place`: a name in a mapping, a number in a list."""
    if isinstance(place, dict):
        return key
    if isinstance(place, list) and key.isdigit() and int(key) < len(place):
        return int(key)
    raise Mistake(f"'{override}': there is no '{key}' in {place!r}.")


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield ".".join(path), list(tree) if isinstance(tree, tuple) else tree


def _members(hint: Any) -> list[type]:
    """The dataclasses that a field's annotation may hold."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)]


def _item(hint: Any) -> Any:
    """The annotation of a list's elements, where `hint` is that of a list of any length."""
    arguments = get_args(hint)
    return arguments[0] if get_origin(hint) is tuple and arguments[1:] == (Ellipsis,) else None


def _tag(cls: type) -> str | None:
    """The value of `type` that chooses `cls` in a union."""
    hint = get_type_hints(cls).get("type")
    return str(get_args(hint)[0]) if get_origin(hint) is Literal else None


def _chosen(members: list[type], tree: Any) -> type | None:
    if len(members) == 1:
        return members[0]
    tags = {_tag(member): member for member in members}
    return tags.get(tree.get("type")) if isinstance(tree, dict) else None


def _misnamed(
    hint: Any, value: Any, path: tuple[Any, ...], elsewhere: Mapping[str, str]
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Unknown keys and `type`s anywhere in a value that `hint` annotates, with the nearest name that exists.

    `elsewhere` says where keys that other programs have are found here.
    """
    if (item := _item(hint)) is not None and isinstance(value, list):
        for number, element in enumerate(value):
            yield from _misnamed(item, element, (*path, number), elsewhere)
    members = _members(hint)
    if not members or (value is None and type(None) in get_args(hint)):
        return
    if not isinstance(value, dict):
        yield path, f"got {json.dumps(value, default=str)}; {WANTED['dataclass_type']}"
        return
    chosen = _chosen(members, value)
    if chosen is None:
        tags = [tag for member in members if (tag := _tag(member))]
        got = f"got {value['type']!r}" if "type" in value else "nothing given"
        yield (*path, "type"), f"{got}; {_suggestion(str(value.get('type')), tags)}"
        return
    hints = get_type_hints(chosen)
    hints = {field.name: hints[field.name] for field in dataclasses.fields(chosen)}  # a ClassVar is no key
    for key, below in value.items():
        if key in hints:
            yield from _misnamed(hints[key], below, (*path, key), elsewhere)
        elif key in elsewhere:
            yield (*path, key), f"no such key; here it is {elsewhere[key]}"
        else:
            yield (*path, key), f"no such key; {_suggestion(str(key), list(hints))}"


def _endless(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Numbers that are none, such as `.nan`: every comparison with them is false, so no check would refuse them."""
    if isinstance(tree, float) and not math.isfinite(tree):
        yield path, f"got {tree}; must be a finite number"
    elif isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _endless(value, (*path, key))


def _suggestion(got: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(got, allowed, 1, 0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def _values(cls: type, tree: Any, error: ValidationError) -> Iterator[tuple[tuple[Any, ...], str]]:
    """pydantic's errors without the union members that were not meant, in our words."""
    for item in error.errors(include_url=False):
        path = _real_path(cls, tree, item["loc"])
        if path is None:
            continue
        message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be").rstrip()
        if item["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            message = "must be given"
        elif item["type"] == "value_error":
            pass  # our own __post_init__ already says what was got
        else:
            wanted = WANTED.get(item["type"], message[0].lower() + message[1:])
            message = f"got {json.dumps(item['input'], default=str)}; {wanted}"
        yield path, message


def _real_path(cls: type, tree: Any, loc: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The keys of `loc` without union members' names; None if it speaks of a member that `type` did not choose."""
    path: list[Any] = []
    hint: Any = cls
    rest = list(loc)
    while rest:
        members = _members(hint)
        owner = _chosen(members, tree) if members else None
        if len(members) > 1 and (owner is None or rest.pop(0) != owner.__name__):
            return None
        if not rest:
            break
        key = rest.pop(0)
        path.append(key)
        hint = get_type_hints(owner).get(key) if owner else _item(hint)
        known = (isinstance(tree, dict) and key in tree) or (isinstance(tree, list) and key in range(len(tree)))
        tree = tree[key] if known else None
    return tuple(path)
