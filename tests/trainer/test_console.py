"""What a program says is lost where nobody can take it, and never an error."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest

from trainer.console import Unfailing, guard, say


def closed_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("where", ["pipe", "/dev/full"])
def test_what_cannot_be_written_is_dropped(where: str) -> None:
    raw = closed_pipe() if where == "pipe" else Path(where).open("w")  # noqa: SIM115
    stream = Unfailing(raw)
    for _ in range(3):
        assert stream.write("a line\n" * 2000) == 14000  # more than a buffer holds
        stream.flush()
    with pytest.raises(OSError, match=r"No space left|Broken pipe"):
        os.write(raw.fileno(), b"a line")
    with suppress(OSError):  # what a buffer still holds
        raw.close()


def test_all_else_is_the_streams() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream = Unfailing(raw)
    assert stream.encoding == "utf-8"
    assert stream.isatty() is False
    print("said", file=stream, flush=True)
    assert raw.buffer.getvalue() == b"said\n"  # type: ignore[attr-defined]


def test_what_an_encoding_does_not_have_is_spelled() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Unfailing(raw)
    print("9° \udcff", file=stream, flush=True)
    assert raw.buffer.getvalue() == b"9\\xb0 \\udcff\n"  # type: ignore[attr-defined]


def test_both_streams_are_guarded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = closed_pipe()
    monkeypatch.setattr(sys, "stdout", raw)
    monkeypatch.setattr(sys, "stderr", None)  # as of a daemon
    guard()
    guard()
    out, err = sys.stdout, sys.stderr
    assert isinstance(out, Unfailing)
    assert out.stream is raw
    say("a line")
    print("a line", file=err, flush=True)
    err.close()
    with suppress(BrokenPipeError):
        raw.close()
