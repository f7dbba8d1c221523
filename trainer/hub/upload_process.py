"""One hub request in a process of its own: a JSON request on stdin, a JSON result on stdout.

The hub's client waits for a silent server without limit, retries for minutes and joins its threads at exit, and the Xet
protocol cannot be interrupted at all. A process can be killed at any time and never holds the GIL of the training
process. It exits when its sender dies, because its stdin then ends.

`trainer.hub.client` runs this file by its path, so nothing of this project is imported here.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from huggingface_hub import HfApi, ModelCard, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

NICENESS = 10
TRANSIENT = (408, 409, 412, 425, 429)
"""Statuses below 500 after which a retry may succeed: timeouts, a concurrent commit, the hub's quotas."""

HubResult = dict[str, Any]


class Refused(Exception):
    """A refusal that a person has to put right, and the key of the hub section that is wrong."""

    def __init__(self, reason: str, key: str = "repo_id") -> None:
        super().__init__(reason)
        self.key = key


def open_repo(repo_id: str, private: bool, metadata: str) -> HubResult:
    """Create the repository if needed; check that it may be written to and that it accepts the card's `metadata`."""
    if get_token() is None:
        raise Refused("there is no token: set HF_TOKEN or run `hf auth login`")
    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    api.auth_check(repo_id, write=True)
    if private and not api.model_info(repo_id).private:
        raise Refused("the repository exists and is public; hub.private=false, or --public by hand, allows that")
    try:
        ModelCard(metadata).validate()
    except ValueError as error:
        problems = metadata_errors(str(error))
        if "license" in problems:
            raise Refused(f"the hub takes no such licence: {problems}", "license") from error
        raise Refused(f"the card's metadata are not valid: {problems}") from error
    return {}


def metadata_errors(answer: str) -> str:
    """The hub's objections to a card's metadata, from its JSON answer, in one line."""
    with suppress(ValueError, TypeError, LookupError):  # not the hub's JSON
        answer = "; ".join(error["message"] for error in json.loads(answer)["errors"])
    return one_line(answer)


def push(repo_id: str, folder: str, message: str, tag: str | None) -> HubResult:
    """Commit all files in `folder`, nothing if unchanged, and move `tag` to the commit."""
    api = HfApi()
    commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    if tag:
        try:
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            api.delete_tag(repo_id, tag=tag)  # of an earlier run, or of this one before its answer was lost
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return {"commit": commit.oid}


ACTIONS: dict[str, Callable[..., HubResult]] = {"open_repo": open_repo, "push": push}


def result_of_error(error: BaseException) -> HubResult:
    """The result for an exception: a message of one line, and whether a person must put it right."""
    if isinstance(error, Refused):
        return {"error": str(error), "refused": True, "key": error.key}
    if isinstance(error, OfflineModeIsEnabled):
        return {"error": "HF_HUB_OFFLINE is set", "refused": True, "offline": True}
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return result_of_http_error(cause)
    refused = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)  # a proxy's page, not JSON
    return {"error": f"{type(causes[-1]).__name__}: {one_line(causes[-1])}", "refused": refused}


def result_of_http_error(error: HfHubHTTPError) -> HubResult:
    """The result for an HTTP error of the hub, with the pause in seconds that it asks for."""
    status, wait = error.response.status_code, error.response.headers.get("Retry-After", "")
    message = one_line(error.server_message or error.response.reason_phrase)
    advice = "; check HF_TOKEN, or run `hf auth login`" if status == 401 else ""
    return {
        "error": f"HTTP {status}: {message}{advice}",
        "refused": 400 <= status < 500 and status not in TRANSIENT,
        "pause": int(wait) if wait.isdecimal() else 0,
    }


def one_line(text: object) -> str:
    """Collapse a third party's message to one line of at most 300 characters, without a final dot."""
    return " ".join(str(text).split()).rstrip(".")[:300]


def exit_with_sender() -> None:
    """Exit when stdin ends, which is when the sender dies."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Run the request from stdin and print its result, whatever happens."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):  # Windows has the first two, and no niceness
        if name in signal.Signals.__members__:  # sent to the whole job; the sender decides when this process ends
            signal.signal(signal.Signals[name], signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=exit_with_sender, daemon=True).start()
    action = ACTIONS[request.pop("action")]
    try:
        answer = action(**request)
    except Exception as error:  # the client raises its own, httpx's, Xet's and builtin errors
        answer = result_of_error(error)
    print(f"\n{json.dumps(answer)}", flush=True)
    os._exit(0)  # without joining the client's threads


if __name__ == "__main__":
    main()
