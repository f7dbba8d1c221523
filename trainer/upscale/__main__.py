"""Enlarge pictures: `python -m trainer.upscale --model RUN_OR_FILE_OR_HUB_ID --input PATH --output DIR`."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.console import called, guard
from trainer.ctrl_c import INTERRUPTED, ending_at_ctrl_c, raising_at_ctrl_c
from trainer.files.paths import expanded, path_option

if TYPE_CHECKING:
    from trainer.upscale.files import Job, Plan
    from trainer.upscale.picture import Picture

EPILOG = """\
examples:
  {prog} --model outputs/quickstart --input photo.jpg --output large
  {prog} --model RealESRGAN_x4plus.pth --input 'photos/**/*.png' --output large --outscale 2
  {prog} --model realesr-general-x4v3.pth --denoise-model realesr-general-wdn-x4v3.pth \\
      --denoise-strength 0.5 --input photos --output large
  {prog} --model outputs/srgan_rs_10m --input scene.tif --output large --white 10000

What is there is skipped, so the same command goes on where it was stopped. The exit status is 1 if a file failed, and
130 after Ctrl-C.
"""
DTYPES = ("float32", "float16", "bfloat16")
SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def _number(kind: Callable[[str], float], least: float, above: bool = False) -> Callable[[str], float]:
    def parsed(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            wanted = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"got {text}; must be a {wanted}") from None
        if not (value > least if above else value >= least) or value == float("inf"):
            raise argparse.ArgumentTypeError(f"got {text}; must be {'above' if above else 'at least'} {least}")
        return value

    return parsed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line, without heavy imports, so that `--help` answers at once."""
    parser = argparse.ArgumentParser(
        prog=called("upscale"),
        description="Enlarge picture files by a trained network, tile by tile without seams.",
        epilog=EPILOG.format(prog=called("upscale")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        type=expanded,
        metavar="ORIGIN",
        help="a run, an export, a .pth or .safetensors file, or a hub id",
    )
    add(
        "--input",
        required=True,
        type=expanded,
        nargs="+",
        metavar="PATH",
        help="files, folders with their sub-folders, or globs",
    )
    add(
        "--output",
        required=True,
        type=path_option,
        metavar="DIR",
        help="the folder for the results, which keep their names",
    )
    add("--outscale", type=_number(float, 0, above=True), metavar="F", help="final enlargement (the network's)")
    add("--tile", type=_number(int, 1), metavar="N", help="side of a tile in input pixels (1024 on a GPU, else 512)")
    add("--overlap", type=_number(int, 0), metavar="N", help="what a tile reads beyond its sides (what the network "
        "sees, at most 96)")  # fmt: skip
    add("--denoise-strength", type=float, metavar="S", help="share of --model, from 0 to 1, in a mixture with "
        "--denoise-model")  # fmt: skip
    add(
        "--denoise-model",
        type=expanded,
        metavar="ORIGIN",
        help="a sister of --model, such as realesr-general-wdn-x4v3.pth",
    )
    add("--dtype", type=lambda text: SHORT.get(text, text), choices=DTYPES, help="what is computed in, also fp32, fp16 "
        "and bf16 (float16 on a GPU, else float32)")  # fmt: skip
    add("--device", metavar="D", help="cpu, cuda, cuda:1, mps (the GPU if there is one)")
    add("--suffix", default="", metavar="TEXT", help="what is put behind the files' names (nothing)")
    add("--format", default="same", choices=("same", "png", "jpg", "webp", "tif"), help="of the results (same: that of "
        "the file, or png where it is none of these)")  # fmt: skip
    add("--trust", action="append", default=[], metavar="MODULE", help="a class, module or package that the file of a "
        "model may have imported and run; may be given again")  # fmt: skip
    add("--overwrite", action="store_true", help="make also what is already there")
    add("--black", type=float, metavar="X", help="the number in a TIFF that means 0 (0)")
    add("--white", type=float, metavar="X", help="the number in a TIFF that means 1, such as 10000 (255 if it has 8 "
        "bits; else a raster needs it)")  # fmt: skip
    add("--max-picture-mib", type=_number(int, 1), default=2048, metavar="N", help="memory that reading a picture may "
        "take, in MiB (2048)")  # fmt: skip
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    """Upscale; the exit status: 0, or 1 if a file failed. Raises Mistake for what a person can put right."""
    from trainer.images.listing import printable
    from trainer.upscale.files import find_jobs

    check_options(options)
    plan = find_jobs(options.input, options.output, options.suffix, options.format)
    fresh = [job for job in plan.jobs if options.overwrite or not job.is_made]
    there, outcome = len(plan.jobs) - len(fresh), Outcome()
    try:
        if fresh:
            upscale_files(replace(plan, jobs=fresh), options, outcome)
    except KeyboardInterrupt:
        goes_on = "without --overwrite the same command goes on" if options.overwrite else "the same command goes on"
        print(f"stopped; {there + len(outcome.made)} of {len(plan.jobs)} made; {goes_on}.", file=sys.stderr)
        return INTERRUPTED
    already = f", {there} were there already" if there else ""
    print(f"{len(outcome.made)} of {len(plan.jobs)} files upscaled into {printable(str(options.output))}{already}")
    if plan.left_out:
        endings = ", ".join(f"{count} {ending}" for ending, count in sorted(plan.left_out.items()))
        print(f"left out, for what they are or how their names end: {printable(endings)}")
    if outcome.lost:
        kinds = ", ".join(f"{kind} of {count}" for kind, count in sorted(outcome.lost.items()))
        print(f"not carried over: {kinds}")
    if outcome.failed:
        print(f"error: {len(outcome.failed)} failed:", file=sys.stderr)
        for name, reason in outcome.failed.items():
            print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if outcome.failed else 0


@dataclass
class Outcome:
    """The results so far."""

    made: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    """Files that failed, with the reason."""
    lost: Counter[str] = field(default_factory=Counter)
    """Number of files by the kinds of their metadata that are not in the results."""


def check_options(options: argparse.Namespace) -> None:
    """Raise Mistake for options that do not go together."""
    from trainer.mistakes import Mistake

    if "/" in options.suffix or "\0" in options.suffix:
        raise Mistake(f"--suffix: got {options.suffix!r}; must be a part of a file's name.")
    strength = options.denoise_strength
    if (strength is None) != (options.denoise_model is None):
        raise Mistake("--denoise-strength and --denoise-model mix two networks: both are needed, or neither.")
    if strength is not None and not 0 <= strength <= 1:
        raise Mistake(f"--denoise-strength: got {strength:g}; must be from 0 to 1.")
    if options.white is None and options.black is not None:
        raise Mistake("--black needs --white, the number that means 1.")
    if options.white is not None and not options.white > (options.black or 0):
        raise Mistake(f"--white: got {options.white:g}; must be above --black, {options.black or 0:g}.")


def check_device(name: str | None) -> None:
    """Raise Mistake for a device that PyTorch does not have here."""
    import torch

    from trainer.mistakes import Mistake

    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        reason = str(error).splitlines()[0].rstrip(".")
        raise Mistake(f"--device: {name} is not to be had here: {reason}.") from error


def make_folder(path: Path) -> None:
    """Make the folder of the results, with those above it; Mistake if it cannot be made or written to."""
    import tempfile

    from trainer.mistakes import Mistake

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"--output: folder {path} cannot be made: {error.strerror}.") from error
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise Mistake(f"--output: folder {path} cannot be written to: {error.strerror}.") from error


