"""Given pairs: the same patch of both pictures, by position; mixed with clean pictures by probability."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from degradations.operations.sharpen import usm_sharpen
from degradations.second_order import SecondOrder
from trainer.images.crops import ImageBatch, TrainingImage, TrainingImages, TrainingImagesConfig
from trainer.images.levels import quantised, unit
from trainer.images.mixture import Mixture, TrainingMixture, TrainingPair
from trainer.images.opened import Unreadable
from trainer.images.pairs import DatasetPairs, PairFolders
from trainer.images.sources import Folder, why_unreadable
from trainer.mistakes import Mistake
from trainer.pairs.synthesis import Synthesis

SCALE, GT = 2, 16
SYNTHESIS = Synthesis(SecondOrder(), seed=1, scale=SCALE, gt_size=GT, gt_usm=False)


def gradient(width: int, height: int, blue: int, step: int) -> Image.Image:
    """A picture whose pixels hold their own place: (column * step, row * step, blue)."""
    picture = Image.new("RGB", (width, height))
    picture.putdata([(x // step * step, y // step * step, blue) for y in range(height) for x in range(width)])
    return picture


@pytest.fixture
def config(tmp_path: Path) -> TrainingImagesConfig:
    """Three pairs whose LQ pixels hold their place in the GT, and three clean pictures."""
    for folder in ("gt", "lq", "clean"):
        (tmp_path / folder).mkdir()
    for number, (width, height) in enumerate([(20, 24), (30, 18), (16, 16)]):
        gradient(SCALE * width, SCALE * height, number, step=SCALE).save(tmp_path / "gt" / f"{number}.png")
        low = Image.new("RGB", (width, height))
        low.putdata([(x * SCALE, y * SCALE, number) for y in range(height) for x in range(width)])
        low.save(tmp_path / "lq" / f"{number}.png")
        gradient(40, 40, 100 + number, step=1).save(tmp_path / "clean" / f"{number}.png")
    return TrainingImagesConfig(
        source=Folder(path=str(tmp_path / "clean")),
        pairs=PairFolders(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")),
        pair_prob=0.4,
        crop_size=24,
        use_rot=True,
    )


def mixture(config: TrainingImagesConfig) -> TrainingMixture:
    assert config.pairs is not None
    clean = config.source.open() if isinstance(config.source, Folder) else None
    return TrainingMixture(Mixture(clean, config.pairs.open(), SCALE, GT, config.pair_prob), config, seed=1)


def alone(config: TrainingImagesConfig) -> TrainingMixture:
    return mixture(replace(config, source=None, pair_prob=None))


def test_a_pair_shows_the_same_place_turned_alike(config: TrainingImagesConfig) -> None:
    pairs = alone(config)
    for position in range(60):
        sample = pairs[position]
        assert isinstance(sample, TrainingPair)
        assert (sample.lq.shape, sample.gt.shape) == ((3, GT // SCALE, GT // SCALE), (3, GT, GT))
        assert torch.equal(sample.gt, sample.lq.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2))
        assert sample.lq.is_contiguous()
        assert sample.gt.is_contiguous()


def test_a_sample_is_a_function_of_seed_and_position(config: TrainingImagesConfig) -> None:
    forward, backward = mixture(config), mixture(replace(config, cache_mib=0))
    for position in reversed(range(40)):
        assert_same(backward[position], forward[position])


def assert_same(one: TrainingImage | TrainingPair, two: TrainingImage | TrainingPair) -> None:
    if isinstance(one, TrainingPair):
        assert isinstance(two, TrainingPair)
        assert torch.equal(one.lq, two.lq)
        assert torch.equal(one.gt, two.gt)
    else:
        assert isinstance(two, TrainingImage)
        assert torch.equal(one.pixels, two.pixels)


def test_pairs_come_with_their_probability_and_clean_samples_are_those_of_a_run_without(
    config: TrainingImagesConfig,
) -> None:
    mixed = mixture(config)
    assert mixed.images is not None
    clean = TrainingImages(mixed.images.source, replace(config, pairs=None, pair_prob=None), 1)
    samples = [mixed[position] for position in range(500)]
    given = sum(isinstance(sample, TrainingPair) for sample in samples)
    assert abs(given - 200) < 5 * (500 * 0.4 * 0.6) ** 0.5
    for position, sample in enumerate(samples[:50]):
        if isinstance(sample, TrainingImage):
            assert torch.equal(sample.pixels, clean[position].pixels)


def test_every_pair_comes_once_in_an_epoch(config: TrainingImagesConfig) -> None:
    pairs = alone(config)
    seen = [int(sample.lq[2, 0, 0]) for position in range(9) if isinstance(sample := pairs[position], TrainingPair)]
    assert [sorted(seen[at : at + 3]) for at in (0, 3, 6)] == [[0, 1, 2]] * 3


def batch(samples: TrainingMixture, positions: list[int]) -> ImageBatch:
    return samples.collate([samples[position] for position in positions])


def test_a_mixed_batch_is_its_samples_one_by_one_in_order(config: TrainingImagesConfig) -> None:
    samples, device = mixture(config), torch.device("cpu")
    whole = SYNTHESIS.from_batch(batch(samples, list(range(8))), device)
    assert whole.positions.tolist() == list(range(8))
    kinds = {isinstance(samples[position], TrainingPair) for position in range(8)}
    assert kinds == {True, False}, "the test wants both kinds"
    for position in range(8):
        one = SYNTHESIS.from_batch(batch(samples, [position]), device)
        assert torch.equal(one.lq[0], whole.lq[position])
        assert torch.equal(one.gt[0], whole.gt[position])


def test_gt_usm_sharpens_given_ground_truth_and_leaves_the_poor_picture(config: TrainingImagesConfig) -> None:
    plain = batch(alone(config), [0, 1])
    assert plain.given is not None
    made = replace(SYNTHESIS, gt_usm=True).from_batch(plain, torch.device("cpu"))
    assert torch.equal(made.lq, plain.given.lq)
    assert torch.equal(made.gt, quantised(usm_sharpen(unit(plain.given.gt)), torch.uint8))


def broken(path: str, number: int) -> None:
    Path(path, f"{number}.png").write_bytes(b"torn")


def test_a_pair_that_cannot_be_used_is_replaced_and_told(config: TrainingImagesConfig) -> None:
    assert isinstance(config.pairs, PairFolders)
    broken(config.pairs.lq, 0)
    Image.new("RGB", (10, 10)).save(Path(config.pairs.gt, "2.png"))  # not twice as large as its partner
    pairs = mixture(config)
    samples = [sample for position in range(24) if isinstance(sample := pairs[position], TrainingPair)]
    assert {int(sample.lq[2, 0, 0]) for sample in samples} == {1}
    assert {index for sample in samples for index in sample.unreadable} == {3, 5}, "numbered after the clean pictures"
    with pytest.raises(Unreadable, match="not a picture in a format that is read"):
        pairs.source.read(3)
    with pytest.raises(Unreadable, match=r"it is 10x10 and '.*2.png' is 16x16; wanted exactly x2, 32x32"):
        pairs.source.read(5)
    assert pairs.source.name(5) == str(Path(config.pairs.gt, "2.png"))


def test_a_mixed_batch_tells_of_clean_pictures_and_of_pairs(config: TrainingImagesConfig) -> None:
    assert isinstance(config.pairs, PairFolders)
    assert isinstance(config.source, Folder)
    broken(config.pairs.lq, 0)
    broken(config.source.path, 1)
    assert {*batch(mixture(config), list(range(24))).unreadable} == {1, 3}


def test_a_pair_smaller_than_the_patch_cannot_be_used(config: TrainingImagesConfig) -> None:
    assert config.pairs is not None
    source = Mixture(None, config.pairs.open(), SCALE, gt_size=64)
    samples = TrainingMixture(source, config, seed=1)
    assert why_unreadable(source, 0).endswith("0.png: 40x48 is smaller than gt_size, 64")
    with pytest.raises(Mistake, match=r"9 pairs of .* in a row could not be used; last .* is smaller than gt_size, 64"):
        samples[0]


def test_pairs_in_two_columns_of_a_dataset(config: TrainingImagesConfig, tmp_path: Path) -> None:
    import datasets

    assert isinstance(config.pairs, PairFolders)
    names = [f"{number}.png" for number in range(3)]
    columns = {"hr": config.pairs.gt, "lr": config.pairs.lq}
    rows = {column: [str(Path(folder, name)) for name in names] for column, folder in columns.items()}
    datasets.Dataset.from_dict(rows).cast_column("hr", datasets.Image()).cast_column(
        "lr", datasets.Image()
    ).save_to_disk(tmp_path / "saved")
    stored = DatasetPairs(path=str(tmp_path / "saved"), gt_column="hr", lq_column="lr")
    other = alone(replace(config, pairs=stored))
    for position in range(6):
        assert_same(other[position], alone(config)[position])
    with pytest.raises(Mistake, match=r"lq_column: dataset .* has no column 'low'; it has hr"):
        replace(stored, lq_column="low").open()


def test_a_batch_of_given_pairs_alone_has_nothing_to_degrade(config: TrainingImagesConfig) -> None:
    made: Tensor | None = batch(alone(config), [0, 1, 2]).pixels
    assert made is None


def test_configuration_of_the_mixture(config: TrainingImagesConfig) -> None:
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"pair_prob: got {wrong}; must be above 0 and below 1"):
            replace(config, pair_prob=wrong)
    for lonely in ({"pairs": None}, {"source": None}):
        with pytest.raises(
            ValueError, match=r"pair_prob: got 0\.4; must be given where there are both a source and pairs"
        ):
            replace(config, **lonely)
    with pytest.raises(ValueError, match="pair_prob: got null; must be given where there are both"):
        replace(config, pair_prob=None)


def test_clean_pictures_and_pairs_share_one_cache(config: TrainingImagesConfig) -> None:
    mixed = mixture(config)
    for position in range(60):
        mixed[position]
    sizes = [sum(part.nbytes for part in kept) for kept in mixed.cache.images.values()]
    assert sorted(mixed.cache.images) == [0, 1, 2, 3, 4, 5]
    assert mixed.cache.used == sum(sizes)
    assert mixed.images is not None
    assert mixed.images.cache is mixed.cache
