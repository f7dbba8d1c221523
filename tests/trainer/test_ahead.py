"""Pairs are made one ahead, in the same order."""

from collections.abc import Iterator

import torch

from trainer.ahead import one_ahead
from trainer.synthesis import Pairs


def numbered(count: int, begun: list[int]) -> Iterator[Pairs]:
    for number in range(count):
        begun.append(number)
        yield Pairs(torch.zeros(1), torch.zeros(1), torch.tensor([number]))


def test_the_next_is_begun_before_the_present_is_handed_over() -> None:
    begun: list[int] = []
    pairs = one_ahead(numbered(4, begun), torch.device("cpu"))
    assert int(next(pairs).positions) == 0
    assert begun == [0, 1]
    assert [int(pair.positions) for pair in pairs] == [1, 2, 3]


def test_nothing_made_is_nothing_handed_over() -> None:
    assert list(one_ahead(numbered(0, []), torch.device("cpu"))) == []
