"""Choose settings for a folder of photographs: `python -m trainer.photos PHOTOS`, for `wildsr train PHOTOS`."""

import argparse
import sys
from collections.abc import Sequence

from trainer.console import guard
from trainer.ctrl_c import ending_at_ctrl_c
from trainer.files.paths import path_option
from trainer.photos.options import add_choices


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it, so `--help` is at once."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.photos",
        description="Write the configuration for a folder of pictures, by this machine, and print its path.",
    )
    parser.add_argument("photos", type=path_option, metavar="PHOTOS", help="a folder of pictures")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace what is chosen")
    add_choices(parser)
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="that will train (1)")
    return parser.parse_intermixed_args(arguments)


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the configuration, and print its path; the exit status: 0, or 2 for a mistake in a sentence on stderr."""
    options = parse(arguments)
    from trainer.mistakes import Mistake

    try:
        from trainer.photos.write import write_config  # imports torch, so not before the arguments are known to be good

        print(write_config(options))
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    guard()
    sys.exit(main())
