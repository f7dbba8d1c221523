"""YAML in and out, bounded: what a person writes is small, and whatever else a file holds is one sentence.

The only module that knows yaml. All that it raises is a ValueError, which says what is wrong and where.
"""

import json
import re
from typing import Any

import yaml

BYTES = 2**20
"""A longer file is no configuration."""
DEPTH = 32
"""Sections within sections: a configuration has five."""
VALUES = 20_000
"""All keys, values and list entries, those that an alias repeats counted each time."""

_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: `1e-4` is a number, `no` is a word, `010` and `1:30` are text, and a repeated key, a
    type that JSON has not, or more than the limits is an error.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.values = 0
        self.sizes: dict[int, int] = {}  # of what a node holds, by its identity, once it is whole

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count what is composed, before a deep or a repeating document fills the stack or the memory."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        begin, line = self.values, event.start_mark.line + 1
        if self.depth > DEPTH:
            raise ValueError(f"line {line} is nested more than {DEPTH} deep")
        self.depth += 1
        node: Any = super().compose_node(parent, index)
        self.depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self.values += 1
        elif id(node) in self.sizes:
            self.values += self.sizes[id(node)]
        else:
            raise ValueError(f"line {line}: '*{event.anchor}' stands within what it refers to")
        if self.values > VALUES:
            raise ValueError(f"by line {line} it comes to more than {VALUES} values")
        if not isinstance(event, yaml.AliasEvent):
            self.sizes[id(node)] = self.values - begin
            if node.tag not in _TAGS:
                kind = node.tag.replace("tag:yaml.org,2002:", "!!")
                raise ValueError(f"line {line} is of the type {kind}, which is not known here")
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node; a ValueError says on which line it is no such value, as a number of 5000 digits."""
        if isinstance(node, yaml.ScalarNode):
            try:
                return super().construct_object(node, deep)
            except (ValueError, OverflowError):
                what = f"{shorter(node.value)} cannot be read as {node.tag.rpartition(':')[2]}"
                raise ValueError(f"line {node.start_mark.line + 1}: {what}") from None
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; a key that stands twice in it is an error."""
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in lines:
                raise ValueError(f"key '{shorter(key)}' stands on line {lines[key]} and again on line {line}")
            lines[key] = line
        return super().construct_mapping(node, deep)


_REPLACED = (":bool", ":timestamp", ":int", ":float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(_REPLACED)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_FRACTION = r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)$"
for _tag, _pattern, _first in (
    ("bool", r"(?:true|True|false|False)$", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$", "-+0123456789"),
    ("float", _FRACTION, "-+0123456789."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.add_implicit_resolver(*_EXPONENT)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader`, or any other reader of YAML, would take for something else than text: '1e-4', 'no'."""


_Dumper.add_implicit_resolver(*_EXPONENT)


def parsed(text: str) -> Any:
    """The value of a YAML document: what JSON could hold too, no part of it the same object as another.

    Raises ValueError for what is no YAML, exceeds `DEPTH` or `VALUES`, refers to itself, or repeats a key.
    """
    try:
        return _apart(yaml.load(text, _Loader))
    except yaml.YAMLError as error:
        raise ValueError(_usual_slip(text, error) or f"is not YAML: {' '.join(str(error).split())}") from None


def _usual_slip(text: str, error: yaml.YAMLError) -> str:
    """The error in words where it comes of a tab, or of a colon without a blank; empty for others."""
    marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
    for number in [mark.line for mark in marks if mark]:
        line = text.split("\n")[number]
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return f"line {number + 1} begins with a tab; YAML wants blanks"
        if re.match(r"\s*[\w.]+:[^\s:/]\S*\s*(#.*)?$", line):
            return f"line {number + 1} is '{shorter(line.strip())}'; a blank must stand after the colon"
    return ""


def dumped(tree: dict[str, Any], compact: bool = False) -> str:
    """The YAML that reads as `tree`; `compact` writes a list of numbers on one line."""
    style = None if compact else False
    plain = json.loads(json.dumps(tree))
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=style))


def shown(value: Any) -> str:
    """A value as a sentence shows it: as JSON, not too long."""
    return shorter(json.dumps(value, default=str))


def shorter(text: str) -> str:
    """`text` for a sentence: its middle is left out where it is long."""
    return text if len(text) <= 160 else f"{text[:120]} ... {text[-20:]}"


def _apart(tree: Any) -> Any:
    """A copy of `tree` without aliases: what is set in one place must not change another."""
    if isinstance(tree, dict):
        return {key: _apart(value) for key, value in tree.items()}
    return [_apart(value) for value in tree] if isinstance(tree, list) else tree
