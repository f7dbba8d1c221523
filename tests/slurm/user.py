"""Actions of a cluster's user: submit, look, signal, read logs."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from cluster import ask, wait_until

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "launch" / "tiny.yaml"
PATIENCE = 600.0  # seconds: a start may be a dozen processes that import torch, on two cores that others use
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY"}


@dataclass(frozen=True)
class User:
    """A user of a cluster. A job is named by its number, a task of an array as `12_3`."""

    environment: dict[str, str]
    logs: Path

    def submit(self, kind: str, *arguments: str, **environment: str) -> str:
        """`sbatch OPTIONS launch/slurm/KIND.sbatch ARGUMENTS`, options being what begins with --; the job's number."""
        options = [argument for argument in arguments if argument.startswith("--")]
        others = [argument for argument in arguments if not argument.startswith("--")]
        log = f"--output={self.logs}/%x-{'%j' if kind == 'train' else '%A_%a'}.out"
        command = ["sbatch", "--parsable", "--cpus-per-task=2", log, *options, f"launch/slurm/{kind}.sbatch", *others]
        settings = {**self.environment, **environment}
        done = subprocess.run(command, env=settings, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def do(self, *command: str) -> str:
        """Output of one of Slurm's commands."""
        return ask(self.environment, *command)

    def stop(self, job: str) -> None:
        """Send USR1 to all processes of a job, as Slurm does before the time limit."""
        # Its status is not asked for: it was seen to be "already completed" though the signal had arrived.
        subprocess.run(["scancel", "--signal=USR1", job], env=self.environment, check=False, timeout=60)

    def facts(self, job: str) -> dict[str, str]:
        """Slurm's facts on a job: JobState, ExitCode, Restarts, NumNodes and more."""
        return dict(re.findall(r"(\w+)=(\S*)", self.do("scontrol", "-o", "show", "job", job)))

    def wait(self, job: str, state: str) -> None:
        """Wait until the job is in this state; fails where it ends in another one."""
        wait_until(lambda: self.facts(job)["JobState"] in OVER | {state}, PATIENCE)
        assert self.facts(job)["JobState"] == state, self.log(job)

    def wait_for_step(self, job: str, step: int) -> None:
        """Wait until the job itself has reported a step; fails where it ends before."""

        def reported() -> bool:
            return any(int(number) >= step for number in re.findall(r"^step (\d+)/", self.log(job), re.MULTILINE))

        wait_until(lambda: reported() or self.facts(job)["JobState"] in OVER, PATIENCE)
        assert reported(), self.log(job)

    @contextmanager
    def at_step(self, job: str, step: int) -> Iterator[None]:
        """Pause the ranks of the job's first node, and so all, from its first report until the context ends.

        A fast machine would be done with the few steps that are left before Slurm acts.
        """
        self.wait_for_step(job, step)
        ranks = self.ranks(job, "n1")
        assert ranks, self.log(job)
        for rank in ranks:
            rank.suspend()
        try:
            yield
        finally:
            for rank in ranks:
                with suppress(psutil.NoSuchProcess):
                    rank.resume()

    def log(self, job: str) -> str:
        """The log of the job's first node over all its starts; empty if it never began."""
        return "".join(file.read_text() for file in self.logs.glob(f"*-{job}.out"))

    def ranks(self, job: str, node: str) -> list[psutil.Process]:
        """The training processes of a job on one node."""
        number, found = self.facts(job)["JobId"], []
        for process in psutil.process_iter():
            try:
                words, environment = process.cmdline(), process.environ()
            except psutil.Error:  # gone meanwhile
                continue
            here = (environment.get("SLURM_JOB_ID"), environment.get("SLURMD_NODENAME")) == (number, node)
            if here and "trainer/run.py" in words and "launch" not in words and "LOCAL_RANK" in environment:
                found.append(process)
        return found


def steps(run: Path) -> int:
    """Number of steps that a run has reported."""
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0