def upscale_files(plan: "Plan", options: argparse.Namespace, outcome: Outcome) -> None:
    """Upscale each file, entering each in `outcome` once it is written or has failed."""
    import torch
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from trainer.images.opened import Budget, Unreadable
    from trainer.mistakes import Failure
    from trainer.upscale.files import read_input, write_result
    from trainer.upscale.threads import pipelined
    from trainer.upscale.upscaler import Upscaler, open_mixture

    check_device(options.device)
    strength = 1.0 if options.denoise_strength is None else options.denoise_strength
    upscaler = Upscaler(
        open_mixture(options.model, options.denoise_model, strength, ("--model", "--denoise-model"), options.trust),
        device=options.device,
        dtype=options.dtype and getattr(torch, options.dtype),
        tile=options.tile,
        overlap=options.overlap,
    )
    print(upscaler)
    make_folder(options.output)

    def write(job: "Job", picture: "Picture") -> None:
        lost = write_result(job.target, picture, plan.among_inputs)
        outcome.lost.update(lost)
        outcome.made.append(job.target)

    budget = Budget(options.max_picture_mib, "--max-picture-mib")
    settled = pipelined(
        plan.jobs,
        read=lambda job: read_input(job.source, upscaler.bands, options.black, options.white, budget),
        work=lambda picture: upscaler.enlarged(picture, options.outscale),
        write=write,
        caught=(Unreadable, Failure, OSError, ValueError, MemoryError, RuntimeError),  # the last: a foreign network's
    )
    with (
        raising_at_ctrl_c(),
        logging_redirect_tqdm(),
        tqdm(settled, total=len(plan.jobs), unit="file", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar,
    ):
        for job, error in bar:
            if error is not None:
                reason = error.reason if isinstance(error, Unreadable) else str(error) or "no memory"
                outcome.failed[job.source] = reason.splitlines()[0]


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 if a file failed, or 2 for a mistake that a sentence explains."""
    options = parse(arguments)
    from trainer.mistakes import Mistake

    try:
        return execute(options)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    guard()  # a closed output, which only informs, does not end the work
    sys.exit(main())
