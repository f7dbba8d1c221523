"""Pushes of a run to the hub: a thread of rank 0, with a process for each request; it never stops or slows the run.

    hub/step-00012000-*/    a staged save: hard links to weights, configuration and samples, and the card
    hub/pushed.json         the last push that is known to be complete

A push is one commit. At most one is in flight; of the saves that wait, only the newest is kept. A failure is reported
once and retried at growing intervals, until the push succeeds or a newer save replaces it.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread

from trainer.checkpoints.names import EMA_WEIGHTS, STEP_NAMES, step_name, step_of
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.hub import HubConfig
from trainer.console import called
from trainer.distributed.signals import REQUEST
from trainer.files.atomic import sweep
from trainer.hub.client import HubResult, Pushed, request_in_process
from trainer.networks.loading.state_dicts import CONFIG, WEIGHTS

PUSH_SECONDS, MIN_BYTES_PER_SECOND = 300.0, 100e3
"""Time limit of a push: these seconds, and the time for its size at this rate."""
FIRST_PAUSE, LONGEST_PAUSE, CLOSING_PAUSE = 15.0, 900.0, 5.0
"""Seconds before a second attempt; at most between two attempts; at most once the run has ended."""


@dataclass(frozen=True, slots=True)
class Save:
    """A save that is staged in `place`."""

    step: int
    place: Path


class Pusher:
    """Pushes saves to the hub. No method raises when a push fails, and only `close` waits.

    Parameters
    ----------
    write_card : writes the card of a step into a folder
    say : prints a line on the console; called from the thread too
    open_repo : creates and checks the repository; called before the first push, as the hub may have been unreachable
        when the run began
    """

    def __init__(
        self,
        config: HubConfig,
        folder: RunFolder,
        write_card: Callable[[Path, int], None],
        say: Callable[[str], None],
        open_repo: Callable[[Event], HubResult] = lambda _: HubResult(),
    ) -> None:
        self.config, self.folder, self.write_card, self.say = config, folder, write_card, say
        self.changed = Condition()
        self.waiting: Save | None = None
        self.requested: int | None = None
        self.pushed: int | None = None
        self.open_repo, self.is_open = open_repo, False
        self.last_error, self.refusal = "", ""
        self.closing, self.cancelled = Event(), Event()
        self.thread: Thread | None = None

    def saved(self, step: int, best: bool) -> None:
        """Push the complete checkpoint of `step`, if the strategy asks for it."""
        if self.config.strategy == "every_save" or (self.config.strategy == "best" and best):
            self.request(step)

    def begin(self, newest: int | None, best: int | None) -> None:
        """Remove staged saves of earlier processes, and push what they did not. Needs the run folder's lock."""
        try:
            for stale in self.folder.hub.glob(STEP_NAMES):
                shutil.rmtree(stale, ignore_errors=True)
            sweep(self.folder.hub)
        except OSError as error:
            self.say(f"{self.folder.hub} keeps what an earlier push left there: {error.strerror}.")
        self.push_if_behind({"end": None, "best": best, "every_save": newest}[self.config.strategy])

    def finish(self, newest: int | None, best: int | None) -> bool:
        """Push the last save of a finished run, waiting `hub.wait_minutes` at most; True if all is pushed."""
        self.push_if_behind(best if self.config.strategy == "best" else newest)
        return self.close(60 * self.config.wait_minutes)

    def push_if_behind(self, step: int | None) -> None:
        """Push `step`, unless it was requested already, or it or a later step is known to be on the hub."""
        before = Pushed.read(self.folder)
        known = before.step if before and before.repo_id == self.config.repo_id else 0
        if step and step > known and step != self.requested:
            self.request(step)

    def request(self, step: int) -> None:
        """Stage the checkpoint of `step` and return; it is pushed after the one in flight; a waiting one is dropped."""
        self.requested = step
        try:
            save = self._stage(step)
        except Exception as error:  # must never stop training
            self.last_error = f"{type(error).__name__}: {error}"
            self.say(f"step {step} cannot be pushed to {self.config.repo_id}: {self.last_error}; training goes on.")
            return
        self._enqueue(save)
        if self.thread is None:
            # A daemon: it must not hold up the exit of a run that fails.
            self.thread = Thread(target=self._work, name="hub", daemon=True)
            self.thread.start()

    def close(self, seconds: float) -> bool:
        """Wait for the last push, at most `seconds` and until a stop signal; False, and a message, if it is missing."""
        deadline = time.monotonic() + seconds
        if self.thread:
            if seconds and self.pushed != self.requested:
                self.say(f"waiting for step {self.requested} to reach {self.config.repo_id}, {seconds:.0f} s at most.")
            with self.changed:
                self.closing.set()
                self.changed.notify()
            while self.thread.is_alive() and time.monotonic() < deadline and REQUEST.name is None:
                self.thread.join(0.1)
            self.cancelled.set()
            self.thread.join(CLOSING_PAUSE)
        if self.pushed == self.requested:
            return True
        reason = f" ({self.last_error})" if self.last_error else ""
        self.say(
            f"step {self.requested} is not known to be on {self.config.repo_id}{reason}: the same command, or "
            f"`{called('push')} {self.folder.path}`, brings it there."
        )
        return False

    def _stage(self, step: int) -> Save:
        """Stage the files of the checkpoint of `step`, as links so that pruning cannot remove them, and its card."""
        self.folder.hub.mkdir(exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{step_name(step)}-", dir=self.folder.hub))
        try:
            weights = Checkpoints(self.folder.checkpoints).path(step) / EMA_WEIGHTS
            link_or_copy(weights, place / WEIGHTS)
            link_or_copy(self.folder.export / CONFIG, place / CONFIG)
            sheets = {step_of(sheet.stem): sheet for sheet in self.folder.samples.glob(f"{STEP_NAMES}.png")}
            if drawn := [at for at in sheets if at is not None and at <= step]:
                link_or_copy(sheets[max(drawn)], place / "samples" / "validation.png")
            self.write_card(place, step)
        except Exception:
            shutil.rmtree(place)
            raise
        return Save(step, place)

    def _work(self) -> None:
        """Push the newest save; after a failure pause, then push the newest at that time."""
        failures = 0
        while save := self._wait_for_save():
            answer = self._push(save)
            again = bool(answer.error) and not answer.refused
            failures = failures + 1 if again else 0
            if answer.error:
                self._report_failure(save, answer, failures)
            if again:
                self._pause(answer.pause, backoff_seconds(failures, str(save.place)))
                self._enqueue(save, unless_newer=True)
            else:
                shutil.rmtree(save.place, ignore_errors=True)

    def _wait_for_save(self) -> Save | None:
        """Wait for a save to push; None once closed or cancelled."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closing.is_set())
            save, self.waiting = self.waiting, None
        return None if self.cancelled.is_set() else save

    def _enqueue(self, save: Save, unless_newer: bool = False) -> None:
        """Queue `save` in place of one that waits; with `unless_newer` only if none waits."""
        with self.changed:
            replaced, self.waiting = self.waiting, save
            if replaced and unless_newer:
                replaced, self.waiting = save, replaced
            self.changed.notify()
        if replaced:
            shutil.rmtree(replaced.place, ignore_errors=True)

    def _push(self, save: Save) -> HubResult:
        """Push one save; before the first one, open the repository."""
        try:
            if not self.is_open and (answer := self.open_repo(self.cancelled)).error:
                self.last_error = answer.error
                return answer
            self.is_open = True
            size = sum(file.stat().st_size for file in save.place.rglob("*"))
            request = {
                "action": "push",
                "repo_id": self.config.repo_id,
                "folder": str(save.place),
                "message": f"Step {save.step}",
                "tag": step_name(save.step) if self.config.tag_steps else None,
            }
            answer = request_in_process(request, PUSH_SECONDS + size / MIN_BYTES_PER_SECOND, self.cancelled)
            if not answer.error:
                Pushed(repo_id=self.config.repo_id, step=save.step, commit=answer.commit).write(self.folder)
                self.pushed = save.step
                self.say(f"step {save.step} is on {self.config.repo_id} (commit {answer.commit[:7]}).")
        except Exception as error:  # must never end this thread
            answer = HubResult(error=f"{type(error).__name__}: {error}", refused=True)
        if not (self.cancelled.is_set() and self.last_error):  # the earlier error says more than "cut off"
            self.last_error = answer.error
        return answer

    def _report_failure(self, save: Save, answer: HubResult, failures: int) -> None:
        """Print a refusal if it is new, a transient failure if it is the first in a row; `close` prints the last."""
        again = failures > 1 or (answer.refused and answer.error == self.refusal)
        self.refusal = answer.error if answer.refused else ""
        if again or self.cancelled.is_set() or (answer.refused and self.closing.is_set()):
            return
        then = "the next save is pushed anew" if answer.refused else "it is tried again"
        goes_on = "" if self.closing.is_set() else "training goes on, "
        self.say(f"step {save.step} could not be pushed to {self.config.repo_id}: {answer.error}; {goes_on}{then}.")

    def _pause(self, asked: float, pause: float) -> None:
        """Wait as long as the hub asked, then for `pause` seconds, which the end of the run cuts short."""
        self.cancelled.wait(asked)
        if self.closing.wait(pause):
            self.cancelled.wait(min(pause, CLOSING_PAUSE))


def backoff_seconds(failures: int, jitter_key: str) -> float:
    """Pause after `failures` in a row, in seconds: doubled each time, less up to a half, derived from `jitter_key`.

    The jitter spreads runs that failed together.
    """
    jitter = int.from_bytes(hashlib.sha256(f"{jitter_key} {failures}".encode()).digest()[:4]) / 2**32
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) * (1 - jitter / 2)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file that is never written to again, or copy it if the file system has no hard links."""
    target.parent.mkdir(exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy(source, target)
