"""Distinguish a disk or network that is unavailable for a moment from a picture that is bad."""

import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from trainer.images.opened import Unreadable

_NAMES = (
    *("ESTALE", "ENOTCONN", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN"),
    *("EHOSTUNREACH", "EREMOTEIO", "ESHUTDOWN", "ENXIO"),
)
TRANSIENT_ERRNOS = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))
"""Errors of reading from a network disk while that is unavailable; a bad file does not cause them. macOS has no
EREMOTEIO."""


HTTP_CLIENTS = frozenset({"aiohttp", "httpcore", "httpx", "httpx2", "requests", "urllib3"})
"""Packages whose exceptions mean a failed connection unless they carry a response; which of them the hub's client uses
depends on its version."""
RETRYABLE_STATUSES = frozenset({408, 425, 429})
"""HTTP statuses, beside those from 500 on, that do not mean that the request was wrong."""


class Away(Unreadable):
    """A picture that cannot be read because its disk or its network is unavailable.

    Between processes it is sent as its text alone.
    """

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.reason else self.name


def read_unless_away(read: Callable[[], Tensor], file: Path) -> Tensor:
    """Call `read` for `file`, and once more after an OSError; Away in place of Unreadable if the disk is unavailable.

    Raises:
        Away: it cannot be read, and neither can its folder (an unmounted one is empty), or the error
            is of a network.
        Unreadable: the picture is bad, in a folder that is there.
    """
    try:
        return read()
    except Unreadable as error:
        if reason := reason_away(file.parent, error.__cause__):
            raise Away(str(file), reason) from error
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            return read()  # the disk may have come back since
        raise


def is_network_error(error: BaseException) -> bool:
    """True if an error, or one that led to it, is of a connection or a server and not of what was requested."""
    return any(map(_is_network_error, _chain(error)))


def _is_network_error(error: BaseException) -> bool:
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", getattr(error, "status", None))
    if isinstance(status, int):
        return status >= 500 or status in RETRYABLE_STATUSES
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | ssl.SSLError):
        return True
    return any(base.__module__.partition(".")[0] in HTTP_CLIENTS for base in type(error).__mro__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason_away(folder: Path, error: BaseException | None = None) -> str:
    """Reason why a folder counts as unavailable after a read that failed with `error`; empty if the folder is there."""
    if isinstance(error, OSError) and error.errno is not None and error.errno in TRANSIENT_ERRNOS:
        return os.strerror(error.errno)
    try:
        with os.scandir(folder) as entries:
            return "" if any(entries) else f"its folder {folder} is empty"
    except OSError as missing:
        return f"its folder {folder} cannot be read: {missing.strerror}"
