"""Receptive radii of networks, and parts that cover the whole."""

import pytest
import torch
from torch import nn

from trainer.networks import RRDBNetConfig, ShuffleRRDBNetConfig, SRResNetConfig, SRVGGNetCompactConfig
from trainer.upscale.tiles import Part, blend_weights, receptive_radius


@pytest.mark.parametrize("num_conv", [1, 4])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_stack_of_3x3_sees_one_pixel_per_layer(num_conv: int, scale: int) -> None:
    net = SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=num_conv).build(scale, 3).eval()
    assert receptive_radius(net, scale, 3, 1) == num_conv + 2


@pytest.mark.parametrize(("scale", "unshuffle"), [(4, 1), (2, 2), (1, 4)])
@pytest.mark.parametrize("num_block", [1, 2])
def test_rrdb_sees_fifteen_cells_per_block(scale: int, unshuffle: int, num_block: int) -> None:
    """The first and the last layer of the body add one each, the three after enlarging less than two together."""
    net = RRDBNetConfig(num_feat=4, num_block=num_block, num_grow_ch=4).build(scale, 3).eval()
    assert receptive_radius(net, scale, 3, unshuffle) == (15 * num_block + 4) * unshuffle


def test_released_rrdb_sees_349_pixels() -> None:
    net = RRDBNetConfig(num_feat=1, num_block=23, num_grow_ch=1).build(4, 3).eval()
    assert receptive_radius(net, 4, 3, 1) == 349


def test_sight_across_and_along_are_both_looked_at() -> None:
    for size, padding in (((1, 7), (0, 3)), ((7, 1), (3, 0))):
        assert receptive_radius(nn.Conv2d(3, 3, size, padding=padding).eval(), 1, 3, 1) == 3


def test_weights_of_zero_do_not_shorten_the_sight() -> None:
    net = nn.Conv2d(1, 1, 9, padding=4)
    nn.init.zeros_(net.weight)
    assert receptive_radius(net, 1, 1, 1) == 4


def test_attention_over_the_whole_picture_sees_without_end() -> None:
    net = SRResNetConfig(block_type="rcab", n_channels=4, n_blocks=1).build(2, 3).eval()
    assert receptive_radius(net, 2, 3, 1) is None


def test_what_cleans_its_input_of_nan_is_not_known() -> None:
    class Clean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.nan_to_num()

    assert receptive_radius(Clean(), 1, 3, 1) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 64), (64, 65), (130, 33)])
@pytest.mark.parametrize("side", [1, 5, 32, 64])
@pytest.mark.parametrize("multiple", [1, 2, 4])
def test_parts_cover_the_whole_once(size: tuple[int, int], side: int, multiple: int) -> None:
    height, width = (-(-length // multiple) * multiple for length in size)
    whole, count = Part(0, 0, height, width), torch.zeros(height, width)
    for part in whole.split(side, multiple):
        assert part.top % multiple == part.left % multiple == part.height % multiple == part.width % multiple == 0
        assert max(part.height, part.width) < max(side, 1) + multiple
        count[part.within(whole)] += 1
    assert (count == 1).all()


def test_parts_are_of_about_equal_size() -> None:
    assert [part.width for part in Part(0, 0, 8, 520).split(512, 1)] == [260, 260]


@pytest.mark.parametrize("fade", [1, 3, 8])
def test_weights_of_parts_sum_to_one_also_where_one_is_split_again(fade: int) -> None:
    whole = Part(0, 0, 40, 53)
    first, *others = whole.split(20, 1)
    total = torch.zeros(40, 53)
    for part in [*first.split(9, 1), *others]:
        kept = part.grown(fade, whole)
        total[kept.within(whole)] += blend_weights(part, kept, whole, fade)
    torch.testing.assert_close(total, torch.ones(40, 53), rtol=0, atol=1e-6)


def test_each_shuffled_rrdb_sees_as_its_twin() -> None:
    net = ShuffleRRDBNetConfig(n_channels=4, n_blocks=1, growth_channels=4).build(8, 3).eval()
    assert receptive_radius(net, 8, 3, 1) == 15 + 4
