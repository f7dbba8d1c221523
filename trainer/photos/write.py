"""The configuration of a run on somebody's photographs, as a file beside its run folder."""

import argparse
import sys
from pathlib import Path

from trainer.config.loader import dump_tree, load_config
from trainer.config.schema import RunConfig, folder_of
from trainer.files.atomic import write_atomically
from trainer.mistakes import Mistake
from trainer.photos.choose import hold_out, machine_here, settings
from trainer.photos.defaults import MINUTES
from trainer.photos.timing import schedule

FEW = 20
"""Pictures below which a person is told that more would help."""


def write_config(options: argparse.Namespace) -> Path:
    """The file for these options, written and printed to stderr; the one that is there if the same command made it.

    Beside it lie two lists, of the pictures that are trained on and of those that are held out.

    Raises:
        Mistake: an option, the folder, the weights, or a setting is wrong.
    """
    if options.minutes is not None and not options.minutes > 0:
        raise Mistake(f"--minutes: got {options.minutes:g}; must be above 0.")
    machine = machine_here(options.processes)
    like = options.like or "photo"
    tree = settings(str(options.photos), machine, options.scale, like, options.origin, options.overrides)
    named = dict(text.partition("=")[::2] for text in options.overrides)
    folder = Path(named.get("output_dir", tree["output_dir"]), f"{named.get('name', tree['name'])}.photos")
    path = folder / "my_photos.yaml"
    command = f"# Made by: {' '.join(f'{key}={value}' for key, value in sorted(vars(options).items()))}\n"
    if path.is_file() and path.read_text().startswith(command):
        print(f"{path} was made by the same command: the run goes on by it.", file=sys.stderr)
        return path
    train, held_out = hold_out(str(options.photos))
    folder.mkdir(parents=True, exist_ok=True)
    for key, names, section in (("train", train, tree["images"]), ("held_out", held_out, tree["validation"])):
        file = (folder / f"{key}.txt").resolve()
        write_atomically(file, "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
        section["source"] = {"type": "folder", "path": str(Path(options.photos).resolve()), "list": str(file)}
    draft = folder / "my_photos.draft.yaml"  # not the file itself, which would be taken for whole
    try:
        draft.write_text(dump_tree(tree))
        config = load_config(RunConfig, draft, options.overrides)
    finally:
        draft.unlink(missing_ok=True)
    tree |= schedule(config, options.minutes or MINUTES[machine.kind], machine.processes)
    write_atomically(path, (command + dump_tree(tree, compact=True)).encode())
    few = f", which are few: {FEW} and more would help" if len(train) < FEW else ""
    print(path.read_text(), file=sys.stderr)
    print(
        f"{len(train)} pictures to train on{few}; {len(held_out)} held out to measure the result by. "
        f"The settings are in {path}, results will be in {folder_of(config).path}.",
        file=sys.stderr,
    )
    return path
