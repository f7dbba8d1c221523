"""The console script: `wildsr train quickstart`, `wildsr upscale ...`; each program is `python -m trainer.NAME` too.

A module beside the packages: PyPI's distribution `trainer` puts its folder over ours, and importing anything below
`trainer` then fails before a sentence can be printed.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

PROGRAMS = {
    "train": ("trainer.launcher.__main__", "train by a configuration, or on a folder of photographs"),
    "upscale": ("trainer.upscale.__main__", "enlarge pictures by a trained network"),
    "export": ("trainer.export.__main__", "write a trained network for other programs"),
    "prepare": ("trainer.prepare.__main__", "cut photographs into tiles, a data set to train on"),
    "push": ("trainer.push", "push a run to the model hub"),
    "runs": ("trainer.runs", "a table of all runs below a folder"),
    "profile": ("trainer.profiler.__main__", "time the parts of a training step"),
    "report": ("trainer.report.__main__", "write a page of a run, with its curves and pictures"),
    "import-options": ("trainer.import_options", "translate options of Real-ESRGAN or opensr-srgan"),
    "configs": ("trainer.configs", "list or copy the configurations that come with the program"),
}
"""By command: the module whose `main` it is, and a line of the help."""


def is_ours() -> bool:
    """True if `import trainer` finds this program's package."""
    try:
        import trainer
    except ImportError:  # of a module that the other package's beginning wants
        return False
    return "Upscaler" in getattr(trainer, "__all__", ())


def not_ours(folder: Path) -> str:
    """The sentence for a package `trainer` in `folder` that is another one."""
    return (
        f"error: the package 'trainer' in {folder} is another one, such as PyPI's 'trainer' (of coqui-tts), "
        "whose folder has the same name; use an environment without it."
    )


def help_text() -> str:
    """The commands, a line each."""
    rows = "\n".join(f"  {name:<16}{sentence}" for name, (_, sentence) in PROGRAMS.items())
    return (
        f"usage: wildsr COMMAND ...\n\nTrain and use blind super-resolution networks.\n\ncommands:\n{rows}\n\n"
        "`wildsr COMMAND --help` explains one; `wildsr --version` prints the version.\n"
    )


def installed_version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and Ctrl-C is not heard yet

    try:
        return version("wildsr")
    except PackageNotFoundError:
        return "(not installed: run from its files)"


def as_typed(script: str) -> str:
    """The words by which a shell starts `script` again: its name where the shell finds it by that, else its path."""
    import shutil

    name = Path(script).name
    if name == Path(__file__).name:
        return "python -m wildsr"
    found = shutil.which(name)
    return name if found and Path(found).resolve() == Path(script).resolve() else shlex.quote(script)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status, or 2 for a mistake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not is_ours():
        print(not_ours(Path(__file__).resolve().parent), file=sys.stderr)
        return 2
    from trainer.console import CALLED, guard
    from trainer.mistakes import suggestion

    os.environ.setdefault(CALLED, as_typed(sys.argv[0]))
    if words[:1] in ([], ["-h"], ["--help"]):
        print(help_text(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"wildsr {installed_version()}")
        return 0
    if words[0] not in PROGRAMS:
        print(f"error: no command '{words[0]}'; {suggestion(words[0], list(PROGRAMS))}.", file=sys.stderr)
        return 2
    guard()
    try:
        program = import_module(PROGRAMS[words[0]][0])
        status: int = program.main(words[1:])
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
