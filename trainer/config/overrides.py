"""Overrides `key.path=value` of a command line: a value is literal text for keys of text, and YAML for all others."""

from typing import Any

from trainer.config.annotations import chosen, is_text, item, keys, may_be_null, members, short_form
from trainer.files.bounded_yaml import DEPTH, parsed, shorter
from trainer.mistakes import Mistake


def apply(cls: type, tree: dict[str, Any], override: str) -> None:
    """Set one dotted key in the tree of a `cls`; a number in the path counts into a list.

    Where the key is text by its annotation, the value is what was typed, with its blanks, quotes, `#` and `: `; only
    `null` is nothing, where the key may be null (`./null` is a file of that name). The rest is YAML. Raises Mistake.
    """
    dotted, equals, text = override.partition("=")
    path = dotted.rstrip().split(".")
    if not equals or not all(path):
        quotes = "" if equals else " without blanks around =, and in quotes where the value has blanks"
        raise Mistake(f"the argument '{shorter(override)}' should read key.path=value{quotes}.")
    if len(path) > DEPTH:
        raise Mistake(f"the key of '{shorter(override)}' is nested more than {DEPTH} deep.")
    hints: list[Any] = [cls]
    place: Any = tree
    for number, key in enumerate(path[:-1]):
        index = _index(place, key, override, path[:number])
        hints = _below(hints, place, key)
        place = place[index] if isinstance(place, list) else place.setdefault(index, {})
    index = _index(place, path[-1], override, path[:-1])
    place[index] = _value(_below(hints, place, path[-1]), text, override)


def _value(hints: list[Any], text: str, override: str) -> Any:
    """The value of an override's text, for a key that has one of the annotations `hints`."""
    if text == "null" and any(map(may_be_null, hints)):
        return None
    if hints and all(map(is_text, hints)):
        return text
    if text[:1] not in ("{", "") and any(map(short_form, hints)):  # a folder in the place of a section
        return text
    try:
        return parsed(text)
    except ValueError as error:
        raise Mistake(f"the value of '{shorter(override)}' cannot be read: {error}.") from None


def _below(hints: list[Any], place: Any, key: str) -> list[Any]:
    """The annotations that `key` of a value `place` may have, whose own are `hints`; none for an unknown key."""
    found = []
    for hint in hints:
        sections = members(hint)
        one = chosen(sections, place)
        found += [known[key] for section in ([one] if one else sections) if key in (known := keys(section))]
        if (inside := item(hint)) is not None:
            found.append(inside)
    return found


def _index(place: Any, key: str, override: str, path: list[str]) -> Any:
    """The index that `key` of an override's path is in `place`: a name in a mapping, a number in a list."""
    if isinstance(place, dict):
        return key
    if isinstance(place, list) and key.isdecimal() and len(key) < 10 and int(key) < len(place):
        return int(key)
    if place is None and (above := ".".join(path)):
        raise Mistake(f"'{shorter(override)}': {above} is null; give the whole section, {above}='{{...}}'.")
    raise Mistake(f"'{shorter(override)}': there is no '{shorter(key)}' in {shorter(repr(place))}.")
