"""Sample number `position` is always the same crop of the same picture, and a broken picture does not stop it."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.images.crops import (
    ATTEMPTS,
    ImageCache,
    TrainingImages,
    TrainingImagesConfig,
    collate,
    reflected_indices,
    square_at,
)
from trainer.images.opened import Unreadable
from trainer.images.positions import image_at
from trainer.images.sources import Folder
from trainer.mistakes import Mistake

CONFIG = TrainingImagesConfig(source=Folder(path="unused"), crop_size=16, use_hflip=False)


@dataclass
class Maps:
    """Pictures whose pixels hold their own place: (row, column, number of the picture)."""

    sizes: tuple[tuple[int, int], ...]
    broken: frozenset[int] = frozenset()
    reads: int = 0
    where: str = "a drawer"
    key: str = "path"

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        return f"map {index}"

    def read(self, index: int) -> Tensor:
        self.reads += 1
        if index in self.broken:
            raise Unreadable(self.name(index), "torn")
        height, width = self.sizes[index]
        rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
        columns = torch.arange(width, dtype=torch.uint8)[None].expand(height, width)
        return torch.stack([rows, columns, torch.full_like(rows, index)])


def test_a_sample_is_a_function_of_seed_and_position() -> None:
    maps = Maps(((40, 60), (50, 30), (16, 16)))
    config = replace(CONFIG, use_hflip=True, use_rot=True)
    one, again = TrainingImages(maps, config, seed=1), TrainingImages(maps, config, seed=1)
    forward = [one[position].pixels for position in range(40)]
    backward = [again[position].pixels for position in reversed(range(40))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    other = [TrainingImages(maps, config, seed=2)[position].pixels for position in range(40)]
    assert sum(torch.equal(a, b) for a, b in zip(forward, other, strict=True)) < 10


def test_a_sample_is_a_contiguous_crop_of_its_picture() -> None:
    images = TrainingImages(Maps(((40, 60), (50, 30), (16, 16))), CONFIG, seed=1)
    for position in range(60):
        sample = images[position]
        rows, columns, number = sample.pixels.int()
        assert sample.pixels.dtype == torch.uint8
        assert sample.pixels.shape == (3, 16, 16)
        assert sample.pixels.is_contiguous()
        assert (number == image_at(position, 3, 1)).all()
        assert torch.equal(rows, rows[0, 0] + torch.arange(16)[:, None].expand(16, 16))
        assert torch.equal(columns, columns[0, 0] + torch.arange(16).expand(16, 16))
        assert (sample.position, sample.unreadable) == (position, ())


def test_crops_reach_every_place_equally() -> None:
    images = TrainingImages(Maps(((20, 18),)), CONFIG, seed=0)
    corners = Counter(tuple(images[position].pixels[:2, 0, 0].tolist()) for position in range(3000))
    assert set(corners) == {(row, column) for row in range(5) for column in range(3)}
    assert all(130 < count < 270 for count in corners.values())  # 200 expected, 5 standard deviations


@pytest.mark.parametrize(
    ("hflip", "rot", "kinds"), [(False, False, 1), (True, False, 2), (False, True, 4), (True, True, 8)]
)
def test_orientations_are_upstreams_and_equally_frequent(hflip: bool, rot: bool, kinds: int) -> None:
    images = TrainingImages(Maps(((16, 16),)), replace(CONFIG, use_hflip=hflip, use_rot=rot), seed=0)
    seen = Counter(
        tuple(images[position].pixels[:2, [0, 0, -1], [0, -1, 0]].flatten().tolist()) for position in range(800)
    )
    assert len(seen) == kinds
    assert all(count > 800 / kinds * 0.6 for count in seen.values())


def test_cut_takes_the_first_and_the_last_place() -> None:
    image = Maps(((20, 30),)).read(0)
    assert square_at(image, 0, 0, 16)[:2, 0, 0].tolist() == [0, 0]
    assert square_at(image, 2**32 - 1, 2**32 - 1, 16)[:2, -1, -1].tolist() == [19, 29]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 40, 63, 64])
def test_small_pictures_are_mirrored_as_numpy_does(length: int) -> None:
    padded = np.pad(np.arange(length), (0, 64 - length), mode="reflect")
    expected = padded if length > 1 else np.zeros(64, dtype=int)
    assert reflected_indices(length, 64).tolist() == expected.tolist()
    image = Maps(((length, 100),)).read(0)
    assert square_at(image, 2**31, 0, 64)[0, :, 0].tolist() == expected.tolist()
    assert square_at(image, 0, 0, 64).shape == (3, 64, 64)


def test_an_unreadable_picture_is_replaced_by_the_same_other_one() -> None:
    whole, torn = Maps(((20, 20),) * 10), Maps(((20, 20),) * 10, broken=frozenset({3, 4}))
    expected, got = TrainingImages(whole, CONFIG, seed=5), TrainingImages(torn, CONFIG, seed=5)
    for position in range(100):
        first, sample = image_at(position, 10, 5), got[position]
        if first not in torn.broken:
            assert torch.equal(sample.pixels, expected[position].pixels)
            assert sample.unreadable == ()
        else:
            assert sample.unreadable[0] == first
            assert set(sample.unreadable) <= torn.broken
            assert int(sample.pixels[2, 0, 0]) not in torn.broken
            assert torch.equal(sample.pixels, TrainingImages(torn, CONFIG, seed=5)[position].pixels)
    stand_ins = Counter(int(got[position].pixels[2, 0, 0]) for position in range(500) if got[position].unreadable)
    assert len(stand_ins) == 8, "any readable picture may stand in"


def test_nothing_readable_is_one_sentence() -> None:
    images = TrainingImages(Maps(((20, 20),), broken=frozenset({0})), CONFIG, seed=0)
    with pytest.raises(Mistake) as caught:
        images[0]
    assert str(caught.value) == (f"{ATTEMPTS + 1} pictures of a drawer in a row could not be used; last map 0: torn.")


def test_collate_stacks_in_order() -> None:
    images = TrainingImages(Maps(((20, 20),) * 4, broken=frozenset({1})), CONFIG, seed=0)
    samples = [images[position] for position in (7, 2, 9, 4)]
    batch = collate(samples)
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.shape == (4, 3, 16, 16)
    assert batch.positions.dtype == torch.int64
    assert batch.positions.tolist() == [7, 2, 9, 4]
    assert batch.unreadable == [index for sample in samples for index in sample.unreadable]


def test_kept_images_are_read_once_and_bounded() -> None:
    maps = Maps(((20, 20),) * 10)  # 1200 bytes each
    kept = ImageCache(limit=5000)
    for _ in range(3):
        for index in range(10):
            assert torch.equal(
                kept.read(index, lambda number: (maps.read(number),))[0], Maps(((20, 20),) * 10).read(index)
            )
    assert kept.used == 4800
    assert maps.reads == 10 + 6 + 6


def test_keeping_nothing_reads_every_time() -> None:
    maps = Maps(((20, 20),))
    images = TrainingImages(maps, replace(CONFIG, cache_mib=0), seed=0)
    for position in range(5):
        images[position]
    assert maps.reads == 5


def test_keeping_images_does_not_change_samples() -> None:
    maps = Maps(((20, 20), (40, 30)))
    kept = TrainingImages(maps, CONFIG, seed=0)
    fresh = TrainingImages(maps, replace(CONFIG, cache_mib=0), seed=0)
    assert all(torch.equal(kept[position].pixels, fresh[position].pixels) for position in range(20))


@pytest.mark.parametrize(("name", "value"), [("crop_size", 0), ("dataloader_num_workers", -1), ("cache_mib", -1)])
def test_impossible_numbers_are_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least {value + 1}, got {value}"):
        replace(CONFIG, **{name: value})
