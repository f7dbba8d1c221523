"""The command-line options by which settings for a folder of photographs are chosen; nothing heavy is imported here."""

import argparse

from trainer.photos.defaults import LIKE, MINUTES

Adder = argparse.ArgumentParser | argparse._ArgumentGroup


def add_choices(parser: Adder) -> list[argparse.Action]:
    """Add the options to a parser; None stands for what is not given."""
    durations = ", ".join(f"{minutes:g} on {device}" for device, minutes in MINUTES.items())
    add = parser.add_argument
    return [
        add("--scale", type=int, choices=(2, 4), help="how many times larger, per side (default: 4)"),
        add("--minutes", type=float, metavar="N", help=f"how long to train ({durations})"),
        add("--like", choices=sorted(LIKE), help="what the pictures are (default: photo)"),
        add("--from", dest="origin", metavar="FILE", help="begin with a trained network: .pth, run, hub id"),
    ]


def choices_given(options: argparse.Namespace) -> list[str]:
    """Those of the options that were given, as words of a command line."""
    given = [(f"--{name}", getattr(options, name)) for name in ("scale", "minutes", "like")]
    given.append(("--from", options.origin))
    return [word for option, value in given if value is not None for word in (option, str(value))]
