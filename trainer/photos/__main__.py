"""Choose settings for a folder of photographs: `python -m trainer.photos PHOTOS`, for `./launch/local.sh PHOTOS`."""

import argparse
import sys
from collections.abc import Sequence

from trainer.files.paths import path_option
from trainer.photos.defaults import LIKE, MINUTES

EPILOG = """\
examples:
  ./launch/local.sh ~/photos
  ./launch/local.sh ~/photos --scale 2 --minutes 30
  ./launch/local.sh ~/scans --like text name=scans
  ./launch/local.sh ~/photos --from realesr-general-x4v3.pth
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it, so `--help` is at once."""
    durations = ", ".join(f"{minutes:g} on {device}" for device, minutes in MINUTES.items())
    parser = argparse.ArgumentParser(
        prog="./launch/local.sh",
        description="Train on the pictures of a folder, with sizes for this machine; the same command resumes the run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", type=path_option, metavar="PHOTOS", help="a folder of pictures")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace what is chosen")
    parser.add_argument("--scale", type=int, choices=(2, 4), help="how many times larger, per side (default: 4)")
    parser.add_argument("--minutes", type=float, metavar="N", help=f"how long to train ({durations})")
    parser.add_argument("--like", choices=sorted(LIKE), default="photo", help="what the pictures are")
    parser.add_argument("--from", dest="origin", metavar="FILE", help="begin with a trained network: .pth, run, hub id")
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the configuration, and print its path; the exit status: 0, or 2 for a mistake in a sentence on stderr."""
    options = parse(arguments)
    from trainer.mistakes import Mistake
    from trainer.photos.write import write_config  # imports torch, so not before the arguments are known to be good

    try:
        print(write_config(options))
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
