"""Trackers (TensorBoard, Weights & Biases, MLflow, ...) by Accelerate's wrappers: none can stop a run, or hold it up.

Each lives in a thread of its own. What it cannot take is said once, and then it is left alone: metrics.jsonl goes on.
A server's name for the run is kept in trackers.json, so that a resumed run goes on under it.
"""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPException
from queue import Full, Queue
from threading import Event, Thread
from types import MappingProxyType
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from einops import rearrange
from torch import Tensor

from trainer.checkpoints.run_folder import RunFolder, text_of
from trainer.console import say
from trainer.distributed.waiting import WATCH
from trainer.files.atomic import write_atomically
from trainer.files.write_policy import Disk
from trainer.mistakes import Mistake
from trainer.telemetry.tensorboard_tags import begin_run, send_to_tensorboard

PATIENCE = {"start": 120.0, "end": 60.0}  # seconds that a run waits for a tracker
WAITING = 1000  # calls that may wait for a tracker, before it is given up
Call = Callable[[GeneralTracker], object]

IDENTITIES: dict[str, tuple[Callable[[Any], str], Callable[[str], dict[str, Any]]]] = {
    "wandb": (lambda tracker: tracker.run.id, lambda name: {"id": name, "resume": "allow"}),
    "mlflow": (lambda tracker: tracker.active_run.info.run_id, lambda name: {"run_id": name}),
    "comet_ml": (lambda tracker: tracker.writer.get_key(), lambda name: {"experiment_key": name}),
}
"""By tracker: what its server calls the run, and the options that go on with it."""
READING = ("wandb", "comet_ml")
"""Trackers that take text, besides TensorBoard."""
TITLES = {"wandb": "name", "mlflow": "run_name"}
"""By tracker: the option that takes a name for people."""


def meet_trackers(names: list[str], options: Mapping[str, Mapping[str, Any]], resumes: bool) -> None:
    """Check trackers as far as possible without opening a run; for one rank.

    Raises Mistake where a package is missing (Accelerate would be silent); and for a key or a server too where a run
    begins, for somebody is there then. A run that resumes says it when it starts the tracker, and goes on.
    """
    there = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in there:
            raise Mistake(
                f"telemetry.report_to: got {name}, whose package is not installed; "
                f"installed here: {', '.join(there) or 'none'}."
            )
        if not resumes and (problem := obstacle(name, options.get(name, {}))):
            raise Mistake(f"telemetry.report_to: {problem}.")


