"""A Slurm of two nodes on this machine, for tests and for trying the scripts of launch/slurm.

    python tests/slurm/cluster.py FOLDER        # as root; prints how to use it, and ends it on Ctrl-C

Needs slurmctld, slurmd and the clients (Debian: `apt-get install slurmctld slurmd slurm-client`), and touches nothing
outside its folder. It has no authentication, so it listens on the loopback interface alone.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = ("n1", "n2")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo")

CONF = """\
ClusterName=wildsr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
# How long a requeued job waits before it may start again, too; 5 is the least that Slurm takes.
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
# Nodes may claim more cores and memory than the machine has.
SlurmdParameters=config_overrides
JobCompType=jobcomp/none
MinJobAge=3600
# Jobs of the partition `urgent` take the nodes from those of `normal`, which go back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
# A node that a test has taken down stays so.
ReturnToService=0
GresTypes=gpu
{nodes}
PartitionName=normal Nodes=n1,n2 Default=YES MaxTime=UNLIMITED DefaultTime=10 PriorityTier=1 State=UP
PartitionName=urgent Nodes=n1,n2 MaxTime=UNLIMITED DefaultTime=10 PriorityTier=2 State=UP
"""


class Unavailable(Exception):
    """Reason that Slurm cannot run here."""


def free_ports(number: int) -> list[int]:
    """Ports of the loopback interface on which nobody listens, below those that connections are given."""
    found: list[int] = []
    for port in range(16800, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == number:
            break
    return found


def configure(folder: Path) -> None:
    """Write slurm.conf and gres.conf: each node has eight GPUs, which are empty files."""
    for name in ("state", "log", "run", *(f"spool/{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    for number in range(8):
        (folder / f"gpu{number}").touch()
    host = socket.gethostname().partition(".")[0]
    controller, *ports = free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=8000 Gres=gpu:8"
        for node, port in zip(NODES, ports, strict=True)
    )
    (folder / "slurm.conf").write_text(CONF.format(host=host, port=controller, folder=folder, nodes=nodes))
    (folder / "gres.conf").write_text(f"AutoDetect=off\nNodeName=n[1-2] Name=gpu File={folder}/gpu[0-7]\n")


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Two idle nodes for as long as the context lasts; the environment in which Slurm's commands find them.

    Raises Unavailable where Slurm is not installed, or does not start.
    """
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise Unavailable(f"not installed: {', '.join(absent)} (Debian: slurmctld, slurmd, slurm-client)")
    if os.geteuid():
        raise Unavailable("slurmd must be started by root")
    configure(folder)
    others = ("SLURM", "SBATCH", "SRUN")  # this may itself be a job of another Slurm
    environment = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    environment["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        start(folder, environment)
        yield environment
    finally:
        stop(folder, environment)


def start(folder: Path, environment: dict[str, str]) -> None:
    """Start the daemons and wait until both nodes are idle."""
    try:
        for daemon in (["slurmctld", "-c", "-i"], *(["slurmd", "-N", node] for node in NODES)):
            subprocess.run(daemon, env=environment, check=True, capture_output=True, timeout=60)
        wait_until(lambda: ask(environment, "sinfo", "-hN", "-t", "idle", "-p", "normal").count("\n") == 2, 60)
    except (subprocess.SubprocessError, TimeoutError) as error:
        logs = "".join(f"{file.name}: {file.read_text()[-1000:]}\n" for file in (folder / "log").iterdir())
        raise Unavailable(f"Slurm does not start here: {error}\n{logs}") from None


def stop(folder: Path, environment: dict[str, str]) -> None:
    """Cancel what still runs, and end the daemons that `start` started."""
    daemons = [int(file.read_text()) for file in (folder / "run").glob("*.pid")]
    if len(daemons) == 1 + len(NODES):
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not ask(environment, "squeue", "-h"), 40)
    for daemon in daemons:
        os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: not any(Path(f"/proc/{daemon}").exists() for daemon in daemons), 30)


def ask(environment: dict[str, str], *command: str) -> str:
    """Output of one of Slurm's commands; CalledProcessError if it fails."""
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Return once it is true; TimeoutError if it is not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.1)


def main() -> int:
    """Be a cluster until Ctrl-C."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).absolute()
    try:
        with cluster(folder) as environment:
            # The nodes' names are not those of machines, so the first node must be told its address.
            print(f"export SLURM_CONF={environment['SLURM_CONF']} MASTER_ADDR=127.0.0.1 ACCELERATE_USE_CPU=true")
            print("Two nodes of 8 CPUs and 8 GPUs that are none. Ctrl-C ends them.", flush=True)
            signal.pause()
    except Unavailable as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
