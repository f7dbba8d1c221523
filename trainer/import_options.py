"""A Real-ESRGAN options file in our words: `python -m trainer.import_options FILE.yml > configs/mine.yaml`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

EPILOG = """\
examples:
  python -m trainer.import_options options/train_realesrgan_x4plus.yml > configs/mine.yaml
  python -m trainer.import_options options/finetune_realesrgan_x4plus.yml --num-gpu 1 --out configs/mine.yaml

What has no counterpart is named on stderr, a line each, with the reason.
"""
HEAD = """\
# From {file}, by python -m trainer.import_options.
#
#   accelerate launch trainer/run.py {out}
#
# There is no validation without a `validation` section: configs/quickstart.yaml shows one.

"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it, so `--help` is at once."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.import_options",
        description="Print the configuration that a Real-ESRGAN options file comes to.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.yml", help="such as options/train_realesrgan_x4plus.yml")
    parser.add_argument("--out", type=Path, metavar="FILE.yaml", help="write there instead of printing")
    parser.add_argument(
        "--num-gpu", type=int, default=4, metavar="N", help="what num_gpu: auto stands for; upstream's runs had 4"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, or 2 for a mistake that a sentence on stderr explains."""
    options = parse(arguments)
    from trainer.config import RunConfig  # imports torch, so not before the arguments are known to be good
    from trainer.config_io import dump_tree, read_tree, validated
    from trainer.mistakes import Mistake
    from trainer.upstream_options import translate

    try:
        if options.num_gpu < 1:
            raise Mistake(f"--num-gpu: got {options.num_gpu}; must be at least 1.")
        tree, notes = translate(read_tree(options.file), options.num_gpu)
        validated(RunConfig, tree, f"what {options.file} comes to")
        text = HEAD.format(file=options.file.name, out=options.out or "THIS.yaml") + dump_tree(tree, compact=True)
        if options.out:
            if options.out.exists() and options.out.samefile(options.file):
                raise Mistake(f"--out: {options.out} is what is read; give another file.")
            try:
                options.out.write_text(text, encoding="utf-8")
            except OSError as error:
                raise Mistake(f"--out: {options.out} cannot be written: {error.strerror}.") from None
        else:
            print(text, end="")
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    for note in notes:
        print(f"{options.file.name}: {note}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
