"""The work of `python -m trainer.export`: write each file aside, compare it with torch, then move it into place."""

import json
import re
import tempfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import reason
from trainer.export.check import TOLERANCES, largest_difference, pictures_for, results_of
from trainer.export.onnx_file import OPSET, check_onnx, results_of_onnx, write_onnx
from trainer.export.openmodeldb import entry
from trainer.export.source import Source, open_source, run_of_export
from trainer.export.weights_file import results_of_weights, write_diffusers, write_pth, write_safetensors
from trainer.files.atomic import ASIDE, settle, write_atomically
from trainer.files.paths import check_path
from trainer.mistakes import Mistake
from trainer.networks.loading.generators import multiple_of, scale_of
from trainer.networks.loading.state_dicts import CONFIG, WEIGHTS

DTYPE_SUFFIXES = {torch.float32: "", torch.float16: "-fp16", torch.bfloat16: "-bf16"}


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: its writer, and how to compute results from the file."""

    suffix: str
    write: Callable[[Source, torch.dtype, Path], None]
    results: Callable[[Source, torch.dtype, Path, list[Tensor]], list[Tensor]]
    words: str


FORMATS = {
    "safetensors": Format(".safetensors", write_safetensors, results_of_weights, "weights, configuration and facts"),
    "pth": Format(".pth", write_pth, results_of_weights, 'weights as {"params_ema": ...}'),
    "diffusers": Format("", write_diffusers, results_of_weights, "a folder for from_pretrained"),
    "onnx": Format(".onnx", write_onnx, results_of_onnx, f"a graph of opset {OPSET}, dynamic batch, height and width"),
}


def release(options: Namespace) -> None:
    """Write each format of `options.to`, and an entry for OpenModelDB, into one folder; print differences from torch.

    Raises Mistake for what a person can put right, Failure if a file does not compute what the network does; such a
    file is not kept.
    """
    formats, dtype = _formats(options.to), getattr(torch, options.dtype)
    if "onnx" in formats:
        check_onnx(dtype)
    source = open_source(options.run, options.trust)
    folder = _folder(options)
    stem = f"{stem_of(source)}{DTYPE_SUFFIXES[dtype]}"
    for name in formats:
        _check_target(folder / f"{stem}{FORMATS[name].suffix}", Path(options.run))
    pictures, multiple = pictures_for(source.net), multiple_of(source.net)
    wanted = results_of(source.net, pictures)
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder) as aside:  # no other process writes here
            for name in formats:
                made = Path(aside) / f"{stem}{FORMATS[name].suffix}"
                FORMATS[name].write(source, dtype, made)
                results = FORMATS[name].results(source, dtype, made, pictures)
                difference = largest_difference(wanted, results, dtype, made)
                files.append(_move_into(made, folder))
                padded = f", padded within to a multiple of {multiple}" if name == "onnx" and multiple > 1 else ""
                print(
                    f"{files[-1]}: {FORMATS[name].words}{padded}, {options.dtype}; within {difference:.1e} of torch "
                    f"({TOLERANCES[dtype]:.0e} is allowed)",
                    flush=True,
                )
        _write_entry(source, [file for file in files if file.is_file()], folder / f"{stem}.json", options)
    except (OSError, SafetensorError) as error:  # safetensors raises the latter on a full disk
        raise Mistake(f"--out: {folder} cannot be written to: {reason(error)}.") from error


def stem_of(source: Source) -> str:
    """File name without suffix, in OpenModelDB's form: 4x-Name-With-Hyphens."""
    scale = scale_of(source.net)
    return f"{scale}x-{re.sub(r'[^A-Za-z0-9]+', '-', source.name.removeprefix(f'{scale}x')).strip('-')}"


def _formats(text: str) -> list[str]:
    """The formats named in a comma-separated list; Mistake for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (unknown := [name for name in names if name not in FORMATS]):
        got = ", ".join(unknown) if names else "nothing"
        raise Mistake(f"--to: got {got}; wanted some of {', '.join(FORMATS)}, with commas between them.")
    return list(dict.fromkeys(names))


def _folder(options: Namespace) -> Path:
    if options.out:
        check_path(options.out, "--out")
        if (folder := Path(options.out)).is_file():
            raise Mistake(f"--out: {folder} is a file; wanted a folder.")
        return folder
    path = Path(options.run)
    if (run := run_of_export(path) or RunFolder(path)).config.is_file():
        return run.release
    raise Mistake(f"--out: must be given, as {options.run} is no run folder.")


def _check_target(target: Path, source: Path) -> None:
    """Raise Mistake if `target` would replace what is exported, or a folder that is no earlier export."""
    if target.exists() and source.resolve().is_relative_to(target.resolve()):
        raise Mistake(f"--out: {target} would replace what is exported; give another folder.")
    if target.is_dir() and (others := {entry.name for entry in target.iterdir()} - {CONFIG, WEIGHTS}):
        raise Mistake(f"--out: {target} is there and no export, for it holds {min(others)}; give another folder.")


def _move_into(made: Path, folder: Path) -> Path:
    """Move a checked file into `folder`; its path there."""
    final = folder / made.name
    settle(made, final)
    return final


def _write_entry(source: Source, files: list[Path], file: Path, options: Namespace) -> None:
    found = entry(source, files, options.author, options.license)
    if found is None:
        print(f"no entry for OpenModelDB: it does not know {type(source.net).__name__} with these bands")
        return
    write_atomically(file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    unknown = [key for key in ("author", "license") if found[key] is None]
    print(f"{file}: an entry for OpenModelDB" + (f"; give it --{' and --'.join(unknown)}" if unknown else ""))
