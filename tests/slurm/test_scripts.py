"""The scripts of launch/slurm as far as they go without Slurm, and the sweeps that are shipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from user import ROOT, TINY

from trainer.config.loader import load_config
from trainer.config.schema import RunConfig

SCRIPTS = [*sorted((ROOT / "launch").rglob("*.sh")), *sorted((ROOT / "launch").rglob("*.sbatch")), ROOT / ".ci" / "run"]
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.txt"))
QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def bash(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of bash's, with the functions of the batch scripts."""
    command = ["bash", "-c", f"set -euo pipefail; . launch/slurm/job.sh; {program}", "bash", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def task(file: Path, index: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return bash('sweep_arguments "$@"', str(file), str(index), *arguments)


def submit(*arguments: str) -> subprocess.CompletedProcess[str]:
    """submit.sh, with the Python of these tests."""
    settings = {"WILDSR_SITE": "tests/slurm/site.sh", "WILDSR_VENV": str(Path(sys.executable).parents[1])}
    command = ["env", *(f"{key}={value}" for key, value in settings.items()), "./launch/slurm/submit.sh", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_that_shellcheck_likes(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-x", "-P", "SCRIPTDIR:.", str(script)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == ""


@pytest.mark.parametrize("file", SWEEPS, ids=lambda path: path.stem)
def test_every_line_of_a_shipped_sweep_is_a_run_of_its_own(file: Path) -> None:
    count = int(bash('sweep_lines "$1" | wc -l', str(file)).stdout)
    configs = [
        load_config(RunConfig, QUICKSTART, task(file, index, "C").stdout.splitlines()[1:]) for index in range(count)
    ]
    assert [config.name for config in configs] == [f"{file.stem}-{index}" for index in range(count)]
    assert {config.output_dir for config in configs} == {f"outputs/{file.stem}"}
    assert len({str((config.generator, config.optimizer, config.lr_scheduler)) for config in configs}) == count >= 2


def test_a_line_is_read_as_a_shell_reads_words_but_expands_nothing(tmp_path: Path) -> None:
    file = tmp_path / "two words.txt"
    file.write_text("# first\n\n a=1   b='[1, 2]'\n  # second\nc=\"x y\" d=$HOME/* e=`ls`\n")
    assert task(file, 0, "C", "k=v").stdout.splitlines() == [
        "C", "output_dir=outputs/two words", "name=two words-0", "k=v", "a=1", "b=[1, 2]",
    ]  # fmt: skip
    assert task(file, 1, "C").stdout.splitlines()[3:] == ["c=x y", "d=$HOME/*", "e=`ls`"]


def test_text_comes_through_a_sweep_as_it_is_quoted(tmp_path: Path) -> None:
    file = tmp_path / "0012.txt"
    file.write_text("\"images.source={type: folder, path: '/d/a  b'}\" 'init.generator=~/x: y #2 *.pth'\r\n")
    config, *overrides = task(file, 0, str(TINY), "output_dir=/a b/#1").stdout.splitlines()
    read = load_config(RunConfig, Path(config), overrides)
    assert (read.name, read.output_dir, read.images.source.path) == ("0012-0", "/a b/#1", "/d/a  b")
    assert read.init.generator == f"{Path.home()}/x: y #2 *.pth"


def test_an_index_without_a_line_and_an_open_quote_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "sweep.txt"
    file.write_text("a=1\nb='2\n")
    done = task(file, 2, "C")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: array index 2: {file} has 2 lines, counted from 0.\n"
    done = task(file, 1, "C")
    assert done.returncode == 2
    assert f"error: line 1 of {file} (counted from 0): b='2\n" in done.stderr


SLURM = {
    "srun": 'while [[ "$1" == --* ]]; do shift; done; SLURM_NODEID=0 exec "$@"',
    "scontrol": '[ "$1" = show ] && echo n1 || echo "scontrol $*"',
    "python": """
case "$*" in
*--check*) echo "$FOLDER" ;;
*) echo "step 3: signal" >"$FOLDER/STOPPED"; echo "started: $1"; exit "$ENDS" ;;
esac""",
    "sleep": "exit 0",
}
"""A node for a batch script: Slurm's commands, and a trainer that was asked to stop."""


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("status", "requeued"),
    [(0, True), (143, True), (138, True), (1, False), (2, False), (137, False), (139, False)],
    ids=["saved", "the launcher was ended", "a hanging process", "crash", "mistake", "killed", "segfault"],
)
def test_a_crash_is_not_requeued_though_the_other_ranks_were_asked_to_stop(
    tmp_path: Path, status: int, requeued: bool, processes: int
) -> None:
    for name, program in SLURM.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "site.sh").write_text("activate() { :; }; stage() { :; }; CONTAINER=()\n")
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "WILDSR_SITE": str(tmp_path / "site.sh"), "FOLDER": str(tmp_path),
        "SLURM_JOB_ID": "7", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "n1", "SLURM_SUBMIT_DIR": str(ROOT),
        "PROCESSES_PER_NODE": str(processes), "ENDS": str(status),
    }  # fmt: skip
    with (tmp_path / "log.out").open("w") as log:
        command = ["bash", "launch/slurm/train.sbatch", "config.yaml"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, stdout=log, timeout=60, check=False)
    said = (tmp_path / "log.out").read_text()
    assert f"started: {'trainer/run.py' if processes == 1 else '-m'}\n" in said
    assert ("scontrol requeue 7\n" in said) == requeued, said
    assert f"ended with status {status}{', stopped by signal' if requeued else ''}\n" in said
    assert not (tmp_path / "log.crashed").exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("train",), ("sweep", "lines.txt"), ("tarin", "config.yaml"), ("-N2", "train", "config.yaml")],
    ids=["nothing", "no config", "no config to sweep", "a typo", "a short option"],
)
def test_submit_says_how_it_is_used(arguments: tuple[str, ...]) -> None:
    done = submit(*arguments)
    assert done.returncode == 2
    assert "./launch/slurm/submit.sh [--option=value ...] sweep LINES.txt CONFIG [key=value ...]" in done.stderr
    assert "error: -N2: " in done.stderr or arguments[:1] != ("-N2",)


def test_submit_looks_for_slurm_before_anything_else(tmp_path: Path) -> None:
    for tool in ("env", "bash", "dirname", "sed"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    arguments = [str(tmp_path / "launch" / "slurm" / "submit.sh"), "train", str(TINY)]
    done = subprocess.run(
        arguments, cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no sbatch here")
    assert not (tmp_path / "logs").exists()


@pytest.mark.launch
def test_submit_refuses_what_the_job_would_be_refused_for(tmp_path: Path) -> None:
    """The number of processes is that of the job: 3 nodes of the one GPU that the script asks for."""
    done = submit("--nodes=3", "train", str(TINY), f"output_dir={tmp_path}")
    assert done.returncode == 2
    assert "error: batch: global_size 4 does not divide by 3 processes" in done.stderr


@pytest.mark.launch
def test_submit_names_the_wrong_line_of_a_sweep(tmp_path: Path) -> None:
    file = tmp_path / "sweep.txt"
    file.write_text("seed=1\nseed=many\nname='x\n")
    done = submit("sweep", str(file), str(TINY), f"output_dir={tmp_path}")
    assert done.returncode == 2
    assert 'seed: got "many"; must be a whole number' in done.stderr
    assert done.stderr.endswith(
        f"error: these lines of {file} (counted from 0) are wrong: 1 2. Nothing was submitted.\n"
    )
    assert "one step: " not in done.stdout  # nothing is tried before all lines are right
    assert list(tmp_path.iterdir()) == [file]
