"""The table of runs, from folders at any stage of a run."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.checkpoints.run_folder import RunFolder, slurm_job
from trainer.runs import find_runs, main, summarize, table

ROOT = Path(__file__).parents[2]
CONFIG = "max_train_steps: 900\nvalidation:\n  best_metric: ssim\n"
HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


def make(path: Path, *reports: dict[str, object], config: str = CONFIG) -> RunFolder:
    """A run folder with these reports."""
    folder = RunFolder(path)
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text(config)
    folder.metrics.write_text("".join(json.dumps(report) + "\n" for report in reports))
    return folder


def report(step: int, speed: float | None = None, ssim: float | None = None) -> dict[str, object]:
    figures = {"speed/images_per_second": speed, "validation/ssim": ssim, "validation/psnr": 50 - step / 100}
    return {"step": step, **{key: value for key, value in figures.items() if value is not None}}


def test_a_run_that_is_done(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", report(300, 10.0, 0.8), report(600, 12.0, 0.9), report(900, 11.04, 0.85))
    for step in (600, 900):
        (folder.checkpoints / f"step-{step:08d}").mkdir()
        (folder.checkpoints / f"step-{step:08d}" / "manifest.json").touch()
    folder.finish(900)
    os.utime(folder.metrics, (0, time.time() - 3661.5))
    summary = summarize(folder.path, tmp_path)
    assert summary.row() == ("a", "done", "900/900", "11.0", "ssim 0.9000 at 600", "900", "0", "1:01:01 ago")


def test_the_best_is_by_the_metric_that_the_run_was_configured_with(tmp_path: Path) -> None:
    lines = (report(300, 1.0, 0.8), report(600, 1.0, 0.9))
    by_psnr = make(tmp_path / "b", *lines, config=CONFIG.replace("ssim", "psnr"))
    assert summarize(by_psnr.path, tmp_path).best == ("psnr", 47.0, 300)
    without = make(tmp_path / "c", *lines, config="max_train_steps: 900\nvalidation: null\n")
    assert summarize(without.path, tmp_path).best is None


@pytest.mark.parametrize(
    ("mark", "text", "state"),
    [
        ("DONE", "900\n", "done"),
        ("DONE", "", "died"),  # while it was being written
        ("STOPPED", "step 5: signal\n", "stopped (signal)"),
        ("STOPPED", "step 5: STOP file\n", "stopped (STOP file)"),
        ("STOPPED", "", "died"),
        ("STOP", "", "died"),
    ],
)
def test_the_state_of_a_run_in_which_nobody_trains(mark: str, text: str, state: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "a", report(5))
    (folder.path / RunFolder.LOCK).touch()
    (folder.path / mark).write_text(text)
    assert summarize(folder.path, tmp_path).state == state


def test_a_run_is_running_while_a_process_has_its_lock_and_looking_takes_it_from_nobody(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", report(5))
    folder.interrupt(5, "signal")  # an earlier end, whose mark the new start has not yet taken away
    lock = folder.path / RunFolder.LOCK
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        assert summarize(folder.path, tmp_path).state == "running"
        with lock.open("w") as handle, pytest.raises(BlockingIOError):
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.communicate("\n")
    assert summarize(folder.path, tmp_path).state == "stopped (signal)"


def test_requeues_are_summed_over_the_jobs_of_a_run(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", report(5))
    starts = [("7", 0), ("7", 1), ("7", 3), ("9_2", 0), ("9_2", 2)]  # the second start of 7 came to nothing
    folder.starts.write_text(
        json.dumps({"step": 0, "processes": 1})
        + "\n"
        + "".join(json.dumps({"step": 0, "processes": 1, "job": job, "requeues": n}) + "\n" for job, n in starts)
        + '{"step": 4, "job": "9_2", "requ'
    )
    assert summarize(folder.path, tmp_path).requeues == 5


def test_starts_are_noted_with_the_job_that_they_belong_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "a")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    folder.begin(0, 4)
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    folder.begin(52, 8, {"me/b", "me/a"})
    first, second = (json.loads(line) for line in folder.starts.read_text().splitlines())
    assert {**first, "time": None} == {"time": None, "step": 0, "processes": 4}
    told = {"step": 52, "processes": 8, "job": "15", "requeues": 2, "hub_names": ["me/a", "me/b"]}
    assert {**second, "time": None} == {"time": None, **told}
    with folder.starts.open("a") as file:
        file.write('{"time": "2026-01-01", "step": 60, "hub_na')  # where a death cut it short
    assert folder.hub_names() == {"me/a", "me/b"}
    assert RunFolder(tmp_path / "none").hub_names() == set()
    task = {"SLURM_JOB_ID": "16", "SLURM_ARRAY_JOB_ID": "15", "SLURM_ARRAY_TASK_ID": "0"}
    assert slurm_job(task) == {"job": "15_0", "requeues": 0}


def test_half_written_folders_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / RunFolder.LOCK).touch()
    assert summarize(begun, tmp_path).row() == ("begun", "died", "0/?", "-", "-", "-", "0", "-")

    torn = make(tmp_path / "torn", report(5, 3.0), config="max_train_steps: [\n")
    with torn.metrics.open("ab") as file:
        file.write(b'{"step": 6, "speed/images_per_second": 4.0, "validation/ssim\xff')
    (torn.checkpoints / "step-00000005").mkdir()  # no manifest: not complete
    (torn.checkpoints / "step-00000006.partial").mkdir()
    (torn.checkpoints / "step-00000006.partial" / "manifest.json").touch()
    assert summarize(torn.path, tmp_path).row()[:-1] == ("torn", "died", "5/?", "3.0", "-", "-", "0")

    make(tmp_path / "null", report(5), {"step": 6, "speed/images_per_second": 1.0, "validation/ssim": None})
    assert summarize(tmp_path / "null", tmp_path).best is None


def test_a_file_where_a_folder_should_be_is_named_not_fatal(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", report(5))
    folder.starts.mkdir()
    assert summarize(folder.path, tmp_path).requeues == 0
    assert summarize(tmp_path / "a", tmp_path).step == 5


def test_runs_are_found_at_any_depth_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("sweep/run-10", "sweep/run-9", "alone", "sweep/deeper/run-1"):
        make(tmp_path / name)
    (tmp_path / "empty").mkdir()
    names = [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)]
    assert names == ["alone", "sweep/deeper/run-1", "sweep/run-9", "sweep/run-10"]
    assert list(find_runs(tmp_path / "alone")) == [tmp_path / "alone"]
    assert summarize(tmp_path / "alone", tmp_path / "alone").name == "alone"


def test_the_table_is_aligned(tmp_path: Path) -> None:
    runs = [make(tmp_path / name, report(step)).path for name, step in (("a-long-name", 5), ("b", 800))]
    head, *rows = table([summarize(path, tmp_path) for path in runs]).splitlines()
    assert [line.index(text) for line, text in zip([head, *rows], ("state", "died", "died"), strict=True)] == [13] * 3
    assert [row.split()[2] for row in rows] == ["5/900", "800/900"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
    assert main([str(tmp_path / "nowhere")]) == 2
    sentence = f"error: {tmp_path / 'nowhere'} is not a folder; wanted one with runs in it, such as outputs.\n"
    assert capsys.readouterr().err == sentence


def test_a_watch_ends_on_ctrl_c_and_torch_is_never_loaded(tmp_path: Path) -> None:
    make(tmp_path / "a", report(5))
    program = "import sys, runpy; sys.modules['torch'] = None; runpy.run_module('trainer.runs', run_name='__main__')"
    command = [sys.executable, "-c", program, "--watch", str(tmp_path)]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=ROOT) as watch:
        assert watch.stdout
        assert watch.stdout.readline().startswith("run ")
        assert watch.stdout.readline().startswith("a ")
        watch.send_signal(signal.SIGINT)
        assert watch.communicate(timeout=60)[1] == ""
    assert watch.returncode == 0


def test_a_table_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    make(tmp_path / "one", {"step": 3})
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "trainer.runs", str(tmp_path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (2, "error: standard output cannot be written: No space left on device.\n")
