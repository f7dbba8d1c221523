"""Pushing a run to the hub: a thread of rank 0 that sends a courier with each save, and never stops or slows the run.

    hub/step-00012000-*/    a save on its way: hard links to weights, configuration and samples, and the card
    hub/pushed.json         the last push that is known to be complete

A push is one commit. At most one is on its way; of those that wait, the newest is kept. What fails is said once and
tried again, at growing intervals, until it succeeds or a newer save takes its place.
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
from trainer.distributed.signals import REQUEST
from trainer.files.atomic import sweep
from trainer.hub.client import HubResult, Pushed, request_in_process
from trainer.networks.loading.state_dicts import CONFIG, WEIGHTS

GRACE, SLOWEST = 300.0, 100e3
"""Seconds for a push, and bytes per second for what is in it: a hub that is slower is taken not to answer."""
FIRST_PAUSE, LONGEST_PAUSE, HASTE = 15.0, 900.0, 5.0
"""Seconds before a second attempt; at most between two; at most once the run has ended."""


@dataclass(frozen=True, slots=True)
class Save:
    """A save that is staged in `place`."""

    step: int
    place: Path


class Pusher:
    """Brings saves to the hub. No method raises for what goes wrong with that, and only `close` waits.

    Parameters
    ----------
    write_card : puts the card of a step into a folder
    say : a line for the person who watches; called from the thread too
    opening : makes sure of the repository, and that it is private where it has to be; called before the first push, as
        the hub may have been away when the run began
    """

    def __init__(
        self,
        config: HubConfig,
        folder: RunFolder,
        write_card: Callable[[Path, int], None],
        say: Callable[[str], None],
        opening: Callable[[Event], HubResult] = lambda _: HubResult(),
    ) -> None:
        self.config, self.folder, self.write_card, self.say = config, folder, write_card, say
        self.changed = Condition()
        self.waiting: Save | None = None
        self.requested: int | None = None
        self.done: int | None = None
        self.opening, self.is_open = opening, False
        self.last_error, self.refusal = "", ""
        self.closing, self.cancelled = Event(), Event()
        self.thread: Thread | None = None

    def saved(self, step: int, best: bool) -> None:
        """The checkpoint of `step` is complete: push it, if that is the strategy."""
        if self.config.strategy == "every_save" or (self.config.strategy == "best" and best):
            self.request(step)

    def begin(self, newest: int | None, best: int | None) -> None:
        """Clear away what dead pushes left, and push what they owe. For who holds the run folder's lock."""
        try:
            for stale in self.folder.hub.glob(STEP_NAMES):
                shutil.rmtree(stale, ignore_errors=True)
            sweep(self.folder.hub)
        except OSError as error:
            self.say(f"{self.folder.hub} keeps what an earlier push left there: {error.strerror}.")
        self.push_if_behind({"end": None, "best": best, "every_save": newest}[self.config.strategy])

    def finish(self, newest: int | None, best: int | None) -> bool:
        """Push what the finished run owes, and wait as long as is configured; whether nothing is owed any more."""
        self.push_if_behind(best if self.config.strategy == "best" else newest)
        return self.close(60 * self.config.wait_minutes)

    def push_if_behind(self, step: int | None) -> None:
        """Push `step`, unless it was asked for already, or it or a later one is known to be there."""
        before = Pushed.read(self.folder)
        known = before.step if before and before.repo_id == self.config.repo_id else 0
        if step and step > known and step != self.requested:
            self.request(step)

    def request(self, step: int) -> None:
        """Stage the checkpoint of `step` and return; it is pushed after what is on its way, in place of what waits."""
        self.requested = step
        try:
            save = self._staged(step)
        except Exception as error:  # whatever it is, the run must not end for it
            self.last_error = f"{type(error).__name__}: {error}"
            self.say(f"step {step} cannot be pushed to {self.config.repo_id}: {self.last_error}; training goes on.")
            return
        self._put(save)
        if self.thread is None:
            self.thread = Thread(target=self._work, name="hub", daemon=True)  # it must not hold up a run that fails
            self.thread.start()

    def close(self, seconds: float) -> bool:
        """Wait for the last push, `seconds` at most and until a signal; say what is missing. Whether nothing is."""
        deadline = time.monotonic() + seconds
        if self.thread:
            if seconds and self.done != self.requested:
                self.say(f"waiting for step {self.requested} to reach {self.config.repo_id}, {seconds:.0f} s at most.")
            with self.changed:
                self.closing.set()
                self.changed.notify()
            while self.thread.is_alive() and time.monotonic() < deadline and REQUEST.name is None:
                self.thread.join(0.1)
            self.cancelled.set()
            self.thread.join(HASTE)
        if self.done == self.requested:
            return True
        reason = f" ({self.last_error})" if self.last_error else ""
        self.say(
            f"step {self.requested} is not known to be on {self.config.repo_id}{reason}: the same command, or "
            f"`python -m trainer.push {self.folder.path}`, brings it there."
        )
        return False

    def _staged(self, step: int) -> Save:
        """Link, or copy, what goes with the checkpoint of `step`, so that pruning cannot take it away; add the card."""
        self.folder.hub.mkdir(exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{step_name(step)}-", dir=self.folder.hub))
        try:
            weights = Checkpoints(self.folder.checkpoints).path(step) / EMA_WEIGHTS
            link(weights, place / WEIGHTS)
            link(self.folder.export / CONFIG, place / CONFIG)
            sheets = {step_of(sheet.stem): sheet for sheet in self.folder.samples.glob(f"{STEP_NAMES}.png")}
            if drawn := [at for at in sheets if at is not None and at <= step]:
                link(sheets[max(drawn)], place / "samples" / "validation.png")
            self.write_card(place, step)
        except Exception:
            shutil.rmtree(place)
            raise
        return Save(step, place)

    def _work(self) -> None:
        """Send the newest save; after a failure rest, and send what is the newest then."""
        failures = 0
        while save := self._next():
            answer = self._attempt(save)
            again = bool(answer.error) and not answer.refused
            failures = failures + 1 if again else 0
            if answer.error:
                self._complain(save, answer, failures)
            if again:
                self._rest(answer.pause, backoff_seconds(failures, str(save.place)))
                self._put(save, unless_newer=True)
            else:
                shutil.rmtree(save.place, ignore_errors=True)

    def _next(self) -> Save | None:
        """Wait for something to push; None where nothing will come any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closing.is_set())
            save, self.waiting = self.waiting, None
        return None if self.cancelled.is_set() else save

    def _put(self, save: Save, unless_newer: bool = False) -> None:
        """Let `save` wait, in place of what waits."""
        with self.changed:
            replaced, self.waiting = self.waiting, save
            if replaced and unless_newer:
                replaced, self.waiting = save, replaced
            self.changed.notify()
        if replaced:
            shutil.rmtree(replaced.place, ignore_errors=True)

    def _attempt(self, save: Save) -> HubResult:
        """Send one courier with one save, and the first time one before it that opens the repository."""
        try:
            if not self.is_open and (answer := self.opening(self.cancelled)).error:
                self.last_error = answer.error
                return answer
            self.is_open = True
            size = sum(file.stat().st_size for file in save.place.rglob("*"))
            request = {
                "errand": "push",
                "repo_id": self.config.repo_id,
                "folder": str(save.place),
                "message": f"Step {save.step}",
                "tag": step_name(save.step) if self.config.tag_steps else None,
            }
            answer = request_in_process(request, GRACE + size / SLOWEST, self.cancelled)
            if not answer.error:
                Pushed(repo_id=self.config.repo_id, step=save.step, commit=answer.commit).write(self.folder)
                self.done = save.step
                self.say(f"step {save.step} is on {self.config.repo_id} (commit {answer.commit[:7]}).")
        except Exception as error:  # whatever it is, this thread must not end for it
            answer = HubResult(error=f"{type(error).__name__}: {error}", refused=True)
        if not (self.cancelled.is_set() and self.last_error):  # which says more than that this one was cut off
            self.last_error = answer.error
        return answer

    def _complain(self, save: Save, answer: HubResult, failures: int) -> None:
        """Say a refusal where it is a new one, what may pass when it begins; what comes last is for `close` to say."""
        again = failures > 1 or (answer.refused and answer.error == self.refusal)
        self.refusal = answer.error if answer.refused else ""
        if again or self.cancelled.is_set() or (answer.refused and self.closing.is_set()):
            return
        then = "the next save is pushed anew" if answer.refused else "it is tried again"
        goes_on = "" if self.closing.is_set() else "training goes on, "
        self.say(f"step {save.step} could not be pushed to {self.config.repo_id}: {answer.error}; {goes_on}{then}.")

    def _rest(self, asked: float, pause: float) -> None:
        """Leave the hub alone: as long as it asked, and for a pause that the end of the run cuts short."""
        self.cancelled.wait(asked)
        if self.closing.wait(pause):
            self.cancelled.wait(min(pause, HASTE))


def backoff_seconds(failures: int, key: str) -> float:
    """Seconds to rest after so many failures in a row: twice as many each time, less up to a half that `key` chooses.

    Runs that failed at once, because the hub did, come back one after another.
    """
    chosen = int.from_bytes(hashlib.sha256(f"{key} {failures}".encode()).digest()[:4]) / 2**32
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) * (1 - chosen / 2)


def link(source: Path, target: Path) -> None:
    """A second name for a file that is never written to again, or a copy where the disk has no such thing."""
    target.parent.mkdir(exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy(source, target)
