"""The trainer's entry: `accelerate launch trainer/run.py CONFIG [key=value ...]`."""

import argparse
import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
if __name__ != "trainer.run":
    # Started by its path: Python put trainer/ on sys.path, where its modules would shadow others; the folder above it
    # belongs there.
    sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != HERE)]

from wildsr import is_ours, not_ours  # noqa: E402

if not is_ours():
    print(not_ours(HERE.parent), file=sys.stderr)
    sys.exit(2)

from trainer.config.renamed_keys import RESUME_KEYS, RESUMING  # noqa: E402
from trainer.distributed.signals import REQUEST  # noqa: E402

if __name__ == "__main__":
    REQUEST.listen()  # before the other imports, which take seconds

from trainer.configs import runnable  # noqa: E402
from trainer.files.paths import path_option  # noqa: E402

Work = Callable[[argparse.Namespace], None]
"""What a command line asks for; Mistake and Failure end it in a sentence."""

EPILOG = """\
examples:
  accelerate launch trainer/run.py configs/quickstart.yaml
  accelerate launch trainer/run.py configs/realesrnet_x4plus.yaml images.source.path=/data/DF2K batch.per_device=24
  python trainer/run.py configs/quickstart.yaml --print
  python trainer/run.py --explain optimizer

Running the same command again resumes the run. Every key, its values and what it is for: --explain.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it, so `--help` is at once."""
    parser = argparse.ArgumentParser(
        prog="trainer/run.py",
        description="Train a blind super-resolution network on any number of processes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, "CONFIG", "such as configs/quickstart.yaml")
    checks = parser.add_mutually_exclusive_group()
    checks.add_argument(
        "--check",
        type=count,
        metavar="N",
        help="check configuration, data and folders for N processes, name the run folder, and exit",
    )
    checks.add_argument(
        "--fit",
        type=count,
        metavar="N",
        help="the same for the largest number of processes up to N that the batch divides by; print that number",
    )
    return parsed(parser, arguments)


def add_options(parser: argparse.ArgumentParser, what: str, example: str) -> None:
    """Add to a parser the configuration, its overrides, and what is to be done with them."""
    parser.add_argument("config", type=path_option, nargs="?", metavar=what, help=example)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of CONFIG")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--print", action="store_true", help="print the resolved configuration and exit")
    action.add_argument(
        "--dry-run", action="store_true", help="build everything, take a step of each phase, write nothing, and exit"
    )
    action.add_argument(
        "--explain",
        nargs="?",
        const="",
        metavar="KEY",
        help="what the configuration's keys mean, all or those below KEY: their values and defaults; and exit",
    )
    action.add_argument("--fresh", action="store_true", help="move an earlier run of this name aside and start anew")


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line; exits with status 2 and a sentence where they do not go together."""
    options, unknown = parser.parse_known_intermixed_args(arguments)  # overrides may come before and after options
    if unknown:
        name, equals, value = unknown[0].lstrip("-").partition("=")
        name = name.replace("-", "_")
        if name in RESUME_KEYS:
            parser.error(f"unknown option {unknown[0]}; {RESUMING}")
        following = [word for word in [*unknown[1:], *options.overrides] if "=" not in word and word[:1] != "-"]
        written = f"{name}={value if equals else next(iter(following), '...')}"
        parser.error(f"unknown option {unknown[0]}; settings are given without dashes, as in {written}")
    if options.explain is not None:
        if options.config is not None:
            parser.error(f"--explain takes one key and no CONFIG, got {options.config} too")
        return options
    if options.config is None:
        parser.error(f"CONFIG must be given; there are {runnable()}")
    options.shipped = runnable()
    return options


def count(text: str) -> int:
    """A number of processes."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; must be at least 1")
    return number


