"""From a configuration to what brings its run to the hub."""

from collections.abc import Collection
from functools import partial

from trainer.card import metadata, write_card
from trainer.checkpoint import Checkpoints
from trainer.claim import check_folder, folder_of
from trainer.config import RunConfig
from trainer.console import say
from trainer.disclosure import as_trained
from trainer.hub import Answer, open_repo
from trainer.mistakes import Mistake
from trainer.pusher import Pusher
from trainer.run_folder import RunFolder


def meet_hub(config: RunConfig, fresh: bool = False) -> None:
    """Open the repository that the run is to be pushed to, if any. For one rank, before any heavy work.

    Raises Mistake where the hub refuses, and where it is away when a run begins, for somebody is there then. A run that
    resumes, or has ended, says so and goes on. `fresh` is for a run that will not resume what lies in its folder.
    """
    if config.hub is None:
        return
    if not fresh:
        check_folder(config)  # nothing is made on the hub for a run that may not begin
    answer = ask_hub(config)
    if not answer.error:
        return
    sentence = f"hub.repo_id: {config.hub.repo_id} cannot be reached: {answer.error}"
    if fresh or not Checkpoints(folder_of(config).checkpoints).steps():
        raise Mistake(f"{sentence}.")
    say(f"{sentence}; pushes are tried all the same.")


def ask_hub(config: RunConfig, options: Collection[str] = ()) -> Answer:
    """Open the repository of the run: see `open_repo`."""
    assert config.hub
    folder = folder_of(config)
    known = as_trained(config, folder.hub_names()) if folder.starts.is_file() else config
    return open_repo(config.hub, metadata(known, config.hub, {}), options)


def make_pusher(config: RunConfig) -> Pusher | None:
    """What pushes the run, for rank 0; None where it stays here."""
    if config.hub is None:
        return None
    folder = folder_of(config)
    return Pusher(config.hub, folder, partial(write_card, config, folder), say)


def newest_and_best(folder: RunFolder) -> tuple[int | None, int | None]:
    """The steps of the newest intact checkpoint, and of the best validation as far as that one knew."""
    checkpoints = Checkpoints(folder.checkpoints)
    newest, _ = checkpoints.newest()
    if newest is None:
        return None, None
    best = checkpoints.progress(newest)["best"]
    return newest, best and best["step"]
