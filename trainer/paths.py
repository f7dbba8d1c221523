"""Keys and options that hold a path: their type, and the home folder that `~` stands for."""

from pathlib import Path
from typing import Annotated

PATH = "path"
PathText = Annotated[str, PATH]
"""The type of a key that holds a path, or what may be one, such as a hub id: `load_config` expands its `~`."""


def expanded(text: str) -> str:
    """`text` with the home folder in the place of a leading `~` or `~user`; as it is where there is no such home."""
    if not text.startswith("~"):
        return text
    head, slash, rest = text.partition("/")
    try:
        return f"{Path(head).expanduser()}{slash}{rest}"
    except RuntimeError:  # no such user
        return text