def reports_error(everywhere: bool) -> bool:
    """True if this rank prints the error that ends the run, which other ranks may end by too (`everywhere`)."""
    if os.environ.get("RANK", "0") == "0":
        return True
    if everywhere:
        return os.environ.get("LOCAL_RANK") == "0"  # as each machine may have a log of its own
    return not rank_0_says_it()


def rank_0_says_it() -> bool:
    """Nearly always every rank meets the same mistake: rank 0 says it and ends, and the launcher then stops the others.

    Waits for that; False where it does not come, so this rank is alone with its mistake.
    """
    deadline = time.monotonic() + 30  # on a busy machine rank 0 may be that late
    while REQUEST.name is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return REQUEST.name is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, or 2 for a mistake and 1 for a failure, which a sentence explains."""
    options = parse(arguments)
    # The run itself is saved when it is asked to stop; the rest has nothing to lose.
    trains = not (options.print or options.check or options.fit or options.dry_run)
    nothing_lost = "stopped; nothing was written." if reports_error(everywhere=True) else ""
    REQUEST.end_at_once(None if trains else nothing_lost)
    if options.explain is not None:
        from trainer.console import guard

        guard()  # before anything is said
        return print_reference(options.explain)
    return carry_out(importing, options)


def importing() -> Work:
    """The work of the command line, once its packages are imported: torch among them, so not before its words are
    known to be good."""
    from trainer.command import execute

    return execute


def carry_out(importing: Callable[[], Work], options: argparse.Namespace) -> int:
    """Import a program's work and do it; the exit status: 0, or 2 for a mistake and 1 for a failure, which a sentence
    explains."""
    try:
        from trainer.console import guard

        guard()
        execute = importing()
        from trainer.distributed.ranks import end_together, leave_group, naming_lost_ranks
        from trainer.distributed.waiting import WATCH, Stopped
        from trainer.mistakes import Failure, Mistake
    except ModuleNotFoundError as absent:
        print(
            f"error: {sys.executable} has no package '{absent.name}'; ./launch/local.sh makes an environment that has "
            f"everything, `pip install wildsr` or, in a checkout, `pip install -e .` adds it to this one.",
            file=sys.stderr,
        )
        return 2
    if not gc.isenabled():
        gc.freeze()  # what was imported stays: no later collection, during a step, looks through it
        gc.enable()

    status = 0
    try:
        with naming_lost_ranks():
            execute(options)
    except Stopped as stopped:  # before the first step: later ones are saved
        end_together(str(stopped))
        REQUEST.obeyed = True
        if os.environ.get("RANK", "0") == "0":
            print(f"stopped before the first step: {stopped} {WATCH.ask_last_words()}", flush=True)
    except (Mistake, Failure) as mistake:
        prints = mistake.prints if isinstance(mistake, Failure) else None
        if reports_error(mistake.everywhere) if prints is None else prints:
            print(f"error: {mistake}", file=sys.stderr, flush=True)
        if prints is not None:
            end_together()
        status = 2 if isinstance(mistake, Mistake) else 1
    leave_group()
    WATCH.stop()
    return status


def print_reference(key: str) -> int:
    """Print what the keys of the configuration mean, on rank 0; the exit status. Imports no torch."""
    from trainer.config.reference import explain
    from trainer.console import give
    from trainer.mistakes import Mistake

    try:
        text = explain(key)
        if reports_error(everywhere=True):
            give(text)
    except Mistake as mistake:
        if reports_error(everywhere=True):
            print(f"error: {mistake}", file=sys.stderr, flush=True)
        return 2
    return 0


def exit_process(status: int) -> NoReturn:
    """End the process, once what is registered for that is done, without taking the interpreter apart.

    That unwinds daemon threads where they are, and one in C++ then aborts the process: seen after runs that were done.
    """
    atexit._run_exitfuncs()
    os._exit(status)


if __name__ == "__main__":
    gc.disable()  # until they are done: to look for garbage among their objects is a sixth of that time
    exit_process(main() or REQUEST.status)
