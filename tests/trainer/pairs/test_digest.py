"""The digest of training pairs: equal for equal pairs in any grouping, and for nothing else."""

import torch

from trainer.pairs.digest import digest
from trainer.pairs.synthesis import PairBatch


def some_pairs(count: int = 6) -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    lq = torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8, generator=generator)
    gt = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return PairBatch(lq, gt, torch.arange(count))


def part(pairs: PairBatch, index: slice | list[int]) -> PairBatch:
    return PairBatch(pairs.lq[index], pairs.gt[index], pairs.positions[index])


def test_grouping_and_order_do_not_matter() -> None:
    pairs = some_pairs()
    whole = digest(pairs)
    assert whole.dtype == torch.int64
    assert torch.equal(whole, sum(digest(part(pairs, [number])) for number in (3, 0, 5, 1, 4, 2)))
    assert torch.equal(whole, digest(part(pairs, slice(0, 2))) + digest(part(pairs, slice(2, 6))))


def test_one_level_of_one_pixel_matters() -> None:
    pairs = some_pairs()
    for pictures in (pairs.lq, pairs.gt):
        before = digest(pairs)
        pictures[2, 1, 3, 0] ^= 1
        assert digest(pairs) != before


def test_a_shift_matters() -> None:
    pairs = some_pairs()
    assert digest(PairBatch(pairs.lq.roll(1, -1), pairs.gt, pairs.positions)) != digest(pairs)


def test_it_matters_which_lq_goes_with_which_gt() -> None:
    pairs = some_pairs()
    assert digest(PairBatch(pairs.lq, pairs.gt.roll(1, 0), pairs.positions)) != digest(pairs)


def test_a_pair_trained_on_twice_matters() -> None:
    pairs = some_pairs()
    assert digest(part(pairs, [0, 1, 2, 3, 4, 4])) != digest(pairs)
    assert digest(part(pairs, [0, 0])) != digest(part(pairs, [1, 1]))
