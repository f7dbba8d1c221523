"""launch/local.sh as a user runs it: its output before and after a run, and its exit status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from launcher import ROOT, TINY, environment
from PIL import Image

pytestmark = pytest.mark.launch


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The environment of these tests under another name, as if local.sh had made it."""
    venv = tmp_path / "venv"
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        (venv / entry.name).symlink_to(entry)
    stamp = venv / "installed-quickstart"
    stamp.unlink(missing_ok=True)
    wanted = subprocess.check_output("cat pyproject.toml constraints.txt | cksum", shell=True, cwd=ROOT, text=True)
    stamp.write_text(wanted)
    return {**environment(), "WILDSR_VENV": str(venv), "PROCESSES": "2", "PYTHONPATH": str(ROOT)}


def local(settings: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        ["./launch/local.sh", *arguments], cwd=ROOT, env=settings, stdout=pipe, stderr=pipe, text=True, process_group=0
    )


def test_a_mistake_in_a_dry_run_is_said_before_a_process_starts(settings: dict[str, str], tmp_path: Path) -> None:
    for option in ("--dry-run", "--fresh"):
        running = local(settings, str(TINY), f"output_dir={tmp_path / 'o'}", "images.source=no where", option)
        stdout, stderr = running.communicate(timeout=120)
        assert (running.returncode, stdout) == (2, "")
        assert stderr.startswith("error: images.source.path: folder 'no where' does not exist")
        assert stderr.count("\n") == 1


def test_ctrl_c_ends_in_the_runs_own_sentence(settings: dict[str, str], tmp_path: Path) -> None:
    running = local(
        settings, str(TINY), f"output_dir={tmp_path}", "max_train_steps=100000", "validation=null", "name=a b"
    )
    metrics, deadline = tmp_path / "a b" / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    stdout, stderr = running.communicate(timeout=120)
    assert "and saved; the same command resumes the run." in stdout.splitlines()[-1]
    assert stderr == ""
    assert running.returncode == 128 + signal.SIGINT


def test_a_folder_in_place_of_a_config_is_trained_on(settings: dict[str, str], tmp_path: Path) -> None:
    """With settings and options in any order; the last line is the command that uses the result."""
    (tmp_path / "trainer").mkdir()  # a folder of that name, where the command is typed
    (tmp_path / "trainer" / "__init__.py").touch()
    photos = tmp_path / "my photos"
    photos.mkdir()
    for number in range(3):
        noise = torch.rand(60, 64, 3, generator=torch.Generator().manual_seed(number))
        Image.fromarray((noise * 255).byte().numpy()).save(photos / f"{number}.png")
    sizes = ("generator.num_feat=4", "generator.num_conv=1", "images.crop_size=48", "gt_size=32", "batch.per_device=1")
    rest = ("max_train_steps=2", "validation.validation_steps=2", "telemetry.report_to=none", "batch.global_size=1")
    running = subprocess.Popen(
        [str(ROOT / "launch/local.sh"), str(photos), *sizes, "--minutes", "0.02", "--scale", "2", *rest],
        cwd=tmp_path, env={**settings, "PROCESSES": ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stdout, stderr = running.communicate(timeout=120)
    assert running.returncode == 0, stderr
    assert "batch.global_size: 1 does not divide by 2 processes, so 1 of them train; 2 would." in stderr
    done, use = stdout.splitlines()[-2:]
    assert done.startswith("done at step 2")
    assert use == "To use it: venv/bin/wildsr upscale --model outputs/my_photos_x2 --input PICTURES --output large"


def test_without_arguments_the_configs_are_listed(settings: dict[str, str]) -> None:
    running = local(settings)
    assert "configs/quickstart.yaml" in running.communicate(timeout=60)[1]
    assert running.returncode == 2


@pytest.mark.parametrize("there", [False, True], ids=["no environment", "environment"])
@pytest.mark.parametrize("got", ["Python 3.9.1", "no program that runs"])
def test_a_python_that_does_not_fit_is_said(there: bool, got: str, tmp_path: Path) -> None:
    """Its name is not passed over for another that is found."""
    old, venv = tmp_path / "old python", tmp_path / "venv"
    if got.startswith("Python"):
        old.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {got}\n')
        old.chmod(0o755)
    if there:
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").symlink_to(sys.executable)
    settings = {**os.environ, "WILDSR_VENV": str(venv), "PYTHON": str(old)}
    command = ["bash", "-euc", ". launch/environment.sh; ensure_environment test"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: PYTHON={old}: got {got}; must be Python 3.11, 3.12 or 3.13.\n"


@pytest.mark.parametrize("reachable", [True, False], ids=["index", "no index"])
def test_without_a_gpu_the_build_for_cpus_is_tried_first(reachable: bool, tmp_path: Path) -> None:
    """The script runs a stand-in for Python that records pip's arguments."""
    python, asked = tmp_path / "bin" / "python", tmp_path / "asked"
    python.parent.mkdir()
    refuse = "" if reachable else 'case "$*" in *whl/cpu*) exit 1 ;; esac'
    python.write_text(f'#!/bin/sh\necho "$*" >>{asked}\n{refuse}\n')
    python.chmod(0o755)
    program = ". launch/environment.sh; gpu_here() { false; }; uname() { [ $1 = -s ] && echo Linux || echo x86_64; }"
    command = ["bash", "-euc", f"{program}; ensure_environment test; ensure_environment test"]
    settings = {**os.environ, "WILDSR_VENV": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert "the build for CPUs, about 200 MB" in done.stderr
    assert ("cannot be had from here" in done.stderr) is not reachable
    cpu, *others = asked.read_text().splitlines()
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu torch" in cpu
    assert [line.rpartition(" ")[2] for line in others] == ["torch"] * (not reachable) + [f"{ROOT}[test]"]
