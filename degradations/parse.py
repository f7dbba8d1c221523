"""Degradations from plain mappings, as YAML and JSON give them."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from degradations.pipeline import Pipeline
from degradations.second_order import SecondOrder

Degradation = SecondOrder | Pipeline


def parse_degradation(mapping: Mapping[str, Any]) -> Degradation:
    """Build a degradation from a mapping, of the class that its `type` names.

    Raises:
        ValueError: for unknown types and options, with the path of the entry and what is known there.
    """
    built: Degradation = _parse(mapping, Degradation, "degradation")
    return built


def _parse(value: Any, hint: Any, path: str) -> Any:
    """Convert `value` to a type hint: mappings to dataclasses by `type`, lists to tuples; the rest is only checked."""
    classes = [option for option in _options(hint) if hasattr(option, "__dataclass_fields__")]
    if classes:
        return _parse_class(value, classes, path)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{path} must be a list, got {value!r}")
        items = get_args(hint)
        of_one_kind = len(items) == 2 and items[1] is Ellipsis
        if not of_one_kind and len(value) != len(items):
            raise ValueError(f"{path} must have {len(items)} entries, got {value!r}")
        hints = [items[0]] * len(value) if of_one_kind else items
        return tuple(_parse(item, h, f"{path}.{i}") for i, (item, h) in enumerate(zip(value, hints, strict=True)))
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ValueError(f"{path} must be one of {', '.join(map(str, get_args(hint)))}; got {value!r}")
    if hint in (int, float, bool, str) and not _is(value, hint):
        raise ValueError(f"{path} must be of type {hint.__name__}, got {value!r}")
    return value


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _parse_class(value: Any, classes: list[Any], path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} must be a mapping, got {value!r}")
    named = {get_args(get_type_hints(kind)["type"])[0]: kind for kind in classes}
    name = value.get("type", next(iter(named)) if len(named) == 1 else None)
    if name not in named:
        raise ValueError(f"{path}.type must be one of {', '.join(named)}; got {name!r}")
    hints = get_type_hints(named[name])
    known = [field.name for field in fields(named[name])]
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{path}.{unknown[0]} is not an option of {name}; known: {', '.join(known)}")
    options = {key: _parse(item, hints[key], f"{path}.{key}") for key, item in value.items()}
    try:
        return named[name](**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
