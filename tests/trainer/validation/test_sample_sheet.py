"""Sample sheets: layout, captions and composites."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.validation.sample_sheet import MARGIN, NARROWEST, WIDEST, Column, save_png, sheet, strip

CAPTIONS = ("bicubic · PSNR 25.31 dB · SSIM 0.7123", "step 100000 · PSNR 26.02 dB · SSIM 0.7456", "ground truth")


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def columns(height: int, width: int) -> list[Column]:
    return [Column(caption, noise(height, width, seed)) for seed, caption in enumerate(CAPTIONS)]


def found(picture: Tensor, within: Tensor) -> list[tuple[int, int]]:
    """Place of `picture` in `within`, pixel by pixel: (row, column)."""
    height, width = picture.shape[1:]
    places = (within[:, : within.shape[1] - height + 1, : within.shape[2] - width + 1] == picture[:, :1, :1]).all(0)
    at = [tuple(place) for place in places.nonzero().tolist()]
    return [(r, c) for r, c in at if torch.equal(within[:, r : r + height, c : c + width], picture)]


def test_pictures_of_a_fitting_size_are_shown_as_they_are_side_by_side() -> None:
    parts = columns(200, 400)
    drawn = strip(parts, "photo.png")
    assert drawn.dtype == torch.uint8
    assert drawn.is_contiguous()
    places = [found(part.picture, drawn) for part in parts]
    assert [place[0][1] for place in places] == [MARGIN + number * (400 + MARGIN) for number in range(3)]
    assert len({place[0][0] for place in places}) == 1, "in one row"
    assert drawn.shape[2] == 3 * 400 + 4 * MARGIN


def test_a_small_picture_is_enlarged_by_a_whole_number() -> None:
    small = noise(30, 90)
    drawn = strip([Column("small", small)], "x")
    enlarged = small.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert enlarged.shape[2] >= NARROWEST
    assert found(enlarged, drawn)


def test_a_large_picture_is_reduced() -> None:
    drawn = strip(columns(1000, 2000), "x")
    assert drawn.shape[2] == 3 * WIDEST + 4 * MARGIN
    assert 320 < drawn.shape[1] < 420


def test_captions_title_and_note_are_written_and_wrap() -> None:
    def height(title: str = "", caption: str = "", note: str = "") -> int:
        return strip([Column(caption, noise(100, 400))], title, note).shape[1]

    plain = height()
    assert plain < height(title="t") < height(title="t", caption="c") < height(title="t", caption="c", note="n")
    assert height(caption=CAPTIONS[1]) == height(caption="c"), "step, PSNR and SSIM fit one line"
    assert height(note="blur 21 σ1.2 · " * 20) > height(note="blur")
    ink = strip([Column("caption", torch.full((3, 100, 400), 255, dtype=torch.uint8))], "title", "note")
    assert (ink < 128).any(2).any(0).sum() > 20, "there is ink in many rows"


def test_letters_that_the_font_lacks_are_spelt() -> None:
    def drawn(note: str) -> Tensor:
        return strip([Column("", noise(50, 400))], "", note)

    assert torch.equal(drawn("σ1.2 ω0.33π β1 ×0.5 é"), drawn("sigma 1.2 omega 0.33 pi beta 1 x0.5 e"))


def test_pictures_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="the pictures of a strip have one size"):
        strip([Column("a", noise(10, 10)), Column("b", noise(10, 12))], "x")


def test_a_sheet_keeps_every_strip() -> None:
    wide, narrow = strip(columns(50, 400), "wide"), strip(columns(60, 320), "narrow")
    whole = sheet([wide, narrow])
    assert whole.shape == (3, wide.shape[1] + narrow.shape[1], wide.shape[2])
    assert torch.equal(whole[:, : wide.shape[1]], wide)
    assert torch.equal(whole[:, wide.shape[1] :, : narrow.shape[2]], narrow)
    assert (whole[:, wide.shape[1] :, narrow.shape[2] :] == 255).all()


def test_a_png_is_written_whole_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "samples" / "step-00000010.png"
    picture = noise(20, 30)
    save_png(picture, path)
    save_png(picture, path)
    with Image.open(path) as image:
        assert np.array_equal(np.array(image), picture.permute(1, 2, 0).numpy())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
