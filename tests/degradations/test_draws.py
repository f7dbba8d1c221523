"""Counter-based numbers: known answers, agreement of the paths, independence, moments."""

from __future__ import annotations

import pytest
import torch

from degradations.keyed_random import (
    Keys,
    Purpose,
    choose,
    normal_fields,
    normals,
    philox,
    uniform_table,
    uniforms,
    words,
)

F32 = 0xFFFFFFFF
# Random123 1.14, tests/kat_vectors, philox4x32 10
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((F32,) * 4, (F32, F32), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    assert philox(counter, key) == answer
    tensors = tuple(torch.tensor([word]) for word in counter)
    assert tuple(int(word) for word in philox(tensors, key)) == answer


def test_normals_of_a_table_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, counts = Keys(2**40 + 1, torch.tensor([0, 2**33 + 7])), [8 * (1 << 15) + 3, 1001]
    fields = normal_fields(keys, Purpose.NOISE_1_FIELD, counts)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for field, other in zip(fields, normal_fields(keys, Purpose.NOISE_1_FIELD, counts), strict=True):
        assert torch.equal(field, other)


def test_words_and_uniforms_agree() -> None:
    positions = [0, 7, 2**32 + 5, 2**40]
    seed = 2**63 + 12345
    table = uniforms(Keys(seed, torch.tensor(positions)), 70, 11)
    for position, row in zip(positions, table, strict=True):
        expected = [((word >> 9) + 0.5) * 2**-23 for word in words(seed, position, 70, 11)]
        assert row.tolist() == expected


def test_table_rows_are_the_single_draws() -> None:
    keys = Keys(3, torch.arange(5))
    table = uniform_table(keys, (Purpose.BLUR_1, Purpose.ORDER), 6)
    assert torch.equal(table[1], uniforms(keys, Purpose.ORDER, 6))


def test_a_sample_does_not_depend_on_its_batch() -> None:
    alone = Keys(1, torch.tensor([17]))
    among = Keys(1, torch.tensor([900, 17, 3]))
    assert torch.equal(uniforms(alone, 2, 9)[0], uniforms(among, 2, 9)[1])
    for count in (1, 5, 4099, 600_001):  # below, beside and above the chunks that fields are made in
        field = normal_fields(alone, Purpose.NOISE_1_FIELD, [count])[0]
        assert torch.equal(field, normal_fields(among, Purpose.NOISE_1_FIELD, [1003, count, 77])[1])


def test_purposes_positions_and_seeds_are_distinct() -> None:
    streams = [words(seed, position, purpose, 8) for seed in (0, 1) for position in (0, 1) for purpose in (0, 1)]
    assert len({tuple(stream) for stream in streams}) == len(streams)
    assert len(set(Purpose)) == len(Purpose.__members__)
    assert all(purpose < 64 for purpose in Purpose)


def test_uniforms_lie_inside_and_have_the_moments() -> None:
    u = uniforms(Keys(5, torch.arange(2000)), 1, 100)
    assert u.min() > 0
    assert u.max() < 1
    assert u.mean().item() == pytest.approx(0.5, abs=2e-3)
    assert u.var().item() == pytest.approx(1 / 12, abs=1e-3)


def test_normals_have_the_moments() -> None:
    z = normals(Keys(5, torch.arange(2)), Purpose.NOISE_1_FIELD, 200_000).double()
    assert z.mean().item() == pytest.approx(0, abs=6e-3)
    assert z.var().item() == pytest.approx(1, abs=1e-2)
    assert (z**4).mean().item() == pytest.approx(3, abs=0.06)
    lanes = z.view(-1, 8)
    correlation = torch.corrcoef(lanes.T) - torch.eye(8)
    assert z.abs().max() > 4.2
    assert correlation.abs().max() < 0.02


def test_choices_follow_their_weights() -> None:
    drawn = choose(uniforms(Keys(0, torch.arange(20_000)), 4, 1)[:, 0], (0.2, 0.7, 0.0, 0.1))
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert torch.allclose(shares, torch.tensor([0.2, 0.7, 0.0, 0.1]), atol=0.012)


def test_positions_are_checked() -> None:
    with pytest.raises(ValueError, match="int64"):
        Keys(0, torch.arange(3, dtype=torch.int32))
