"""Processes of a training on this machine, programs before it, and what names its configuration."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.configs import shipped
from trainer.launcher.__main__ import main, named
from trainer.launcher.processes import Processes, note_on_unused_gpu, prepare_environment, processes_here
from trainer.launcher.programs import Ended, first
from trainer.mistakes import Mistake

ROOT = Path(__file__).parents[3]


def test_a_process_for_each_gpu_or_two_on_the_cpu() -> None:
    assert processes_here(3, {}) == Processes(3, 3, given=False)
    assert processes_here(0, {"PROCESSES": ""}) == Processes(2, 0, given=False)
    assert processes_here(3, {"PROCESSES": "2"}) == Processes(2, 3, given=True)
    for text in ("0", "two", "-1", "1.5"):
        with pytest.raises(Mistake, match=rf"PROCESSES: got '{text}'; must be a whole number, 1 at least"):
            processes_here(0, {"PROCESSES": text})
    with pytest.raises(Mistake, match="PROCESSES: got 3; torch sees 1 GPU, and each process takes one"):
        processes_here(1, {"PROCESSES": "3"})


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing is set of what the launcher sets; it is as it was afterwards."""
    for name in ("ACCELERATE_USE_CPU", "OMP_NUM_THREADS", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "CUDA_VISIBLE_DEVICES",
                 "TORCHELASTIC_SIGNALS_TO_HANDLE"):  # fmt: skip
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("bare")
def test_the_cores_are_shared_and_what_a_person_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_environment(Processes(1, 1, given=False))
    assert "ACCELERATE_USE_CPU" not in os.environ
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "7")
    prepare_environment(Processes(2, 0, given=False))
    cores = len(os.sched_getaffinity(0))
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    assert os.environ["ACCELERATE_USE_CPU"] == "true"
    assert os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "7"
    assert "TORCHELASTIC_SIGNALS_TO_HANDLE" not in os.environ
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        prepare_environment(Processes(2, 0, given=False))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "SIGHUP" not in os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"]


@pytest.mark.usefixtures("bare")
def test_a_gpu_that_torch_cannot_use_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    note_on_unused_gpu()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA T4'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    note_on_unused_gpu()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    note_on_unused_gpu()
    assert capsys.readouterr().err.startswith("note: nvidia-smi knows a GPU, but this torch cannot use it")


def test_a_program_before_the_training_ends_it_by_its_status() -> None:
    assert first("-c", "print('one'); print('two')") == "two"
    with pytest.raises(Ended, match="3"):
        first("-c", "raise SystemExit(3)")


def test_a_signal_is_handed_on_and_nothing_is_started_after_it(tmp_path: Path) -> None:
    """The child ends in peace at SIGTERM, as the trainer does, and the parent by the signal's status all the same."""
    child = f"import pathlib, signal; pathlib.Path({str(tmp_path / 'on')!r}).touch(); signal.sigwait([signal.SIGTERM])"
    blocked = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); {child}"
    program = (
        "from trainer.launcher.programs import Ended, first\n"
        f"try:\n    first('-c', {blocked!r})\nexcept Ended as ended:\n    raise SystemExit(ended.status)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "on").exists():
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.send_signal(signal.SIGTERM)
    _, stderr = parent.communicate(timeout=60)
    assert (parent.returncode, stderr) == (128 + signal.SIGTERM, "stopped before the training.\n")


def test_ctrl_c_amid_the_imports_is_one_sentence(tmp_path: Path) -> None:
    """Raised there, KeyboardInterrupt comes out of torch or numpy as an error of theirs."""
    command = [sys.executable, str(ROOT / "wildsr.py"), "train", "quickstart"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert "is no file here" in running.stderr.readline()  # what comes next are the imports
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stdout, stderr) == (130, "", "stopped before the training.\n")


def test_a_name_that_is_no_file_is_the_shipped_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("quickstart", "quickstart.yaml", "configs/quickstart.yaml"):
        assert named(Path(text), []) == shipped()["quickstart"]
        assert f"{text} is no file here: training by the one that comes with the program" in capsys.readouterr().err
    Path("quickstart.yaml").touch()
    assert named(Path("quickstart.yaml"), []) == Path("quickstart.yaml")
    assert named(Path("absent"), []) == Path("absent")  # the program itself reports it
    assert capsys.readouterr().err == ""


def test_options_for_photographs_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        assert main(["quickstart", "--minutes", "3"]) == 2
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "error: --minutes is for a folder of pictures; quickstart is not there.\n"
