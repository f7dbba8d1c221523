"""Push a run to the hub by hand: `python -m trainer.push RUN`."""

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainer.console import called, guard
from trainer.ctrl_c import INTERRUPTED, ending_at_ctrl_c, raising_at_ctrl_c
from trainer.files.paths import check_path, path_option

if TYPE_CHECKING:
    from trainer.config.schema import RunConfig


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog=called("push"),
        description="Push what a run has come to: its smoothed generator, a sheet of samples and a model card. The "
        "token is that of HF_TOKEN or of `hf auth login`.",
    )
    parser.add_argument("run", type=path_option, metavar="RUN", help="a run folder, such as outputs/quickstart")
    parser.add_argument("--repo-id", help="namespace/name; by default the run's hub.repo_id")
    parser.add_argument(
        "--public", action="store_true", help="a repository that is made is public, and one that is there may be"
    )
    parser.add_argument("--license", help="the licence of the weights by the hub's name for it, such as apache-2.0")
    return parser.parse_args(arguments)


def push(options: argparse.Namespace) -> bool:
    """Push the best save if that is the run's strategy, else the newest; True if the hub has it now.

    Raises Mistake for what a person can put right, Failure if the hub cannot be reached.
    """
    from trainer.lifecycle.check_folder import check_folder
    from trainer.lifecycle.publishing import make_pusher

    config, given = configured(options)
    step = step_to_push(options, config)  # takes long: checkpoints are verified
    check_folder(config)
    open_repository(config, given)
    pusher = make_pusher(config)
    assert config.hub
    assert pusher
    pusher.request(step)
    return pusher.close(60 * config.hub.wait_minutes)


def configured(options: argparse.Namespace) -> tuple["RunConfig", dict[str, Any]]:
    """The run's configuration with the options in its hub section, and the options given; Mistake if invalid."""
    from trainer.checkpoints.run_folder import RunFolder
    from trainer.config.hub import HubConfig
    from trainer.config.loader import load_config
    from trainer.config.schema import RunConfig
    from trainer.mistakes import Mistake

    check_path(options.run, "RUN")
    place = options.run.resolve()
    folder = RunFolder(place)
    if not folder.config.is_file():
        raise Mistake(f"{options.run} is no run folder: it has no config.yaml.")
    config = load_config(RunConfig, folder.config, [f"output_dir={place.parent}", f"name={place.name}"])
    if config.hub is None and options.repo_id is None:
        raise Mistake(f"--repo-id must be given: the run {options.run} has no hub section.")
    values = {"repo_id": options.repo_id, "license": options.license, "private": False if options.public else None}
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return replace(config, hub=replace(config.hub, **given) if config.hub else HubConfig(**given)), given
    except ValueError as error:
        raise Mistake(f"--repo-id: {error}.") from None


def step_to_push(options: argparse.Namespace, config: "RunConfig") -> int:
    """The step of the best or the newest checkpoint; Mistake without a token or a checkpoint."""
    from huggingface_hub import get_token

    from trainer.config.schema import folder_of
    from trainer.lifecycle.publishing import newest_and_best
    from trainer.mistakes import Mistake

    if get_token() is None:
        raise Mistake("there is no token for the hub: set HF_TOKEN or run `hf auth login`.")
    newest, best = newest_and_best(folder_of(config))
    if newest is None:
        raise Mistake(f"{options.run} holds no checkpoint to push.")
    assert config.hub
    return best if best and config.hub.strategy == "best" else newest


def open_repository(config: "RunConfig", given: Collection[str]) -> None:
    """Create and check the repository; Mistake if refused or offline, Failure if the hub cannot be reached."""
    from trainer.hub.client import OPEN_SECONDS
    from trainer.lifecycle.publishing import ensure_repo
    from trainer.mistakes import Failure, Mistake

    assert config.hub
    print(f"asking the hub for {config.hub.repo_id}, {OPEN_SECONDS:.0f} s at most.", flush=True)
    answer = ensure_repo(config, given)
    if answer.offline:
        raise Mistake(f"{config.hub.repo_id} cannot be reached: {answer.error}; unset it.")
    if answer.error:
        raise Failure(f"{config.hub.repo_id} cannot be reached: {answer.error}; try the same command later.")


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 where the hub has not got it, 2 for a mistake."""
    options = parse(arguments)
    from trainer.mistakes import Failure, Mistake

    try:
        with raising_at_ctrl_c():
            complete = push(options)
    except (Mistake, Failure) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2 if isinstance(mistake, Mistake) else 1
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return INTERRUPTED
    return 0 if complete else 1


if __name__ == "__main__":
    guard()  # its lines are for a person: who stops reading them does not end the work
    sys.exit(main())
