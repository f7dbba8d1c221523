"""Keys and options that hold a path: their type, and the home folder that `~` stands for."""

import errno
import re
from pathlib import Path
from typing import Annotated

from trainer.mistakes import Mistake

PATH = "path"
PathText = Annotated[str, PATH]
"""The type of a key that holds a path, or what may be one, such as a hub id: `load_config` expands its `~`."""


HUB_ID = re.compile(r"(?:[\w.-]+/)?\w[\w.-]*")
NO_NAMESPACES = frozenset({"datasets", "models", "spaces", "outputs", ".", ".."})
"""Names that are no namespace on the hub, as its addresses begin with them; and the folder of our runs."""


def is_absent(text: str) -> bool:
    """True if `text` is a path to something missing: nothing here has the name, and it is no valid hub id.

    A name on the hub has a namespace and one slash at most, and the namespace is no folder here.
    """
    if Path(text).exists() or "://" in text:
        return False
    namespace, slash, _ = text.partition("/")
    return not HUB_ID.fullmatch(text) or (bool(slash) and (namespace in NO_NAMESPACES or Path(namespace).is_dir()))


def check_path(path: str | Path, key: str) -> None:
    """Mistake, naming `key`, where nobody can ask what lies at `path`, as `Path.exists` would: a name that is too long,
    a folder that may not be looked into, links that lead to each other."""
    try:
        Path(path).stat()
    except ValueError:
        raise Mistake(f"{key}: {str(path)!r:.160} holds the character 0; wanted a path.") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP):
            raise Mistake(f"{key}: {str(path)!r:.160} cannot be looked at: {error.strerror}.") from None


def path_option(text: str) -> Path:
    """The path of an option of a command line: a shell leaves the `~` of `--out=~/x` as it is."""
    return Path(expanded(text))


def expanded(text: str) -> str:
    """`text` with the home folder in the place of a leading `~` or `~user`; as it is where there is no such home."""
    if not text.startswith("~"):
        return text
    head, slash, rest = text.partition("/")
    try:
        return f"{Path(head).expanduser()}{slash}{rest}"
    except RuntimeError:  # no such user
        return text
