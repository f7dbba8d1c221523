"""YAML and dotted overrides to one validated RunConfig, and back. The only module that knows pydantic.

pydantic validates values (strictly: "12" is not 12) and runs every `__post_init__`. A walk before it finds errors for
which pydantic's messages are poor: unknown keys, with the nearest known ones, and unions chosen by their `type`.
"""

import dataclasses
import json
import math
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trainer.config.annotations import (
    alternatives,
    bare_names,
    chosen,
    example,
    is_path,
    item,
    keys,
    may_be_null,
    members,
    short_form,
    tag,
)
from trainer.config.foreign_files import program_of
from trainer.config.overrides import apply
from trainer.console import called
from trainer.files.bounded_yaml import BYTES, dumped, parsed, shorter, shown
from trainer.files.paths import expanded
from trainer.mistakes import Mistake, suggestion

T = TypeVar("T")
KeyPath = tuple[Any, ...]

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
"""Messages for pydantic's types of errors, in the words of YAML."""


def load_config(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read `path`, apply overrides such as `optimizer.learning_rate=1e-4`, and validate.

    Raises Mistake with every error at once, each with its dotted path, what was got and what is allowed.
    """
    tree = read_tree(path)
    if program := program_of(tree):
        raise Mistake(
            f"{path} is a configuration of {program}: `{called('import-options')} {path} --out mine.yaml` "
            "makes one of this program from it."
        )
    for override in overrides:
        apply(cls, tree, override)
    return validated(cls, tree, str(path))


def read_tree(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; Mistake if it is none, or too large for a configuration."""
    try:
        tree = parsed(_text(path))
    except OSError as error:
        raise Mistake(f"the config {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Mistake(f"the config {path} is not text in UTF-8.") from None
    except ValueError as error:
        raise Mistake(f"{path}: {error}.") from None
    if not isinstance(tree, dict):
        raise Mistake(f"{path} must hold keys and values, got {shorter(repr(tree))}.")
    return tree


def _text(path: Path) -> str:
    """The text of a file; ValueError for anything but a regular file: several processes would wait on a pipe."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise ValueError(f"it is larger than {BYTES // 2**20} MiB, which no config is")
    return content.decode("utf-8")


def validated(
    cls: type[T], tree: dict[str, Any], origin: str, called: Callable[[str, str], str] = lambda key, _: key
) -> T:
    """The dataclass that `tree`, read from `origin`, describes; Mistake with all errors.

    `called(key, message)` gives the name of a dotted key in `origin`, if that is another program's file.
    """
    renamed: Mapping[str, str] = getattr(cls, "RENAMED_KEYS", {})
    advice: Mapping[str, str] = getattr(cls, "ADVICE", {})
    tree = getattr(cls, "completed", dict)(_completed(cls, tree))
    problems = {**dict(_misnamed(cls, tree, (), renamed)), **dict(_impossible(cls, tree, ()))}
    try:
        # JSON mode is strict about scalars yet lets a YAML list become a tuple.
        config: T = _adapter(cls).validate_json(  # type: ignore[arg-type]
            json.dumps(tree, default=str), strict=True
        )
    except ValidationError as error:
        for path, message in _values(cls, tree, error):
            if not any(_same(path, message, known) for known in problems if known):
                problems.setdefault(path, message)
        if not problems:  # an error that the walk does not know either must not pass
            problems[()] = str(error)
    if not problems:
        return config
    lines = []
    for path, message in problems.items():
        where = ".".join(map(str, path))
        if where in advice:
            message = f"{message.partition('; allowed: ')[0]}; {advice[where]}"
        where = called(where, message) if where else where
        lines += [f"  {where}: {line}" if where else f"  {line}" for line in message.split("\n")]
    raise Mistake(
        f"{origin}: {len(lines)} {'thing is' if len(lines) == 1 else 'things are'} wrong:\n" + "\n".join(lines)
    )


def _same(path: KeyPath, message: str, known: KeyPath) -> bool:
    """True if an error repeats a `known` one: of the same key, one below it, or a section whose message names it."""
    return path[: len(known)] == known or (known[: len(path)] == path and str(known[len(path)]) in message)


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)  # takes a tenth of a second to make


def dump_config(config: Any) -> str:
    """A configuration as YAML, from which it loads again; every key is written, defaults too."""
    return dump_tree(dataclasses.asdict(config))


def dump_tree(tree: dict[str, Any], compact: bool = False) -> str:
    """Keys and values, such as a part of a configuration, as YAML; `compact` writes a list of numbers on one line."""
    return dumped(tree, compact)


def differences(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """The dotted keys in which two configurations differ, with both values (None where a side lacks the key)."""
    before, after = leaves(old), leaves(new)
    keys = [*before, *(key for key in after if key not in before)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def leaves(config: Any) -> dict[str, Any]:
    """Every value of a configuration by its dotted key."""
    return dict(_leaves(dataclasses.asdict(config), ()))


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield ".".join(path), list(tree) if isinstance(tree, tuple) else tree


def _completed(hint: Any, value: Any) -> Any:
    """`value` with whole sections in place of their short forms, and with `~` in paths expanded."""
    if isinstance(value, str):
        if is_path(hint):
            return expanded(value)
        if short := short_form(hint):
            whole, key = short
            return _completed(hint, {"type": tag(whole), key: value})
        if value in bare_names(hint):
            return {"type": value}
    if isinstance(value, list):
        return [_completed(item(hint), below) for below in value]
    if isinstance(value, dict):
        section = chosen(members(hint), value)
        hints = keys(section) if section else {}
        return {key: _completed(hints.get(key, item(hint)), below) for key, below in value.items()}
    return value


def _misnamed(hint: Any, value: Any, path: KeyPath, renamed: Mapping[str, str]) -> Iterator[tuple[KeyPath, str]]:
    """Unknown keys and `type`s anywhere in a value that `hint` annotates, with the nearest name that exists.

    `renamed` has our name for keys of other programs.
    """
    if (inside := item(hint)) is not None and isinstance(value, list):
        for number, element in enumerate(value):
            yield from _misnamed(inside, element, (*path, number), renamed)
    sections = members(hint)
    if not sections or (value is None and may_be_null(hint)):
        return
    if problem := _malformed(sections, value, path):
        yield problem[0], problem[1] + (", or null" if may_be_null(hint) and not isinstance(value, dict) else "")
        return
    section = chosen(sections, value)
    assert section is not None, "a well-formed section has a known type"
    hints = keys(section)
    for key, below in value.items():
        if key in hints:
            yield from _misnamed(hints[key], below, (*path, key), renamed)
        elif key in renamed:
            yield (*path, key), f"no such key; here it is {renamed[key]}"
        else:
            yield (*path, key), f"no such key{_advice(str(key), section, sections, path)}"


def _malformed(sections: list[type], value: Any, path: KeyPath) -> tuple[KeyPath, str] | None:
    """The error of a value that is none of `sections`: no mapping, keys glued to their values, or an unknown `type`."""
    whole = f"{'.'.join(map(str, path))}='{example(sections)}'"
    if isinstance(value, str) and (names := [name for section in sections for name in bare_names(section)]):
        return path, f"got {shorter(repr(value))}; {suggestion(value, names)}"
    if not isinstance(value, dict):
        return path, f"got {shown(value)}; {WANTED['dataclass_type']}, such as {whole}"
    if glued := [key for key, below in value.items() if below is None and ":" in str(key)]:
        return path, f"got the key '{shorter(str(glued[0]))}'; a blank must stand after a colon, as in {whole}"
    if chosen(sections, value) is None:
        tags = [name for member in sections if (name := tag(member))]
        got = f"got {shorter(repr(value['type']))}" if "type" in value else "nothing given"
        return (*path, "type"), f"{got}; {suggestion(str(value.get('type')), tags)}"
    return None


def _advice(key: str, section: type, sections: list[type], path: KeyPath) -> str:
    """The end of the error for a key that `section` does not have: another `type` that has it, or the nearest key."""
    others = [name for member in sections if key in keys(member) and (name := tag(member))]
    if not others:
        return f"; {suggestion(key, list(keys(section)))}"
    return (
        f" with type: {tag(section)}, but with {' or '.join(others)}; to change the type, "
        f"replace the whole section: {'.'.join(map(str, path))}='{example([section, *sections])}'"
    )


def _impossible(hint: Any, tree: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Values of the right type that cannot be used.

    A number that is none, such as `.nan`: every comparison with it is false, so no check would refuse it. Text with
    half a character, as a file's name may have, or with the character 0: no file can be written that holds it, and no
    path can be opened. An empty path.
    """
    if isinstance(tree, float) and not math.isfinite(tree):
        yield path, f"got {tree}; must be a finite number"
    elif isinstance(tree, str):
        if "\0" in tree or _is_torn(tree):
            yield path, f"got {shown(tree)}; must be text in UTF-8 without the character 0"
        elif not tree and is_path(hint):
            yield path, f"got nothing; must be a path{', or null' if may_be_null(hint) else ''}"
    elif isinstance(tree, dict):
        section = chosen(members(hint), tree)
        hints = keys(section) if section else {}
        for key, value in tree.items():
            yield from _impossible(hints.get(key, item(hint)), value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _impossible(item(hint), value, (*path, number))


def _is_torn(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _values(cls: type, tree: Any, errors: ValidationError) -> Iterator[tuple[tuple[Any, ...], str]]:
    """pydantic's errors in our words, without those of union members that `type` did not choose."""
    for error in errors.errors(include_url=False):
        path, hint = _real_path(cls, tree, error["loc"])
        if path is None or error["type"] == "json_invalid":  # text that is not UTF-8, which the walk reports
            continue
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be").rstrip()
        if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            message = "must be given"
        elif error["type"] == "value_error":
            pass  # the message of our own __post_init__
        elif words := alternatives(hint):
            message = f"got {shown(error['input'])}; must be {words}"
        else:
            wanted = WANTED.get(error["type"], message[0].lower() + message[1:])
            message = f"got {shown(error['input'])}; {wanted}"
            if error["type"] == "literal_error" and isinstance(error["input"], str):
                near = suggestion(error["input"], re.findall(r"'([^']*)'", error["msg"]))
                message = f"got {shown(error['input'])}; {near}" if near.startswith("did you mean") else message
            if error["type"] == "int_type" and isinstance(error["input"], float) and error["input"].is_integer():
                message += f", as in {error['input']:.0f}"  # 1e5
        yield path, message


def _real_path(cls: type, tree: Any, loc: tuple[Any, ...]) -> tuple[tuple[Any, ...] | None, Any]:
    """The keys of `loc` without union members' names, and the last one's annotation.

    None in place of the keys if they are of a member that `type` did not choose.
    """
    path: list[Any] = []
    hint: Any = cls
    rest = list(loc)
    while rest:
        sections = members(hint)
        owner = chosen(sections, tree) if sections else None
        if len(sections) > 1 and (owner is None or rest.pop(0) != owner.__name__):
            return None, None
        if not rest or alternatives(hint):
            break
        key = rest.pop(0)
        path.append(key)
        hint = keys(owner).get(key) if owner else item(hint)
        known = (isinstance(tree, dict) and key in tree) or (isinstance(tree, list) and key in range(len(tree)))
        tree = tree[key] if known else None
    return tuple(path), hint
