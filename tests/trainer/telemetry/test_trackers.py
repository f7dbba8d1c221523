"""Trackers that refuse, fail or hang: at the start they are a mistake, later they are left alone; ids are kept."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, tracking
from accelerate.tracking import GeneralTracker, get_available_trackers, register_tracker_class

import trainer.telemetry.trackers
from trainer.checkpoints.run_folder import RunFolder
from trainer.config.schema import RunConfig
from trainer.distributed.waiting import WATCH, Stopped
from trainer.files.write_policy import Disk
from trainer.lifecycle.assemble import check
from trainer.mistakes import Mistake
from trainer.telemetry.config import TelemetryConfig
from trainer.telemetry.reporter import Telemetry
from trainer.telemetry.timers import Stopwatch
from trainer.telemetry.trackers import IDENTITIES, Trackers, meet_trackers, obstacle

NOTEBOOK = "notebook"


class Notebook(GeneralTracker):
    """A tracker as people write them: a file for each run, named by its id."""

    name = NOTEBOOK
    requires_logging_directory = True
    pages: dict[str, list[dict[str, Any]]]  # by id
    refuses = False
    fails_at = 0
    release = threading.Event()

    def __init__(self, run_name: str, logging_dir: str, identity: str | None = None, **options: Any) -> None:
        super().__init__()
        self.made = {"project": run_name, "folder": logging_dir, **options}
        self.identity = identity or f"id-{len(self.pages)}"

    def start(self) -> None:
        if self.refuses:
            raise PermissionError("the server\nrefuses the key")
        self.pages.setdefault(self.identity, []).append(self.made)

    @property
    def tracker(self) -> str:
        return self.identity

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        if step == -1:
            self.release.wait(30)
        if step == self.fails_at:
            raise ConnectionError("the server is gone")
        self.pages[self.identity].append({"step": step, **values})

    def finish(self) -> None:
        self.pages[self.identity].append({"finished": True})


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, accelerator: Accelerator) -> Iterator[type[Notebook]]:  # noqa: ARG001
    """The class, registered with Accelerate, and with an id under which a resumed run continues."""
    before = list(tracking._available_trackers)
    register_tracker_class(Notebook)
    Notebook.pages = {}
    identity = (lambda tracker: tracker.identity, lambda name: {"identity": name})
    monkeypatch.setitem(IDENTITIES, NOTEBOOK, identity)
    yield Notebook
    tracking.LOGGER_TYPE_TO_CLASS.pop(NOTEBOOK)
    tracking._available_trackers[:] = before


def opened(folder: Path, step: int = 0, names: tuple[str, ...] = (NOTEBOOK,), **options: Any) -> Trackers:
    made = Trackers(list(names), {NOTEBOOK: options} if options else {}, RunFolder(folder), Disk(stop_on_error=False))
    made.start(step)
    return made


def test_a_resumed_run_goes_on_under_its_id(notebook: type[Notebook], tmp_path: Path) -> None:
    for step in (0, 3):
        trackers = opened(tmp_path, step, project="sr", tags=["x4"])
        trackers.send(lambda tracker, step=step: tracker.log({"loss": 0.5}, step=step + 1))  # type: ignore[misc]
        trackers.end()
    made = {"project": "sr", "folder": str(tmp_path), "tags": ["x4"]}
    one, other = ([made, {"step": step, "loss": 0.5}, {"finished": True}] for step in (1, 4))
    assert notebook.pages == {"id-0": one + other}
    assert json.loads((tmp_path / "trackers.json").read_text()) == {NOTEBOOK: "id-0"}
    (tmp_path / "trackers.json").write_text("{half")
    opened(tmp_path, 3).end()
    assert notebook.pages.keys() == {"id-0", "id-1"}


def test_a_tracker_that_refuses_is_a_mistake_where_a_run_begins(
    notebook: type[Notebook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "refuses", True)
    sentence = "telemetry.report_to: notebook does not start: PermissionError: the server refuses the key."
    with pytest.raises(Mistake) as caught:
        opened(tmp_path)
    assert str(caught.value) == sentence
    opened(tmp_path, step=3).end()
    said = capsys.readouterr().out
    assert said.startswith("telemetry.report_to: notebook failed: PermissionError: the server refuses the key; metrics")


def test_a_tracker_that_fails_is_said_once_and_the_others_go_on(
    notebook: type[Notebook],
    tmp_path: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(notebook, "fails_at", 2)
    config = TelemetryConfig(report_to=("tensorboard", NOTEBOOK))
    telemetry = Telemetry(
        accelerator, RunFolder(tmp_path), config, Stopwatch(accelerator.device), global_size=4, last=10
    )
    telemetry.begin(0)
    for step in range(1, 5):
        telemetry.note({"training/loss": 0.5})
        telemetry.publish(step)
    telemetry.end()
    said = [line for line in capsys.readouterr().out.splitlines() if "report_to" in line]
    assert said == [
        "telemetry.report_to: notebook failed: ConnectionError: the server is gone; metrics.jsonl goes on without it."
    ]
    assert [page.get("step") for page in notebook.pages["id-0"]] == [None, 1]
    assert len(telemetry.folder.metrics.read_text().splitlines()) == 4
    assert list(events(tmp_path)) == [1, 2, 3, 4]


def events(folder: Path, tag: str = "2-losses/loss") -> Iterator[int]:
    """The steps of a metric in TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    yield from (event.step for event in EventAccumulator(str(folder / "tensorboard")).Reload().Scalars(tag))


