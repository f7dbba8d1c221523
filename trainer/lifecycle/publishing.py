"""From a configuration to what brings its run to the hub."""

from collections.abc import Collection
from functools import partial

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.redact import freeze_hub_ids
from trainer.config.schema import RunConfig, folder_of
from trainer.console import called, say
from trainer.hub.client import HubResult, open_repo, try_repo
from trainer.hub.model_card import metadata, write_card
from trainer.hub.pusher import Pusher
from trainer.lifecycle.check_folder import check_folder
from trainer.mistakes import Mistake


def ensure_repo_or_fail(config: RunConfig, fresh: bool = False) -> None:
    """Open the repository that the run is to be pushed to, if any. For one rank, before any heavy work.

    Raises Mistake where the hub refuses a run that begins: a person is there. Where it refuses one that resumes,
    perhaps at night and by itself, where it is away, or this machine offline, that is said and the run goes on; its
    pushes are tried all the same. `fresh` is for a run that will not resume what lies in its folder.
    """
    if config.hub is None:
        return
    if not fresh:
        check_folder(config)  # nothing is made on the hub for a run that may not begin
    resumes = not fresh and bool(Checkpoints(folder_of(config).checkpoints).steps())
    try:
        answer = ensure_repo(config)
        problem = f"hub.repo_id: {config.hub.repo_id} cannot be reached: {answer.error}" if answer.error else ""
    except Mistake as refusal:
        if not resumes:
            raise
        problem = str(refusal).rstrip(".")
    if problem:
        say(
            f"{problem}; training goes on, pushes are tried all the same, and "
            f"`{called('push')} {folder_of(config).path}` brings what is missing."
        )


def check_token(config: RunConfig, fresh: bool = False) -> None:
    """Raise Mistake for a run that begins and is to be pushed, where this machine has no token; without the network."""
    if config.hub is None or (not fresh and Checkpoints(folder_of(config).checkpoints).steps()):
        return
    from huggingface_hub import get_token, is_offline_mode

    if get_token() is None and not is_offline_mode():
        reason = "there is no token: set HF_TOKEN or run `hf auth login`"
        raise Mistake(f"hub.repo_id: {config.hub.repo_id} cannot be pushed to: {reason}.")


def ensure_repo(config: RunConfig, options: Collection[str] = ()) -> HubResult:
    """Open the repository of the run: see `open_repo`."""
    assert config.hub
    return open_repo(config.hub, head_of_card(config), options)


def head_of_card(config: RunConfig) -> str:
    """The card's metadata, as far as they are known before anything is measured."""
    assert config.hub
    folder = folder_of(config)
    known = freeze_hub_ids(config, folder.hub_names()) if folder.starts.is_file() else config
    return metadata(known, config.hub, {})


def make_pusher(config: RunConfig) -> Pusher | None:
    """The pusher of the run, for rank 0; None if the run is not published."""
    if config.hub is None:
        return None
    folder = folder_of(config)
    hub = config.hub
    return Pusher(
        hub,
        folder,
        partial(write_card, config, folder),
        say,
        open_repo=lambda cancelled: try_repo(hub, head_of_card(config), cancelled),
    )


def newest_and_best(folder: RunFolder) -> tuple[int | None, int | None]:
    """The steps of the newest intact checkpoint, and of the best validation as far as that one knew."""
    checkpoints = Checkpoints(folder.checkpoints)
    newest, _ = checkpoints.newest()
    if newest is None:
        return None, None
    best = checkpoints.progress(newest)["best"]
    return newest, best and best["step"]