def obstacle(name: str, options: Mapping[str, Any]) -> str:
    """The reason why a tracker cannot reach its server, if it can be known beforehand; else empty."""
    if name == "wandb":
        import wandb  # type: ignore[import-not-found,unused-ignore]

        if options.get("mode", os.environ.get("WANDB_MODE", "online")) != "online":
            return ""
        try:
            logged_in = wandb.login(prompt=False)
        except TypeError:  # an older one, which can only ask a person
            logged_in = True
        except Exception as error:  # of wandb's own classes, for a key that its server refuses
            return f"wandb: {_reason(error)}"
        if not logged_in:
            return "wandb has no key: `wandb login`, WANDB_API_KEY, or WANDB_MODE=offline"
        return _unreachable(name, os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if name == "mlflow":
        return _unreachable(name, os.environ.get("MLFLOW_TRACKING_URI", ""))
    return ""


def _unreachable(name: str, url: str) -> str:
    if not url.startswith(("http://", "https://")):  # a folder, a data base
        return ""
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:  # which is an answer
        return ""
    except (OSError, HTTPException, ValueError) as error:  # no answer, none of a web server's, no address
        return f"{name} cannot reach {url}: {getattr(error, 'reason', error)}"
    return ""


def send_report(
    step: int,
    figures: Mapping[str, float | None],
    warnings: list[str],
    pictures: Mapping[str, Tensor],
    strips: Mapping[str, Tensor],
    tracker: GeneralTracker,
) -> None:
    """Send a report, its warnings and its pictures to a tracker: TensorBoard gets `strips`, the others `pictures`, all
    uint8 [3, H, W]."""
    known = {name: value for name, value in figures.items() if value is not None}
    if tracker.name == "tensorboard":
        send_to_tensorboard(tracker.tracker, step, known, warnings, strips)
        return
    tracker.log(known, step=step)
    if warnings and tracker.name in READING:
        tracker.log({"health/warning": "  \n".join(warnings)}, step=step)
    if pictures and hasattr(tracker, "log_images"):
        arrays = {name: rearrange(image, "c h w -> 1 h w c").numpy() for name, image in pictures.items()}
        tracker.log_images(arrays, step=step)


class Trackers:
    """The trackers of a run, on rank 0. Only `start` raises, and only where a run begins.

    Parameters
    ----------
    names : of Accelerate's trackers
    options : what they are made with, by name; `project` among them is where a server lists the run
    hyper_parameters : the settings by which TensorBoard compares runs
    """

    def __init__(
        self,
        names: list[str],
        options: Mapping[str, Mapping[str, Any]],
        folder: RunFolder,
        disk: Disk,
        hyper_parameters: Mapping[str, bool | float | str] = MappingProxyType({}),
    ) -> None:
        self.names, self.options, self.folder, self.disk = names, options, folder, disk
        self.hyper_parameters = hyper_parameters
        self.running: list[Running] = []

    def start(self, step: int) -> None:
        """Open, or go on with, the run on each; Mistake where one refuses a run that begins."""
        if "tensorboard" in self.names:
            _quiet_tensorboard()
        known = self._known()
        for name in self.names:
            options = self._options(name, step, known.get(name))
            if problem := obstacle(name, options):
                if step == 0:
                    raise Mistake(f"telemetry.report_to: {problem}.")
                say(f"telemetry.report_to: {problem}; metrics.jsonl goes on without it.")
                continue
            running = Running(name, partial(self._make, name, options, known, step), self.disk)
            if running.error is None:
                self.running.append(running)
            elif step == 0 and not running.is_the_disks_matter():
                raise Mistake(f"telemetry.report_to: {name} does not start: {_reason(running.error)}.")
            else:
                running.tell()
        if known:
            with self.disk.writing(self.folder.trackers.name):
                write_atomically(self.folder.trackers, json.dumps(known))

    def send(self, call: Call) -> None:
        """Do `call` with every tracker, each in its thread."""
        for running in self.running:
            running.send(call)

    def end(self) -> None:
        """Let each take what it has not taken yet."""
        for running in self.running:
            running.end()

    def _known(self) -> dict[str, str]:
        """The names that servers gave the run before."""
        try:
            known = json.loads(self.folder.trackers.read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(name): str(value) for name, value in known.items()} if isinstance(known, dict) else {}

    def _options(self, name: str, step: int, known: str | None) -> dict[str, Any]:
        """Options of a tracker that starts at `step`; `known` is its server's name for the run."""
        options = dict(self.options.get(name, {}))
        if name == "tensorboard":
            return options | ({"purge_step": step + 1} if step else {})
        if title := TITLES.get(name):
            options.setdefault(title, self.folder.path.name)
        return options | (IDENTITIES[name][1](known) if known and name in IDENTITIES else {})

    def _make(self, name: str, options: dict[str, Any], known: dict[str, str], step: int) -> GeneralTracker:
        """The tracker, started at `step`, in its thread; what its server calls the run goes into `known`."""
        kind, options = LOGGER_TYPE_TO_CLASS[name], dict(options)
        project = options.pop("project", "tensorboard" if name == "tensorboard" else "wildsr")
        place = [str(self.folder.path)] if kind.requires_logging_directory else []
        tracker: GeneralTracker = kind(project, *place, **options)
        tracker.start()
        if name == "tensorboard":
            begin_run(tracker.tracker, step, text_of(self.folder.config), self.hyper_parameters)
        if name in IDENTITIES:
            known[name] = IDENTITIES[name][0](tracker)
        return tracker


class Running:
    """One tracker in its thread, started."""

    def __init__(self, name: str, make: Callable[[], GeneralTracker], disk: Disk) -> None:
        self.name, self.make, self.disk = name, make, disk
        self.tracker: GeneralTracker | None = None
        self.error: Exception | None = None
        self.calls: Queue[Call | None] = Queue(WAITING)
        self.started = Event()
        self.thread = Thread(target=self._work, name=name, daemon=True)  # one that hangs must not hold up the end
        self.thread.start()
        deadline = time.monotonic() + PATIENCE["start"]
        WATCH.until(
            lambda: self.started.is_set() or time.monotonic() > deadline or None, "starting a tracker", lambda: name
        )
        if not self.started.is_set():
            self.error = TimeoutError(f"no answer in {PATIENCE['start']:.0f} s")

    def send(self, call: Call | None) -> None:
        """Let the thread do `call`, or end for None."""
        if self.error:
            return
        try:
            self.calls.put_nowait(call)
        except Full:
            self.error = TimeoutError(f"it has not taken {WAITING} calls")
            self.tell()

    def end(self) -> None:
        """Finish, and wait for that as long as is bearable."""
        self.send(lambda tracker: tracker.finish())
        self.send(None)
        with WATCH.phase("ending a tracker", lambda: self.name):
            self.thread.join(PATIENCE["end"])
        if self.thread.is_alive() and not self.error:
            self.error = TimeoutError(f"it has not taken everything in {PATIENCE['end']:.0f} s")
            self.tell()

    def is_the_disks_matter(self) -> bool:
        """True if the error is of a file of the run itself, as TensorBoard's."""
        return self.name == "tensorboard" and isinstance(self.error, OSError)

    def tell(self) -> None:
        """Say why it is left alone; a file of TensorBoard's is the disk's matter."""
        assert self.error
        if self.is_the_disks_matter():
            self.disk.failed("tensorboard", self.error)
        else:
            say(f"telemetry.report_to: {self.name} failed: {_reason(self.error)}; metrics.jsonl goes on without it.")

    def _work(self) -> None:
        try:
            self.tracker = self.make()
        except Exception as error:  # whatever a foreign package raises
            self.error = error
        self.started.set()
        while self.tracker and not self.error and (call := self.calls.get()):
            try:
                call(self.tracker)
            except Exception as error:  # likewise
                self.error = error
                self.tell()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(".")


def _quiet_tensorboard() -> None:
    """Let TensorBoard's own thread end without a traceback: what it raises is handed to the next call too."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            before(arguments)

    threading.excepthook = hook