def test_the_report_of_the_step_that_a_run_resumes_at_stays(accelerator: Accelerator, tmp_path: Path) -> None:
    """Reports of later steps, written before the resume, are not there twice."""
    for begin, last in ((0, 8), (6, 12)):
        telemetry = Telemetry(
            accelerator, RunFolder(tmp_path), TelemetryConfig(), Stopwatch(accelerator.device), global_size=4, last=12
        )
        telemetry.begin(begin)
        for step in range(begin + 1, last + 1):
            telemetry.note({"training/loss": float(step)})
            telemetry.publish(step)
        telemetry.end()
        time.sleep(1.1 if begin == 0 else 0)  # TensorBoard names its files by the second
    assert list(events(tmp_path)) == list(range(1, 13))


def test_a_tracker_that_hangs_holds_nothing_up(
    notebook: type[Notebook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "release", threading.Event())
    monkeypatch.setitem(trainer.telemetry.trackers.PATIENCE, "end", 0.1)
    trackers = opened(tmp_path)
    trackers.send(lambda tracker: tracker.log({}, step=-1))
    trackers.end()
    assert "notebook failed: TimeoutError: it has not taken everything in 0 s" in capsys.readouterr().out
    notebook.release.set()
    trackers.running[0].thread.join()


def test_a_tracker_whose_calls_pile_up_is_given_up(
    notebook: type[Notebook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "release", threading.Event())
    monkeypatch.setattr(trainer.telemetry.trackers, "WAITING", 3)
    trackers = opened(tmp_path)
    for _ in range(9):
        trackers.send(lambda tracker: tracker.log({}, step=-1))
    assert capsys.readouterr().out.count("it has not taken 3 calls") == 1
    notebook.release.set()
    trackers.running[0].thread.join()


def test_a_stop_request_is_heard_while_a_tracker_starts(
    notebook: type[Notebook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "start", lambda _: release.wait(30))
    monkeypatch.setattr(WATCH.request, "name", "SIGTERM")
    release = threading.Event()
    with pytest.raises(Stopped, match=r"SIGTERM while starting a tracker \(notebook\)"):
        opened(tmp_path)
    release.set()


def test_an_identity_that_cannot_be_had_leaves_a_resumed_run_alone(
    notebook: type[Notebook],  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(IDENTITIES, NOTEBOOK, (lambda tracker: tracker.nameless, lambda _: {}))
    assert opened(tmp_path, step=3).running == []
    assert "notebook failed: AttributeError: " in capsys.readouterr().out


@pytest.mark.parametrize("stop_on_error", [False, True])
def test_tensorboards_files_are_the_disks_matter(
    accelerator: Accelerator, tmp_path: Path, stop_on_error: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tensorboard").write_text("in the way of the folder")
    disk = Disk(stop_on_error)
    telemetry = Telemetry(
        accelerator,
        RunFolder(tmp_path),
        TelemetryConfig(),
        Stopwatch(accelerator.device),
        global_size=4,
        last=10,
        disk=disk,
    )
    telemetry.begin(0)
    telemetry.note({"training/loss": 0.5}, {}, {"a.png": torch.zeros(3, 4, 4, dtype=torch.uint8)})
    telemetry.publish(1)
    telemetry.end()
    assert disk.problem.startswith("tensorboard could not be written: ") == stop_on_error
    assert ("tensorboard could not be written: " in capsys.readouterr().out) != stop_on_error
    assert len(telemetry.folder.metrics.read_text().splitlines()) == 1


def test_a_tracker_that_is_not_installed_is_a_mistake() -> None:
    """Accelerate itself would skip it without a message."""
    absent = sorted({*map(str, tracking.LOGGER_TYPE_TO_CLASS)} - {*map(str, get_available_trackers())})
    if not absent:
        pytest.skip("every tracker that Accelerate knows is installed")
    with pytest.raises(Mistake) as caught:
        meet_trackers([absent[0]], {}, resumes=True)
    assert str(caught.value).startswith(
        f"telemetry.report_to: got {absent[0]}, whose package is not installed; installed here: "
    )
    assert "tensorboard" in str(caught.value)


class Answer(BaseHTTPRequestHandler):
    """An HTTP server that answers 401, as one that wants a key."""

    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def test_a_server_that_is_away_is_found_before_the_start(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's package is not needed for that, so the test lists it as available."""
    monkeypatch.setattr(trainer.telemetry.trackers, "get_available_trackers", lambda: ["mlflow"])
    server = HTTPServer(("127.0.0.1", 0), Answer)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    config = tiny("telemetry.report_to=mlflow")
    threading.Thread(target=server.handle_request).start()
    assert check(config, 1) == []
    server.server_close()
    with pytest.raises(Mistake, match=r"report_to: mlflow cannot reach http://127\.0\.0\.1:\d+: .*refused"):
        check(config, 1)
    meet_trackers(["mlflow"], {}, resumes=True)


def test_trackers_by_name() -> None:
    assert TelemetryConfig(report_to="none").trackers == []
    assert TelemetryConfig().trackers == ["tensorboard"]
    assert TelemetryConfig(report_to=("wandb", "tensorboard", "wandb")).trackers == ["wandb", "tensorboard"]
    with pytest.raises(ValueError, match=r"report_to: got 'none'; allowed"):
        TelemetryConfig(report_to=("none", "wandb"))
    with pytest.raises(ValueError, match="tracker_options: got comet_ml, wandb, which report_to does not name"):
        TelemetryConfig(tracker_options={"wandb": {}, "comet_ml": {}})


def test_trackers_and_their_options_are_keys(tiny: Callable[..., RunConfig]) -> None:
    config = tiny("telemetry.report_to=[tensorboard, wandb]", "telemetry.tracker_options={wandb: {tags: [a], name: b}}")
    assert config.telemetry.trackers == ["tensorboard", "wandb"]
    assert config.telemetry.tracker_options == {"wandb": {"tags": ["a"], "name": "b"}}
    with pytest.raises(Mistake, match=r"telemetry\.tracker_options"):
        tiny("telemetry.report_to=wandb", "telemetry.tracker_options={wandb: sr}")


def test_a_server_of_another_kind_is_an_obstacle_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url := f"http://127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=lambda: greet(server))
        thread.start()
        assert obstacle("mlflow", {}).startswith(f"mlflow cannot reach {url}: ")
        thread.join()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:port")
    assert obstacle("mlflow", {}) == "mlflow cannot reach http://host:port: nonnumeric port: 'port'"


def greet(server: socket.socket) -> None:
    """Answer as a mail server does."""
    with server.accept()[0] as caller:
        caller.recv(4096)
        caller.sendall(b"220 ready\r\n")
