"""Export a generator to other programs: `python -m trainer.export RUN --to safetensors,pth,onnx`."""

import argparse
import sys
from collections.abc import Sequence

from trainer.console import called, guard
from trainer.ctrl_c import INTERRUPTED, ending_at_ctrl_c, raising_at_ctrl_c
from trainer.files.paths import expanded

EPILOG = """\
examples:
  {prog} outputs/realesrgan_x4plus --to safetensors,pth
  {prog} outputs/realesrgan_x4plus/checkpoints/step-00400000 --to onnx --dtype float16 --out files
  {prog} RealESRGAN_x4plus.pth --to diffusers --out files

Each file is opened again and compared with torch before it gets its name; an entry for OpenModelDB lies beside them.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line, without heavy imports, so that `--help` is quick."""
    parser = argparse.ArgumentParser(
        prog=called("export"),
        description="Write the averaged generator of a run as files that other programs open.",
        epilog=EPILOG.format(prog=called("export")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=expanded, metavar="RUN", help="a run, a checkpoint, an export, a file or a hub id")
    parser.add_argument("--to", default="safetensors", metavar="LIST", help="of safetensors, pth, diffusers, onnx")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--out", type=expanded, metavar="DIR", help="where to write; release/ of the run by default")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="a class, module or package that RUN may have imported and run; may be given again",
    )
    parser.add_argument("--author", metavar="ID", help="a user of OpenModelDB, for the entry")
    parser.add_argument("--license", metavar="SPDX", help="such as CC-BY-4.0, for the entry")
    return parser.parse_args(arguments)


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 0, 2 for a Mistake, 1 for a file that does not compute what the network does."""
    options = parse(arguments)
    from trainer.export.release import release  # imports torch, so only once the arguments are valid
    from trainer.mistakes import Failure, Mistake

    try:
        with raising_at_ctrl_c():
            release(options)
    except (Mistake, Failure) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2 if isinstance(mistake, Mistake) else 1
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    guard()  # a reader that closes the pipe does not end the export
    sys.exit(main())
