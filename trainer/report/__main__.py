"""`python -m trainer.report RUN`: a page of a run, written to report.html in its folder."""

import argparse
import sys
from collections.abc import Sequence

from trainer.console import called, guard
from trainer.ctrl_c import INTERRUPTED, ending_at_ctrl_c, raising_at_ctrl_c
from trainer.files.paths import check_path, path_option


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog=called("report"),
        description="Write a page of a run, which may be running still: its figures against bicubic, curves, health, "
        "settings, and validation pictures with a slider. It is one HTML file that needs no network and names no "
        "folder of this machine.",
    )
    parser.add_argument("run", type=path_option, metavar="RUN", help="a run folder, such as outputs/quickstart")
    parser.add_argument("--out", type=path_option, metavar="FILE", help="the file; by default report.html in RUN")
    return parser.parse_args(arguments)


def report(options: argparse.Namespace) -> str:
    """Write the page; a sentence on where it is. Raises Mistake for what a person can put right."""
    from trainer.checkpoints.run_folder import RunFolder
    from trainer.mistakes import Mistake
    from trainer.report.page import write_report

    check_path(options.run, "RUN")
    folder = RunFolder(options.run)
    if not folder.path.is_dir():
        raise Mistake(f"{options.run} is no folder: wanted the folder of a run, such as outputs/quickstart.")
    if not folder.config.is_file():
        raise Mistake(f"{options.run} is no run folder: it has no config.yaml.")
    file = options.out or folder.report
    check_path(file, "--out")
    if file.is_dir():
        raise Mistake(f"--out: {file} is a folder; wanted the name of a file, such as {file / 'report.html'}.")
    try:
        write_report(folder, file)
    except OSError as error:
        raise Mistake(f"{error.filename or file} cannot be read or written: {error.strerror or error}.") from None
    return f"{file}, {file.stat().st_size / 2**20:.1f} MB"


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = parse(arguments)
    from trainer.mistakes import Mistake

    try:
        with raising_at_ctrl_c():
            print(report(options))
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    guard()
    sys.exit(main())
