"""The scripts of launch/slurm on a real Slurm of two nodes: disturbed runs end with the undisturbed result.

Every scenario's digests and weights are compared with those of the same configuration trained without Slurm.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cluster import wait_until
from user import PATIENCE, ROOT, TINY, User, steps

from tests.faults.forked import Job
from trainer.runs import summarize

pytestmark = pytest.mark.slurm

LAST = 60
SETTINGS = (
    f"max_train_steps={LAST}",
    "batch.per_device=1",
    "validation=null",
    "telemetry.report_to=none",
    "checkpoints.checkpointing_steps=20",
)
LINES = ("optimzer.learning_rate=1", "seed=4", "seed=5 'optimizer.betas=[0.9, 0.99]'")
"""A sweep: a wrong line, one that is left in peace, and one that is stopped."""


@dataclass(frozen=True)
class Outcome:
    """Digests and results of a finished run."""

    digests: list[tuple[int, int]]
    weights: dict[str, torch.Tensor]

    def difference(self, other: "Outcome") -> float:
        """The largest difference of a weight."""
        assert self.weights.keys() == other.weights.keys()
        return max(float((self.weights[name] - other.weights[name]).abs().max()) for name in self.weights)


def outcome(run: Path) -> Outcome:
    """The outcome in a run folder; every step must have been reported once."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (run / "DONE").read_text() == f"{LAST}\n"
    newest = run / "checkpoints" / f"step-{LAST:08d}"
    return Outcome(
        [(line["step"], line["training/digest"]) for line in lines],
        {
            f"{part} {name}": value
            for part in ("generator", "generator_ema")
            for name, value in safetensors.torch.load_file(newest / f"{part}.safetensors").items()
        },
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The same runs without Slurm, on as many processes, which are forked."""
    outcomes = {}
    for name, world, overrides in (
        ("peace", 4, LINES[1]),
        ("stopped", 4, "seed=5 optimizer.betas=[0.9,0.99]"),
        ("alone", 2, "seed=3"),
    ):
        folder = tmp_path_factory.mktemp(name)
        job = Job(world, folder / "log", [str(TINY), f"output_dir={folder}", *SETTINGS, *overrides.split()])
        assert job.wait(PATIENCE) == [0] * world, (folder / "log").read_text()
        outcomes[name] = outcome(folder / "tiny")
    return outcomes


@dataclass(frozen=True)
class Sweep:
    """An array that has ended, and its run folders."""

    job: str
    folder: Path


@pytest.fixture(scope="module")
def sweep(user: User, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Three tasks of two nodes with two processes each, at once; the last one is signalled, and it alone."""
    folder = tmp_path_factory.mktemp("sweep")
    file = folder / "lines.txt"
    file.write_text("# a sweep\n\n" + "\n".join(LINES) + "\n")
    where = ("--array=0-2", "--nodes=2", "--gpus-per-node=2")
    job = user.submit("sweep", *where, str(file), str(TINY), *SETTINGS, f"output_dir={folder}")
    user.wait_for_step(f"{job}_2", 5)
    user.stop(f"{job}_2")
    assert user.facts(f"{job}_2")["JobId"] == job  # so to requeue its SLURM_JOB_ID would be to requeue all
    user.wait(f"{job}_1", "COMPLETED")
    user.wait(f"{job}_2", "COMPLETED")
    user.wait(f"{job}_0", "FAILED")
    return Sweep(job, folder)


def test_a_stopped_task_is_requeued_resumes_and_ends_as_if_nothing_had_happened(
    user: User, sweep: Sweep, undisturbed: dict[str, Outcome]
) -> None:
    assert user.facts(f"{sweep.job}_2")["Restarts"] == "1"
    log = user.log(f"{sweep.job}_2")
    assert "ended with status 0, stopped by signal" in log
    assert f"job {sweep.job}_2: requeue\n" in log
    run = sweep.folder / "lines-2"
    first, second = (json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines())
    assert (first["step"], first["processes"], first["job"], first["requeues"]) == (0, 4, f"{sweep.job}_2", 0)
    assert 5 <= second["step"] < LAST
    assert second["requeues"] == 1
    assert f"resumes at step {second['step']} of {LAST}" in log
    assert outcome(run).digests == undisturbed["stopped"].digests
    assert outcome(run).difference(undisturbed["stopped"]) == 0


def test_its_sibling_notices_nothing(user: User, sweep: Sweep, undisturbed: dict[str, Outcome]) -> None:
    assert user.facts(f"{sweep.job}_1")["Restarts"] == "0"
    assert outcome(sweep.folder / "lines-1").digests == undisturbed["peace"].digests
    assert outcome(sweep.folder / "lines-1").difference(undisturbed["peace"]) == 0


def test_a_wrong_line_ends_its_own_task_with_one_sentence(user: User, sweep: Sweep) -> None:
    facts, log = user.facts(f"{sweep.job}_0"), user.log(f"{sweep.job}_0")
    assert (facts["ExitCode"], facts["Restarts"]) == ("2:0", "0")
    assert "optimzer: no such key; did you mean 'optimizer'?" in log
    assert "Traceback" not in log
    assert not (sweep.folder / "lines-0").exists()


def test_an_index_without_a_line_is_an_error(user: User, sweep: Sweep) -> None:
    job = user.submit("sweep", "--array=7", str(sweep.folder / "lines.txt"), str(TINY))
    user.wait(f"{job}_7", "FAILED")
    assert user.facts(f"{job}_7")["ExitCode"] == "2:0"
    sentence = f"error: array index 7: {sweep.folder / 'lines.txt'} has 3 lines, counted from 0.\n"
    assert user.log(f"{job}_7") == sentence


def test_each_node_is_prepared_and_has_a_log(user: User, sweep: Sweep) -> None:
    log = user.log(f"{sweep.job}_1")
    assert "staged on n1" in log
    assert "staged on n2" in log
    assert len(list(user.logs.glob(f"sweep-{sweep.job}_1*.out"))) == 2
    assert next(user.logs.glob(f"sweep-{sweep.job}_1-node1.out")).is_file()


def test_the_table_shows_the_sweep(sweep: Sweep) -> None:
    rows = [summarize(sweep.folder / name, sweep.folder) for name in ("lines-1", "lines-2")]
    assert [(row.name, row.state, row.step, row.checkpoint, row.requeues) for row in rows] == [
        ("lines-1", "done", LAST, LAST, 0),
        ("lines-2", "done", LAST, LAST, 1),
    ]


def test_one_run_through_a_limit_a_crash_and_a_preemption(
    user: User, tmp_path: Path, undisturbed: dict[str, Outcome]
) -> None:
    """Two nodes of one process each. Only what asked the run to stop lets the job begin again by itself."""
    run = tmp_path / "tiny"
    words = ("--nodes=2", "--gpus-per-node=1", str(TINY), *SETTINGS, "seed=3", f"output_dir={tmp_path}")

    # Slurm signals everything in the job, so the processes that read pictures too: they must not heed it.
    job = user.submit("train", *words, "images.dataloader_num_workers=1", MAX_REQUEUES="0")
    user.wait_for_step(job, 3)
    user.stop(job)
    user.wait(job, "FAILED")
    assert f"error: job {job} is not requeued: it was started again 0 times, and MAX_REQUEUES is 0." in user.log(job)
    assert (run / "STOPPED").read_text().endswith(": signal\n")
    assert user.facts(job)["Restarts"] == "0"

    job = user.submit("train", *words)
    with user.at_step(job, 22):
        (rank,) = user.ranks(job, "n2")
        assert rank.environ()["IN_CONTAINER"] == "1"
        rank.kill()
    user.wait(job, "FAILED")
    assert user.facts(job)["Restarts"] == "0"
    assert "requeue" not in user.log(job)
    assert user.ranks(job, "n1") == []
    assert not (run / "DONE").exists()

    job = user.submit("train", *words)
    with user.at_step(job, 25):
        where = ("--partition=urgent", "--nodes=2", "--exclusive")
        urgent = user.do("sbatch", "--parsable", *where, "--output=/dev/null", "--wrap=true").strip()
        wait_until(lambda: user.facts(job)["JobState"] != "RUNNING", PATIENCE)
    user.wait(urgent, "COMPLETED")
    assert not (run / "DONE").exists(), "it was preempted too late to prove anything"
    user.wait(job, "COMPLETED")
    assert user.facts(job)["Restarts"] == "1"

    starts = [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]
    assert [start["step"] for start in starts][2] == 20  # the crash cost what came after the checkpoint
    assert len(starts) == 4
    assert outcome(run).digests == undisturbed["alone"].digests
    assert outcome(run).difference(undisturbed["alone"]) == 0


def test_a_chain_goes_on_by_segments_on_whatever_nodes_there_are(
    user: User, tmp_path: Path, undisturbed: dict[str, Outcome]
) -> None:
    run = tmp_path / "tiny"
    words = ("--nodes=1-2", "--gpus-per-node=1", str(TINY), *SETTINGS, "seed=3", f"output_dir={tmp_path}")

    chain = user.submit("chain", "--array=1-3%1", *words)
    with user.at_step(f"{chain}_1", 22):
        user.do("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
        user.wait(f"{chain}_1", "NODE_FAIL")
    wait_until(lambda: "resumes at step" in user.log(f"{chain}_2"), PATIENCE)
    (run / "STOP").touch()
    user.wait(f"{chain}_2", "COMPLETED")
    assert (run / "STOPPED").read_text().endswith(": STOP file\n")
    user.wait(f"{chain}_3", "CANCELLED")
    user.do("scontrol", "update", "NodeName=n2", "State=RESUME")
    wait_until(lambda: user.do("sinfo", "-h", "-n", "n2", "-p", "normal", "-o", "%t") == "idle\n", PATIENCE)

    chain = user.submit("chain", "--array=1-3%1", *words)
    user.wait_for_step(f"{chain}_1", steps(run) + 3)
    user.stop(f"{chain}_1")
    for segment in (1, 2, 3):
        user.wait(f"{chain}_{segment}", "COMPLETED")
        assert user.facts(f"{chain}_{segment}")["Restarts"] == "0"
    assert "stopped by signal" in user.log(f"{chain}_1")
    assert f"done at step {LAST}" in user.log(f"{chain}_2")
    assert f"{run} is done at step {LAST}" in user.log(f"{chain}_3")

    starts = [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]
    assert [start["processes"] for start in starts] == [2, 1, 2, 2]
    assert outcome(run).digests == undisturbed["alone"].digests
    assert outcome(run).difference(undisturbed["alone"]) < 1e-5


def test_submit_hands_over_what_it_has_checked(user: User, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("seed=1\n")
    words = (
        "--hold",
        "--nodes=2",
        "--time=01:00:00",
        "sweep",
        str(tmp_path / "one.txt"),
        str(TINY),
        f"output_dir={tmp_path}",
    )
    done = subprocess.run(
        ["./launch/slurm/submit.sh", *words],
        env=user.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    *_, command, answer = done.stdout.splitlines()
    assert command.split()[:5] == ["sbatch", "--array=0-0", "--hold", "--nodes=2", "--time=01:00:00"]
    assert command.split()[5:7] == ["launch/slurm/sweep.sbatch", str(tmp_path / "one.txt")]
    job = answer.removeprefix("Submitted batch job ")
    facts = user.facts(job)
    user.do("scancel", job)
    assert (facts["NumNodes"].split("-")[0], facts["TimeLimit"], facts["ArrayTaskId"]) == ("2", "01:00:00", "0")
    assert Path(facts["StdOut"]).parent == ROOT / "logs"
    assert (ROOT / "logs").is_dir()
