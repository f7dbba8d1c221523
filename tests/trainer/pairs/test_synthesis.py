"""A training pair is a function of the seed, the position and the clean picture, and of nothing else."""

import pytest
import torch
from torch import Tensor

from degradations.operations.sharpen import usm_sharpen
from degradations.second_order import SecondOrder
from trainer.images.levels import quantised
from trainer.pairs.synthesis import PairBatch, Synthesis

SCALE, SIDE, CROP = 4, 32, 48


def pictures(count: int) -> Tensor:
    """Smooth, different everywhere, so that a place can be found again: uint8 [count, 3, CROP, CROP]."""
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    ramps = torch.stack([5 * x, 5 * y, 2 * x + 3 * y]) % 256
    return torch.stack([(ramps + 20 * number) % 256 for number in range(count)]).to(torch.uint8)


def synthesis(usm: bool = True, seed: int = 1, degradation: SecondOrder | None = None) -> Synthesis:
    return Synthesis(degradation or SecondOrder(), seed, SCALE, SIDE, usm)


def made(maker: Synthesis, clean: Tensor, positions: list[int]) -> PairBatch:
    return maker.synthesize(clean, torch.tensor(positions))


@pytest.fixture(scope="module")
def batch() -> PairBatch:
    return made(synthesis(), pictures(4), [10, 11, 12, 13])


def test_both_pictures_have_8_bits_and_corresponding_sizes(batch: PairBatch) -> None:
    assert batch.lq.shape == (4, 3, SIDE // SCALE, SIDE // SCALE)
    assert batch.gt.shape == (4, 3, SIDE, SIDE)
    assert batch.lq.dtype == batch.gt.dtype == torch.uint8
    assert batch.positions.tolist() == [10, 11, 12, 13]


def test_a_batch_is_its_samples_one_by_one(batch: PairBatch) -> None:
    clean = pictures(4)
    for number in range(4):
        one = made(synthesis(), clean[number : number + 1], [10 + number])
        assert torch.equal(one.lq[0], batch.lq[number])
        assert torch.equal(one.gt[0], batch.gt[number])


def test_the_order_of_a_batch_does_not_matter(batch: PairBatch) -> None:
    order = [2, 0, 3, 1]
    other = made(synthesis(), pictures(4)[order], [10 + number for number in order])
    assert torch.equal(other.lq, batch.lq[order])
    assert torch.equal(other.gt, batch.gt[order])


def test_seed_position_and_picture_each_matter(batch: PairBatch) -> None:
    clean = pictures(5)
    for other in (
        made(synthesis(seed=2), clean[:4], [10, 11, 12, 13]),
        made(synthesis(), clean[:4], [20, 21, 22, 23]),
        made(synthesis(), clean[1:], [10, 11, 12, 13]),
    ):
        assert not any(torch.equal(one, two) for one, two in zip(other.lq, batch.lq, strict=True))


def test_torchs_own_generator_does_not_matter(batch: PairBatch) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = made(synthesis(), pictures(4), [10, 11, 12, 13])
    assert torch.equal(again.lq, batch.lq)
    assert torch.equal(torch.get_rng_state(), before)


def places(gt: Tensor, clean: Tensor) -> list[tuple[int, int]]:
    """Positions in the clean picture [3, CROP, CROP] from which the patch [3, SIDE, SIDE] can have been cut."""
    windows = clean.unfold(1, SIDE, 1).unfold(2, SIDE, 1)  # [3, n, n, SIDE, SIDE]
    found = (windows == gt[:, None, None]).all(-1).all(-1).all(0).nonzero()
    return [(int(row), int(column)) for row, column in found]


@pytest.mark.parametrize("usm", [False, True])
def test_the_ground_truth_is_a_crop_of_the_picture_as_configured(usm: bool) -> None:
    clean = pictures(4)
    target = quantised(usm_sharpen(clean.float() / 255), torch.uint8) if usm else clean
    gt = made(synthesis(usm), clean, [0, 1, 2, 3]).gt
    corners = [places(patch, whole) for patch, whole in zip(gt, target, strict=True)]
    assert all(len(found) == 1 for found in corners)
    assert all(side % SCALE == 0 for [(row, column)] in corners for side in (row, column))
    assert len({found[0] for found in corners}) > 1


def test_the_ground_truth_lies_where_its_lq_does() -> None:
    """A degradation that only enlarges pixels shows where it was cut: the LQ is the picture's, coarser, in place."""
    mild = SecondOrder(
        blur_sigma=(0.2, 0.2), kernel_prob=(1, 0, 0, 0, 0, 0), sinc_prob=0, resize_prob=(0, 0, 1), noise_prob=0,
        jpeg_range=(95, 95), second_blur_prob=0, resize_prob2=(0, 0, 1), noise_prob2=0, jpeg_range2=(95, 95),
        final_sinc_prob=0,
    )  # fmt: skip
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    clean = torch.stack([2 * x + 40, 2 * y + 60, x + y + 50]).to(torch.uint8).expand(6, 3, CROP, CROP)
    pairs = made(synthesis(False, degradation=mild), clean, list(range(6)))
    coarse = torch.nn.functional.avg_pool2d(pairs.gt.float(), SCALE)
    offset = (pairs.lq.float() - coarse).mean(dim=(2, 3))
    assert offset.abs().max() < 3  # a patch one LQ pixel away would differ by 8 in red or green
    assert len({tuple(patch[:2, 0, 0].tolist()) for patch in pairs.gt}) > 1


def test_a_picture_to_validate_on_is_degraded_whole_and_unsharpened() -> None:
    picture = pictures(1)[0]
    lq, recipe = synthesis(usm=True).degrade(picture, seed=5, position=2)
    plain, _ = synthesis(usm=False, seed=77).degrade(picture, seed=5, position=2)
    assert lq.shape == (3, CROP // SCALE, CROP // SCALE)
    assert torch.equal(lq, plain)  # neither the run's seed nor its sharpening enter
    assert len(recipe) == 1
    assert recipe.caption(0)
    assert not torch.equal(lq, synthesis().degrade(picture, seed=5, position=3)[0])
