"""Ctrl-C in the programs that do not train."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.ctrl_c import ending_at_ctrl_c, raising_at_ctrl_c

ROOT = Path(__file__).parents[2]
AT_TORCH = """
import os, signal, sys
from trainer.{module} import main
class Pressing:
    def find_spec(self, name, *_):
        if name in ("torch", "yaml"):
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Pressing())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    {
        "upscale.__main__": ["--model", "none", "--input", "none", "--output", "none"],
        "export.__main__": ["none"],
        "photos.__main__": ["none"],
        "report.__main__": ["none"],
        "prepare.__main__": ["none", "none"],
        "push": ["none"],
        "import_options": ["none"],
    }.items(),
)
def test_amid_the_imports_it_ends_the_program_in_one_line(module: str, arguments: list[str]) -> None:
    command = [sys.executable, "-c", AT_TORCH.format(module=module), *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "stopped.\n")


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail_at_ctrl_c() -> None:
    """Press it twice, and fail as an import that was interrupted does."""
    try:
        press()
    except KeyboardInterrupt:
        press()
        raise ImportError("cannot load module more than once per process") from None


def test_work_is_interrupted_once_and_whatever_follows_is_that_interruption() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ending_at_ctrl_c():
        for work in (press, fail_at_ctrl_c):
            with pytest.raises(KeyboardInterrupt), raising_at_ctrl_c():
                work()
        with pytest.raises(ValueError, match="its own"), raising_at_ctrl_c():
            raise ValueError("its own")
    assert signal.getsignal(signal.SIGINT) == before
