"""Import of options of Real-ESRGAN and opensr-srgan: `python -m trainer.import_options FILE.yml > mine.yaml`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer.console import called, give
from trainer.ctrl_c import ending_at_ctrl_c
from trainer.files.atomic import write_atomically
from trainer.files.paths import check_path, path_option

EPILOG = """\
examples:
  {prog} options/train_realesrgan_x4plus.yml > configs/mine.yaml
  {prog} options/finetune_realesrgan_x4plus.yml --num-gpu 1 --out configs/mine.yaml
  {prog} opensr_srgan/configs/config_10m.yaml --out configs/mine.yaml

What has no counterpart is named on stderr, a line each, with the reason.
"""
HEAD = """\
# From {file}, by python -m trainer.import_options.
#
#   accelerate launch trainer/run.py {out}
"""
NO_VALIDATION = """\
#
# There is no validation without a `validation` section: configs/quickstart.yaml shows one.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it, so `--help` is at once."""
    parser = argparse.ArgumentParser(
        prog=called("import-options"),
        description="Print the configuration that the options of Real-ESRGAN or opensr-srgan come to.",
        epilog=EPILOG.format(prog=called("import-options")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        type=path_option,
        metavar="FILE.yml",
        help="such as options/train_realesrgan_x4plus.yml of Real-ESRGAN, or opensr-srgan's config_10m.yaml",
    )
    parser.add_argument("--out", type=path_option, metavar="FILE.yaml", help="write there instead of printing")
    parser.add_argument(
        "--num-gpu",
        type=int,
        default=4,
        metavar="N",
        help="what Real-ESRGAN's num_gpu: auto stands for; upstream's runs had 4",
    )
    return parser.parse_args(arguments)


Translate = Callable[[dict[str, Any]], tuple[dict[str, Any], list[str]]]
"""Our tree for another program's, and what is to be said of it; raises Mistake."""


def translator(file: Path, tree: dict[str, Any], gpus: int) -> Translate:
    """The translator for the tree of a file; Mistake if it is of no known program."""
    from trainer.config.foreign_files import program_of
    from trainer.foreign_options import opensr as opensr_options
    from trainer.foreign_options import realesrgan as upstream_options
    from trainer.mistakes import Mistake

    program = program_of(tree)
    if program is None:
        raise Mistake(f"{file} has neither the sections of Real-ESRGAN's options nor those of opensr-srgan's.")
    if program == "opensr-srgan":
        return partial(opensr_options.translate, name=file.stem)
    return partial(upstream_options.translate, gpus=gpus)


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, or 2 for a mistake that a sentence on stderr explains."""
    options = parse(arguments)
    from trainer.config.loader import dump_tree, read_tree, validated
    from trainer.config.schema import RunConfig  # imports torch, so not before the arguments are known to be good
    from trainer.foreign_options.realesrgan_losses import with_named_entries
    from trainer.foreign_options.tree import foreign_name
    from trainer.mistakes import Mistake

    try:
        if options.num_gpu < 1:
            raise Mistake(f"--num-gpu: got {options.num_gpu}; must be at least 1.")
        theirs = read_tree(options.file)
        translate = translator(options.file, theirs, options.num_gpu)
        tree, notes = translate(theirs)
        called_there = partial(foreign_name, with_named_entries(theirs), translate)
        validated(RunConfig, tree, str(options.file), called=called_there)
        head = HEAD.format(file=options.file.name, out=options.out or "THIS.yaml")
        text = f"{head}{'' if 'validation' in tree else NO_VALIDATION}\n{dump_tree(tree, compact=True)}"
        if options.out:
            check_path(options.out, "--out")
            if options.out.exists() and options.out.samefile(options.file):
                raise Mistake(f"--out: {options.out} is what is read; give another file.")
            try:
                if options.out.exists() and options.out.read_bytes() != text.encode():
                    raise Mistake(f"--out: {options.out} is there already; give another name, or remove it.")
                write_atomically(options.out, text)
            except OSError as error:
                raise Mistake(f"--out: {options.out} cannot be written: {error.strerror}.") from None
        else:
            give(text)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    for note in notes:
        print(f"{options.file.name}: {note}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
