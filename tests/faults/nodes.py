"""Two nodes on one machine: each rank has a network and a name of its own, by Linux' namespaces. Needs to be root.

python -m tests.faults.nodes    two nodes train alike; with other settings; and one whose link goes down
"""

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trainer.distributed.agreement
import trainer.loop
from tests.faults.forked import TINY, Job, Work
from trainer.distributed.waiting import WATCH
from trainer.run import main

CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000
SMALL = ("validation=null", "telemetry.report_to=none", "queue_size=4")


class Network:
    """Two namespaces, joined by a cable."""

    def __init__(self) -> None:
        self.names = [f"wildsr-{os.getpid()}-{node}" for node in (0, 1)]

    def make(self) -> None:
        """Make the namespaces; raises CalledProcessError where that is not permitted."""
        for name in self.names:
            ip("netns", "add", name)
        first, second = self.names
        ip("link", "add", "eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
        for node, name in enumerate(self.names):
            ip("-n", name, "addr", "add", f"10.77.0.{node + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def cut(self) -> None:
        """Pull the cable."""
        ip("-n", self.names[1], "link", "set", "eth0", "down")

    def remove(self) -> None:
        """Delete the namespaces that exist."""
        for name in self.names:
            if Path("/run/netns", name).exists():
                ip("netns", "delete", name)

    def on_own_node(self, work: Work) -> Work:
        """`work` for forked ranks, with rank r alone on node r."""

        def there(arguments: Sequence[str]) -> int:
            rank = int(os.environ["RANK"])
            libc = ctypes.CDLL(None, use_errno=True)
            with Path("/run/netns", self.names[rank]).open() as namespace:
                assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            assert libc.unshare(CLONE_NEWUTS) == 0, os.strerror(ctypes.get_errno())
            socket.sethostname(f"node{rank}")
            os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", MASTER_ADDR="10.77.0.1", GLOO_SOCKET_IFNAME="eth0")
            return work(arguments)

        return there


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def network() -> Iterator[Network | None]:
    """The two nodes, or None where this user has no permission to make them."""
    made = Network()
    try:
        made.make()
    except (OSError, subprocess.CalledProcessError):
        made.remove()
        yield None
        return
    try:
        yield made
    finally:
        made.remove()


def with_other_rate(arguments: Sequence[str]) -> int:
    """Train with a learning rate that differs on each rank."""
    return main([*arguments, f"optimizer.learning_rate={0.001 * (1 + int(os.environ['RANK']))}"])


def impatient(arguments: Sequence[str]) -> int:
    """Train, with minutes shortened to a fraction of a second."""
    WATCH.reminder_seconds, trainer.loop.EXCHANGE_GRACE, trainer.distributed.agreement.EXCHANGE_GRACE = 0.5, 1.0, 1.0
    return main(arguments)


def start(nodes: Network, folder: Path, work: Work, *settings: str) -> Job:
    folder.mkdir()
    arguments = [str(TINY), f"output_dir={folder}", *SMALL, *settings]
    return Job(2, folder / "log", arguments, nodes.on_own_node(work))


def wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def check(root: Path, nodes: Network) -> None:
    """All three; AssertionError with what was said."""
    log = root / "alike" / "log"
    job = start(nodes, root / "alike", main, "max_train_steps=2")
    assert job.wait(90) == [0, 0], log.read_text()
    print("alike: both train")

    log, begin = root / "other" / "log", time.monotonic()
    job = start(nodes, root / "other", with_other_rate, "max_train_steps=2")
    assert job.wait(90) == [2, 2], log.read_text()
    print(f"another learning rate, after {time.monotonic() - begin:.1f} s:\n{log.read_text()}")

    log = root / "cut" / "log"
    job = start(nodes, root / "cut", impatient, "max_train_steps=100000", "checkpoints.checkpointing_steps=100000")
    try:
        wait_for("step 3/", log)
        nodes.cut()
        begin = time.monotonic()
        wait_for("is still ", log)
        print(f"the link is down: said after {time.monotonic() - begin:.1f} s")
        for rank in (0, 1):
            job.kill(rank, signal.SIGTERM)
        begin = time.monotonic()
        assert job.wait(60) == [1, 1], log.read_text()
        print(f"SIGTERM: both end after {time.monotonic() - begin:.1f} s:")
        print("".join(line for line in log.read_text().splitlines(keepends=True) if "rank " in line))
    finally:
        job.end()


if __name__ == "__main__":
    with network() as two, tempfile.TemporaryDirectory() as folder:
        if two is None:
            raise SystemExit("network namespaces are not permitted here")
        check(Path(folder), two)
