"""Telling a disk, or a network, that is away for a moment from a picture that is bad."""

import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from trainer.images.opened import Unreadable

TRANSIENT_ERRNOS = frozenset(
    {
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.ENETDOWN),
        *(errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EREMOTEIO, errno.ESHUTDOWN, errno.ENXIO),
    }
)
"""What reading from a network's disk fails with while that is away; a bad file does not."""


HTTP_CLIENTS = frozenset({"aiohttp", "httpcore", "httpx", "httpx2", "requests", "urllib3"})
"""The packages whose errors are of a connection where they bring no answer; which of them the hub's client uses differs
by its version."""
RETRYABLE_STATUSES = frozenset({408, 425, 429})
"""The answers of a server, beside those from 500 on, that say nothing against what was asked for."""


class Away(Unreadable):
    """A picture that cannot be read because its disk or its network is away.

    It travels between processes as its text alone.
    """

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.reason else self.name


def read_unless_away(read: Callable[[], Tensor], file: Path) -> Tensor:
    """What `read` makes of `file`.

    Raises:
        Away: it cannot be read, and neither can its folder (an unmounted one is empty), or only a network says so.
        Unreadable: the picture is bad, in a folder that is there.
    """
    try:
        return read()
    except Unreadable as error:
        if reason := reason_away(file.parent, error.__cause__):
            raise Away(str(file), reason) from error
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            return read()  # the disk may have come back in between
        raise


def is_network_error(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is of a connection or a server, and not of what was asked for."""
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
    """An error, and those in whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason_away(folder: Path, error: BaseException | None = None) -> str:
    """Why a folder, from which reading failed with `error`, counts as away; nothing where it is there."""
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        return os.strerror(error.errno)
    try:
        with os.scandir(folder) as entries:
            return "" if any(entries) else f"its folder {folder} is empty"
    except OSError as missing:
        return f"its folder {folder} cannot be read: {missing.strerror}"
