"""Output that nobody can read is lost, and never an error."""

import io
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TextIO

import pytest

from trainer import console
from trainer.console import Unfailing, give, guard, say
from trainer.mistakes import Mistake


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


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("where", ["pipe", "/dev/full", "nowhere"])
def test_what_a_program_was_called_for_is_written_or_said_to_be_lost(
    monkeypatch: pytest.MonkeyPatch, where: str, guarded: bool
) -> None:
    raw = None if where == "nowhere" else closed_pipe() if where == "pipe" else Path(where).open("w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", raw)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    if guarded:
        guard()
    with pytest.raises(Mistake, match=r"^standard output cannot be written: (No space|Broken pipe|it is closed)"):
        give("the product\n")
    print("a line")
    with suppress(OSError):
        if raw:
            raw.close()


def test_what_a_program_was_called_for_comes_after_its_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", sys.stderr)
        guard()
        print("a note")
        give("the product \u00e4\n")
    assert (tmp_path / "out").read_text() == "a note\nthe product \u00e4\n"


def test_a_reader_that_stops_to_read_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0.05)
    monkeypatch.setattr(console, "WRITER", console.Writer())
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as raw:
        stream = Unfailing(raw)
        for number in range(20_000):  # a pipe holds 64 KiB, and the queue its 10,000 writes
            stream.write(f"line {number:06d}\n")
        stream.flush()
        assert console.WRITER.stuck
        stream.flush()  # which does not wait again
        with os.fdopen(reader, "rb") as other_end:
            read: list[bytes] = []
            late = Thread(target=lambda: read.append(other_end.read()))
            late.start()
            deadline = time.monotonic() + 30
            while console.WRITER.waiting.unfinished_tasks:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            print("the end", file=stream, flush=True)
            assert not console.WRITER.stuck
            raw.close()
            late.join()
    lines = read[0].decode().splitlines()
    assert lines[:2] == ["line 000000", "line 000001"]
    assert lines[-1] == "the end"


def test_lines_of_both_streams_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("a") as first, file.open("a") as second:
        out, err = Unfailing(first), Unfailing(second)
        for number in range(100):
            print(number, file=(out, err)[number % 2])
        out.flush()
    assert file.read_text().split() == [str(number) for number in range(100)]


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
