"""The training-pair pool: one global array of pairs, sharded over the ranks by slot.

Real-ESRGAN draws resize factors, noise families and order once per batch, and mixes batches through a pool so that a
batch is not all alike. Its pool is private to each process and lost on resume. This one is a single array of `size`
slots whatever the number of processes: positions [0, size) of the stream fill it before the first step; at step t a
keyed draw without replacement picks a slot for each place of the global batch, the fresh pair of that place goes into
the slot, and what lay there is trained on. Every rank computes the same draw, so only pairs travel: one
`all_to_all_single` per micro-batch carries fresh pairs to their slots and old ones to their places.

A pair is trained on exactly once, on average size / batch steps after it was made (the age is geometric).
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor

from degradations.keyed_random import Keys, uniforms
from trainer.images.positions import DataPurpose
from trainer.pairs.synthesis import PairBatch


@dataclass(frozen=True, slots=True)
class PairShape:
    """The shapes of a pair's two pictures, and with them a row of the pool: LQ, ground truth, position (8 bytes)."""

    lq: tuple[int, int, int]
    gt: tuple[int, int, int]
    dtype: torch.dtype = torch.uint8

    @property
    def bytes(self) -> int:
        """Bytes of one pair."""
        return (torch.Size(self.lq).numel() + torch.Size(self.gt).numel()) * self.dtype.itemsize + 8

    def rows(self, pairs: PairBatch) -> Tensor:
        """Pairs as rows, uint8 [b, bytes]."""
        pictures = (rearrange(part, "b c h w -> b (c h w)").view(torch.uint8) for part in (pairs.lq, pairs.gt))
        return torch.cat([*pictures, pairs.positions[:, None].view(torch.uint8)], dim=1)

    def pairs(self, rows: Tensor) -> PairBatch:
        """Rows as pairs; copies, so that the pictures are contiguous."""
        length = torch.Size(self.lq).numel() * self.dtype.itemsize
        lq, gt, positions = (
            part.clone(memory_format=torch.contiguous_format)  # so that the bytes of a number are side by side
            for part in (rows[:, :length], rows[:, length:-8], rows[:, -8:])
        )
        pictures = (lq.view(self.dtype).reshape(-1, *self.lq), gt.view(self.dtype).reshape(-1, *self.gt))
        return PairBatch(*pictures, positions.view(torch.int64)[:, 0])


@dataclass(frozen=True, slots=True)
class Layout:
    """Ownership: of slots by rank, and of places in the global batch by rank.

    Rank r owns the slots [r * size // world, (r + 1) * size // world) and holds the places
    [r * per_process, (r + 1) * per_process), `per_device` of them in each micro-batch.
    """

    size: int
    per_process: int
    per_device: int
    rank: int
    world: int

    def shard(self, rank: int) -> tuple[int, int]:
        """The first slot of a rank's shard and the one after its last."""
        return rank * self.size // self.world, (rank + 1) * self.size // self.world

    def owners(self, slots: Tensor) -> Tensor:
        """The rank that owns each slot, int64."""
        ends = torch.tensor([self.shard(rank)[1] for rank in range(self.world)])
        return torch.searchsorted(ends, slots, right=True)


@dataclass(frozen=True, slots=True)
class Route:
    """One exchange as one rank sees it. From each rank to each travel fresh pairs, then old ones, both by place."""

    taken: Tensor
    """Slots to take from this rank's shard and fill again, counted from its first; int64."""
    sent: Tensor
    """Rows to send, in the order of the receivers, counted over (fresh pairs, then taken ones)."""
    send_counts: list[int]
    receive_counts: list[int]
    stored: Tensor
    """For each of `taken`, the received row that fills it."""
    replaced: Tensor
    """This rank's places, counted from the micro-batch's first, that train on an old pair."""
    trained: Tensor
    """For each of `replaced`, the received row to train on."""


