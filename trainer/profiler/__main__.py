"""`python -m trainer.profiler CONFIG [key=value ...]`: a table of the parts of a training step, and a Chrome trace."""

import argparse
from collections.abc import Callable, Sequence

from trainer.configs import find, runnable
from trainer.console import called
from trainer.ctrl_c import ending_at_ctrl_c
from trainer.files.paths import path_option
from trainer.run import carry_out, count, exit_process, parsed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog=called("profile"),
        description="Take some training steps and write where their time goes: a table of the parts of a step with its "
        "heaviest operators, and a trace that chrome://tracing and ui.perfetto.dev open. The steps are those of the "
        "training, from the initial weights, once both networks learn; nothing is written into the run folder.",
    )
    parser.add_argument("config", type=path_option, nargs="?", metavar="CONFIG", help="such as configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of CONFIG")
    parser.add_argument(
        "--steps", type=count, default=5, metavar="N", help="steps that are timed (5), after a few more"
    )
    parser.add_argument(
        "--out", type=path_option, metavar="FOLDER", help="the folder to write to; by default the run's with -profile"
    )
    parser.set_defaults(explain=None)
    options = parsed(parser, arguments)
    if not options.config.exists() and (file := find(str(options.config))):
        options.config = file
    options.shipped = runnable()
    return options


def importing() -> Callable[[argparse.Namespace], None]:
    """The work of the command, once its packages are imported."""
    from trainer.profiler.measure import execute

    return execute


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, or 2 for a mistake and 1 for a failure, which a sentence explains."""
    return carry_out(importing, parse(arguments))


if __name__ == "__main__":
    exit_process(main())
