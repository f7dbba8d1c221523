"""A model of the step on many GPUs, from counted bytes and operations and from the assumptions of `Machine`."""

from collections.abc import Sequence
from dataclasses import dataclass

from scaling.counted import Overlap


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Assumptions on a cluster of H100s: none of them was measured here."""

    per_node: int = 8
    tflops: float = 989.5 * 0.25
    """TFLOP/s of a GPU in the networks: the data sheet's dense bf16, of which a quarter is taken."""
    nvlink: float = 300e9
    """Bytes a second that a GPU sends to others of its node."""
    network: float = 40e9
    """Bytes a second that a GPU sends to other nodes: 400 Gbit/s of InfiniBand each, of which 80 % are taken."""
    node_latency: float = 20e-6
    """Seconds of a collective without bytes in a node, and `hop_latency` of each step of a tree over nodes."""
    hop_latency: float = 10e-6
    host_hop: float = 30e-6
    """Seconds for a message between two hosts by TCP, as gloo sends it."""
    launch: float = 7e-6
    """Seconds in which the host launches an operation, without graphs or compilation."""
    disk: float = 5e9
    """Bytes a second of the shared disk in all, and `stream` of one process's files, checksums included."""
    stream: float = 1e9
    to_host: float = 10e9
    """Bytes a second of a copy of tensors to pageable memory of the host."""
    cores: int = 12
    """Cores of a node for each GPU."""


@dataclass(frozen=True, slots=True)
class Network:
    """The exchange of one network: its buckets in order, and the operations of its own backward pass for a pair."""

    overlap: Overlap
    backward: float


@dataclass(frozen=True, slots=True)
class Work:
    """A training as it was counted."""

    flops: float
    """Floating-point operations of a step for each pair, of all networks."""
    launches: int
    """Operations that the host launches for a micro-batch, casts and optimizers left out."""
    networks: Sequence[Network]
    row: int
    """Bytes of a pair of the pool."""
    state: int
    """Bytes of a checkpoint without the pool."""
    largest: int
    """Bytes of its largest part, which one rank writes."""


def all_reduce(size: float, gpus: int, machine: Machine) -> float:
    """Seconds of an all-reduce: within nodes, then a ring of each GPU's share over nodes, then within nodes again."""
    inside = min(gpus, machine.per_node)
    nodes = -(-gpus // machine.per_node)
    if gpus == 1:
        return 0.0
    hops = 2 * (nodes - 1).bit_length()
    seconds = machine.node_latency + hops * machine.hop_latency + 2 * (inside - 1) / inside * size / machine.nvlink
    return seconds + 2 * (nodes - 1) / nodes * size / inside / machine.network


def exposed(overlap: Overlap, backward: float, gpus: int, machine: Machine) -> tuple[float, float]:
    """Seconds of a network's exchanges, and those of them that remain when its backward pass is over."""
    clock = busy = 0.0
    for size, ready in zip(overlap.bytes, overlap.ready, strict=True):
        seconds = all_reduce(size, gpus, machine)
        clock = max(clock, ready * backward) + seconds
        busy += seconds
    return busy, max(0.0, clock - backward)


@dataclass(frozen=True, slots=True)
class Step:
    """A step on so many GPUs, in seconds; bytes that each sends."""

    gpus: int
    compute: float
    exchange: float
    exposed: float
    pool_bytes: float
    pool: float
    control: float
    launches: float
    pairs: int

    @property
    def seconds(self) -> float:
        """The whole step: of the device, beside which the pool is exchanged and the host launches and agrees on the
        next one, or of what takes longer."""
        return max(self.compute + self.exposed, self.pool, self.launches + self.control)

    @property
    def efficiency(self) -> float:
        """The share of the time that is computation."""
        return self.compute / self.seconds

    @property
    def rate(self) -> float:
        """Pairs a second that a GPU trains on, each of which wants a decoded picture."""
        return self.pairs / self.seconds


def step_of(work: Work, gpus: int, pairs: int, machine: Machine) -> Step:
    """A step with `pairs` of them on each GPU, in one micro-batch."""
    speed = 1e12 * machine.tflops / pairs
    found = [exposed(one.overlap, one.backward / speed, gpus, machine) for one in work.networks]
    inside = min(gpus, machine.per_node) / gpus
    sent = 2 * pairs * (gpus - 1) / gpus * work.row
    pool = sent * (1 - inside) / machine.network + sent * inside / machine.nvlink
    control = 2 * (gpus - 1) * machine.host_hop  # gloo's ring, there and back
    exchange, late = (sum(column) for column in zip(*found, strict=True))
    launches = work.launches * machine.launch
    return Step(gpus, work.flops / speed, exchange, late, sent, pool, control, launches, pairs)


def checkpoint(work: Work, gpus: int, slots: int, machine: Machine) -> tuple[float, float, float]:
    """Bytes of a checkpoint with `slots` pairs for each GPU; seconds that a save at once and one in the background hold
    the training up."""
    share = slots * work.row
    size = work.state + gpus * share
    at_once = max(size / machine.disk, (work.largest + share) / machine.stream)
    return size, at_once, (work.largest + share) / machine.to_host
