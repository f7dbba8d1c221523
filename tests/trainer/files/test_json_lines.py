"""Files of JSON lines after deaths, spoilt bytes and a full disk."""

import resource
from pathlib import Path

import pytest

from trainer.files.json_lines import Appender, append, objects, read


def test_a_line_is_never_joined_to_a_broken_one(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    append(file, {"step": 1})
    with file.open("a") as cut:
        cut.write('{"step": 2, "lo')
    append(file, {"step": 3})
    assert file.read_text() == '{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n'
    assert list(objects(file)) == [{"step": 1}, {"step": 3}]


def test_spoilt_lines_are_told_from_good_ones(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    assert list(read(file)) == []
    good = b'{"step": 1}'
    file.write_bytes(b"\n".join([good, b'{"step": \xff}', b"\0" * 9, b"[1]", b"[" * 9999, good, b""]))
    assert [line for _, line in read(file)] == [{"step": 1}, None, None, None, None, {"step": 1}]


def test_a_disk_that_fills_up_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    """The limit for a file's size is met as a full disk is: a part is taken, then an error."""
    file = tmp_path / "lines"
    append(file, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append(file, {"step": 2, "loss": 0.5})
        assert file.read_text() == '{"step": 1}\n'
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append(file, {"step": 3})
    assert list(objects(file)) == [{"step": 1}, {"step": 3}]


def test_lines_that_a_full_disk_refuses_are_written_later_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    lines = Appender(file, kept=2)
    lines.add({"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        for step in (2, 3, 4):
            with pytest.raises(OSError, match="File too large"):
                lines.add({"step": step})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lines.add({"step": 5})
    lines.flush()
    assert list(objects(file)) == [{"step": 1}, {"step": 4}, {"step": 5}]  # of those that waited, two are kept
