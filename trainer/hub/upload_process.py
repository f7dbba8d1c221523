"""One errand to the hub, in a process of its own: a JSON request on stdin, a JSON answer on stdout.

The hub's client waits for a silent server without limit, tries again for minutes and joins its threads at exit, and the
Xet protocol cannot be interrupted at all. A process can be ended at any instant, and what it computes never keeps the
interpreter that trains waiting. It ends by itself when whoever sent it dies, for then its stdin ends.

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
"""Statuses below 500 that another attempt may not meet: timeouts, a commit at the same time, the hub's quotas."""

HubResult = dict[str, Any]


class Refused(Exception):
    """What a person has to put right, and the key of the hub section that it is about."""

    def __init__(self, reason: str, key: str = "repo_id") -> None:
        super().__init__(reason)
        self.key = key


def open_repo(repo_id: str, private: bool, metadata: str) -> HubResult:
    """Create the repository, if need be, and make sure that it may be written to and takes the card's `metadata`."""
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
        said = complaints(str(error))
        if "license" in said:
            raise Refused(f"the hub takes no such licence: {said}", "license") from error
        raise Refused(f"the card's metadata are not valid: {said}") from error
    return {}


def complaints(answer: str) -> str:
    """What the hub has against a card's metadata, of the JSON that it sends, in a line."""
    with suppress(ValueError, TypeError, LookupError):  # it is something else
        answer = "; ".join(error["message"] for error in json.loads(answer)["errors"])
    return one_line(answer)


def push(repo_id: str, folder: str, message: str, tag: str | None) -> HubResult:
    """Make one commit of all files in `folder`, none where nothing has changed, and let `tag` point to it."""
    api = HfApi()
    commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    if tag:
        try:
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            api.delete_tag(repo_id, tag=tag)  # of an earlier run, or of this one before an answer was lost
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return {"commit": commit.oid}


ERRANDS: dict[str, Callable[..., HubResult]] = {"open_repo": open_repo, "push": push}


def failure(error: BaseException) -> HubResult:
    """What went wrong in a line, whether a person must put it right, and for how many seconds the hub wants no more."""
    if isinstance(error, Refused):
        return {"error": str(error), "refused": True, "key": error.key}
    if isinstance(error, OfflineModeIsEnabled):
        return {"error": "HF_HUB_OFFLINE is set", "refused": True, "offline": True}
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return http_failure(cause)
    refused = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)  # a proxy's page, not JSON
    return {"error": f"{type(causes[-1]).__name__}: {one_line(causes[-1])}", "refused": refused}


def http_failure(error: HfHubHTTPError) -> HubResult:
    """The same of an answer that the hub gave."""
    status, wait = error.response.status_code, error.response.headers.get("Retry-After", "")
    said = one_line(error.server_message or error.response.reason_phrase)
    advice = "; check HF_TOKEN, or run `hf auth login`" if status == 401 else ""
    return {
        "error": f"HTTP {status}: {said}{advice}",
        "refused": 400 <= status < 500 and status not in TRANSIENT,
        "pause": int(wait) if wait.isdecimal() else 0,
    }


def one_line(text: object) -> str:
    """What somebody else said, fit for a sentence of ours."""
    return " ".join(str(text).split()).rstrip(".")[:300]


def end_with_sender() -> None:
    """End this process when its stdin ends."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Do what the request says and answer, whatever happens."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are sent to the whole job; the sender decides what they mean here
    os.nice(NICENESS)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_sender, daemon=True).start()
    request_in_process = ERRANDS[request.pop("errand")]
    try:
        answer = request_in_process(**request)
    except Exception as error:  # the client raises its own, httpx's, Xet's and builtin errors
        answer = failure(error)
    print(f"\n{json.dumps(answer)}", flush=True)
    os._exit(0)  # without joining the client's threads


if __name__ == "__main__":
    main()
