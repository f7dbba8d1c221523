"""A `generator` section that is not given: that of the network in the file of `init.generator`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.files.bounded_yaml import parsed
from trainer.networks.loading.generators import open_generator, scale_of
from trainer.networks.loading.sections import section_of
from trainer.networks.loading.state_dicts import is_readable

KEY = "init.generator"


def with_found_generator(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration's keys and values with the section, and its scale where that is not given, if a file decides it.

    `generator: null` asks for it; without that key a file or folder that is there is asked, and a name on the hub is
    not. A run that is resumed takes what it was begun with where the file is no longer there.

    Raises Mistake if the file holds no generator that is known.
    """
    init, section = tree.get("init"), tree.get("generator")
    origin = init.get("generator") if isinstance(init, Mapping) else None
    if section is not None or not isinstance(origin, str) or not origin:
        return tree
    if not Path(origin).exists() and (begun := _begun_with(tree, origin)):
        return {**tree, "generator": begun["generator"], "scale": tree.get("scale", begun["scale"])}
    if "generator" not in tree and not is_readable(origin):
        return tree  # whoever loads the weights says why, with all else that is missing
    net = open_generator(origin, KEY)
    try:
        found = section_of(net)
    except ValueError as error:
        raise ValueError(f"{KEY}: {origin}: {error}") from error
    return {**tree, "generator": found, "scale": tree.get("scale", scale_of(net))}


def _begun_with(tree: Mapping[str, Any], origin: str) -> Mapping[str, Any] | None:
    """The configuration of the run folder, if it began with the same file."""
    file = Path(str(tree.get("output_dir", "outputs"))) / str(tree.get("name")) / "config.yaml"
    try:
        before = parsed(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no run yet, or one whose folder is looked at later
        return None
    init = before.get("init") if isinstance(before, Mapping) else None
    same = isinstance(init, Mapping) and init.get("generator") == origin and before.get("generator")
    return before if same else None
