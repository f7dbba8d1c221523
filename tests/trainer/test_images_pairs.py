"""Validation looks at the same pictures every time, and a wrong pair is one sentence before any training."""

import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainer.images.pairs import Pairs, ValidationSource, open_validation, trimmed
from trainer.images.sources import Folder, Package
from trainer.mistakes import Mistake

PAIRS = Path(__file__).parents[2].parent / "shared" / "data" / "bench" / "RealSR_pairs"


def save(path: Path, width: int, height: int, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)


def pairs(root: Path) -> Pairs:
    return Pairs(gt=str(root / "gt"), lq=str(root / "lq"))


def refused(source: ValidationSource, scale: int = 4) -> str:
    with pytest.raises(Mistake) as caught:
        open_validation(source, scale, None)
    return str(caught.value)


def test_pairs_match_by_name_whatever_their_endings(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "b.png", 24, 16, "blue")
    save(tmp_path / "gt" / "sub" / "a.png", 8, 8)
    save(tmp_path / "lq" / "b.jpg", 6, 4, "blue")
    save(tmp_path / "lq" / "sub" / "a.png", 2, 2)
    images = pickle.loads(pickle.dumps(open_validation(pairs(tmp_path), 4, max_side=4)))
    assert images.paired
    assert len(images) == 2
    first = images[0]
    assert (first.name, images.name(1)) == ("b.png", "a.png")
    assert first.lq is not None
    assert (first.lq.shape, first.gt.shape) == ((3, 4, 6), (3, 16, 24)), "pairs are taken whole"
    assert first.lq.dtype == first.gt.dtype == torch.uint8
    assert first.gt.is_contiguous()


def test_sentences_about_pairs(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "a.png", 8, 8)
    assert refused(pairs(tmp_path)) == (f"lq: folder '{tmp_path / 'lq'}' does not exist (seen from '{Path.cwd()}').")
    save(tmp_path / "lq" / "a.png", 2, 2)
    for number in range(5):
        save(tmp_path / "gt" / f"{number}.png", 8, 8)
    root = tmp_path / "gt"
    assert refused(pairs(tmp_path)) == (
        f"lq: 5 pictures of '{root}' and '{tmp_path / 'lq'}' have no partner: {root / '0.png'}, {root / '1.png'}, "
        f"{root / '2.png'}, ...."
    )
    for number in range(5):
        (root / f"{number}.png").unlink()
    save(tmp_path / "lq" / "a.jpg", 2, 2)
    assert refused(pairs(tmp_path)) == f"lq: 'a.jpg' and 'a.png' in folder '{tmp_path / 'lq'}' have the same name."


def test_a_pair_of_the_wrong_sizes_is_named_with_both(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "a.png", 10, 8)
    save(tmp_path / "lq" / "a.png", 2, 2)
    assert refused(pairs(tmp_path)) == (
        f"gt: a picture to validate on cannot be used, {tmp_path / 'gt' / 'a.png'}: it is 10x8 and "
        f"'{tmp_path / 'lq' / 'a.png'}' is 2x2; wanted exactly x4, 8x8."
    )


def test_held_out_pictures_are_cut_to_the_scale(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 30, 21)
    images = open_validation(Folder(path=str(tmp_path)), 4, None)
    assert not images.paired
    assert images[0].lq is None
    assert images[0].gt.shape == (3, 20, 28)
    assert open_validation(Folder(path=str(tmp_path)), 3, 20)[0].gt.shape == (3, 18, 18)


def test_networks_that_ask_for_even_inputs_get_them(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "a.png", 30, 22)
    save(tmp_path / "lq" / "a.png", 15, 11)
    given = open_validation(pairs(tmp_path), 2, None, lq_multiple=4)[0]
    assert given.lq is not None
    assert (given.lq.shape, given.gt.shape) == ((3, 8, 12), (3, 16, 24))
    assert open_validation(Folder(path=str(tmp_path / "gt")), 2, None, lq_multiple=4)[0].gt.shape == (3, 16, 24)


def test_trimmed_keeps_the_beginning_or_the_middle() -> None:
    image = torch.arange(10)[None, None].expand(3, 7, 10)
    assert trimmed(image, 4, None)[0, 0].tolist() == list(range(8))
    assert trimmed(image, 4, 8)[0, 0].tolist() == list(range(1, 9))
    assert trimmed(image, 4, 100).shape == (3, 4, 8)
    assert trimmed(image, 2, 5).shape == (3, 4, 4)


def test_a_held_out_picture_that_cannot_serve_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 8, 8)
    save(tmp_path / "b.png", 8, 3)
    folder = Folder(path=str(tmp_path))
    assert refused(folder) == f"path: {tmp_path / 'b.png'} has a side below 4, too small to validate on."
    (tmp_path / "b.png").write_bytes(b"broken")
    assert refused(folder) == (
        f"path: a picture to validate on cannot be used, {tmp_path / 'b.png'}: not a picture that Pillow knows."
    )


def test_photographs_of_a_package_serve() -> None:
    images = open_validation(Package(package="skimage", folder="data", files=("rocket.jpg",)), 4, 256)
    assert images[0].gt.shape == (3, 256, 256)
    assert images.name(0) == "rocket.jpg"


@pytest.mark.skipif(not PAIRS.is_dir(), reason="the shared pictures are not here")
def test_real_camera_pairs_open() -> None:
    images = open_validation(Pairs(gt=str(PAIRS / "hr"), lq=str(PAIRS / "lr")), 4, None)
    assert len(images) == 20
    assert {tuple(images[index].gt.shape) for index in range(20)} == {(3, 512, 512)}