def plan_route(slots: Tensor, layout: Layout, micro: int) -> Route:
    """Plan micro-batch `micro` of a step for which `slots`, int64, were drawn, one for each place of the global batch.

    Every rank plans from the same numbers, so no index travels. The cost is linear in the global batch.
    """
    place = torch.arange(len(slots))
    holder, within = place // layout.per_process, place % layout.per_process
    active = within // layout.per_device == micro
    owner = layout.owners(slots)
    outward = place[active & (holder == layout.rank)]  # my places: their fresh pairs leave, old ones come
    inward = place[active & (owner == layout.rank)]  # places whose slots are mine: fresh pairs come, old ones leave
    numbers = outward % layout.per_process - micro * layout.per_device

    receivers = torch.cat([owner[outward] * 2, holder[inward] * 2 + 1])
    rows = torch.cat([numbers, layout.per_device + torch.arange(len(inward))])
    senders = torch.cat([holder[inward] * 2, owner[outward] * 2 + 1])
    arrival = torch.argsort(torch.argsort(senders, stable=True))  # where each expected row stands in what is received
    return Route(
        taken=slots[inward] - layout.shard(layout.rank)[0],
        sent=rows[torch.argsort(receivers, stable=True)],
        send_counts=torch.bincount(receivers // 2, minlength=layout.world).tolist(),
        receive_counts=torch.bincount(senders // 2, minlength=layout.world).tolist(),
        stored=arrival[: len(inward)],
        replaced=numbers,
        trained=arrival[len(inward) :],
    )


class Pool:
    """This rank's shard of the global pool, on the device."""

    def __init__(
        self,
        layout: Layout,
        shape: PairShape,
        seed: int,
        device: torch.device,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """`group` is what exchanges travel in: one of their own, lest gradients wait for pairs that are still made."""
        self.layout, self.shape, self.seed, self.group = layout, shape, seed, group
        self.first, end = layout.shard(layout.rank)
        self.latest: tuple[int, Tensor] | None = None
        self.rows = torch.zeros(end - self.first, shape.bytes, dtype=torch.uint8, device=device)
        self.missing = -(-layout.size // layout.world)
        """Pairs that are still to be put or offered before any is exchanged: of the largest shard, so that all ranks
        begin together."""

    def put(self, slot: int, rows: Tensor) -> None:
        """Set the slots from `slot` on, all of them this rank's, to `rows`, uint8 [n, bytes]."""
        end = slot - self.first + len(rows)
        self.rows[slot - self.first : end] = rows
        self.missing = 0 if end == len(self.rows) else self.missing - len(rows)

    def offer(self, fresh: PairBatch) -> None:
        """Keep new pairs in the next slots of this rank's, as far as there is room; for a pool that is not full."""
        begin = -(-self.layout.size // self.layout.world) - self.missing
        rows = self.shape.rows(fresh)
        room = self.rows[begin : begin + len(rows)]
        room[:] = rows[: len(room)]
        self.missing -= len(rows)

    def drawn(self, step: int) -> Tensor:
        """The slot of each place at `step`: min(global batch, size) different ones, int64, the same on every rank.

        Kept until another step's is asked for: all micro-batches of a step plan from it.
        """
        if self.latest is None or self.latest[0] != step:
            key = Keys(self.seed, torch.tensor([step]))
            order = torch.argsort(uniforms(key, DataPurpose.POOL, self.layout.size)[0], stable=True)
            self.latest = step, order[: self.layout.per_process * self.layout.world]
        return self.latest[1]

    def swap(self, fresh: PairBatch, step: int, micro: int) -> PairBatch:
        """Put this rank's fresh pairs of a micro-batch into their slots, and return what lay there.

        Collective: every rank calls it for the same steps and micro-batches in the same order. Where the batch is
        larger than the pool, the places beyond get their own fresh pairs back.
        """
        route = plan_route(self.drawn(step), self.layout, micro)
        rows = self.shape.rows(fresh)
        taken, sent, stored, replaced, trained = (
            index.to(rows.device, non_blocking=True)
            for index in (route.taken, route.sent, route.stored, route.replaced, route.trained)
        )
        old = self.rows[taken]
        message = torch.cat([rows, old])[sent]
        received = message
        if self.layout.world > 1:
            received = rows.new_empty(sum(route.receive_counts), self.shape.bytes)
            dist.all_to_all_single(received, message, route.receive_counts, route.send_counts, group=self.group)
        self.rows[taken] = received[stored]
        rows[replaced] = received[trained]
        return self.shape.pairs(rows)
