"""Pairs: validation reads the same pictures every time, and a wrong pair is reported in one sentence before
training."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainer.images.pairs import PairFolders
from trainer.images.sources import Folder, Package
from trainer.images.validation import ValidationSource, open_validation, trimmed
from trainer.mistakes import Mistake

PAIRS = Path(__file__).parents[3].parent / "shared" / "data" / "bench" / "RealSR_pairs"


def save(path: Path, width: int, height: int, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)


def pairs(root: Path) -> PairFolders:
    return PairFolders(gt=str(root / "gt"), lq=str(root / "lq"))


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
        f"lq: 5 of the 6 pictures of '{root}' have no partner in '{tmp_path / 'lq'}': 0.png, 1.png, 2.png, ...."
    )
    for number in range(5):
        (root / f"{number}.png").unlink()
    save(tmp_path / "lq" / "a.jpg", 2, 2)
    assert refused(pairs(tmp_path)) == f"lq: 'a.jpg' and 'a.png' in folder '{tmp_path / 'lq'}' have the same name."


def div2k(root: Path) -> PairFolders:
    """Three pairs named as in DIV2K, one of them in a sub-folder."""
    for name in ("0001", "0002", "sub/0003"):
        save(root / "gt" / f"{name}.png", 8, 8)
        save(root / "lq" / f"{name}x4.jpg", 2, 2)
    return replace(pairs(root), lq_name="{}x4")


def test_partners_by_a_template_of_their_names(tmp_path: Path) -> None:
    source = div2k(tmp_path).open()
    assert source.gt.files == ("0001.png", "0002.png", "sub/0003.png")  # type: ignore[attr-defined]
    assert source.lq.files == ("0001x4.jpg", "0002x4.jpg", "sub/0003x4.jpg")  # type: ignore[attr-defined]
    assert len(open_validation(div2k(tmp_path), 4, None)) == 3


def test_results_are_named_by_the_poor_pictures(tmp_path: Path) -> None:
    assert open_validation(div2k(tmp_path), 4, None).result_names() == ["0001x4", "0002x4", "sub/0003x4"]


def test_a_template_pairs_within_one_folder(tmp_path: Path) -> None:
    for name, side in (("a", 8), ("b", 8), ("ax4", 2), ("bx4", 2)):
        save(tmp_path / f"{name}.png", side, side)
    both = PairFolders(gt=str(tmp_path), lq=str(tmp_path), lq_name="{}x4")
    assert [both.open().read(index, 4)[0].shape[1] for index in range(2)] == [2, 2]
    assert "is the folder of gt too; wanted another, or lq_name, or a list" in refused(replace(both, lq_name="{}"))


def test_the_wrong_template_is_one_sentence_with_the_right_one(tmp_path: Path) -> None:
    wrong = replace(div2k(tmp_path), lq_name="{}_lr")
    gt, lq = wrong.gt, wrong.lq
    assert refused(wrong) == (
        f"lq: 3 of the 3 pictures of '{gt}' have no partner in '{lq}', named '{{}}_lr': 0001.png, 0002.png, "
        f"sub/0003.png; 3 of the 3 of '{lq}' are no partner of any: 0001x4.jpg, 0002x4.jpg, sub/0003x4.jpg; "
        "lq_name: '{}x4' would pair them all."
    )
    assert refused(replace(wrong, lq_name="{}")).endswith("lq_name: '{}x4' would pair them all.")
    (tmp_path / "lq" / "0002x4.jpg").rename(tmp_path / "lq" / "other.jpg")
    assert refused(div2k_of(wrong)) == (
        f"lq: 1 of the 3 pictures of '{gt}' have no partner in '{lq}', named '{{}}x4': 0002.png; "
        f"1 of the 3 of '{lq}' are no partner of any: other.jpg."
    )
    (tmp_path / "gt" / "0002.png").unlink()
    assert refused(div2k_of(wrong)) == f"lq: 1 of the 3 of '{lq}' are no partner of any: other.jpg."


def div2k_of(source: PairFolders) -> PairFolders:
    return replace(source, lq_name="{}x4")


@pytest.mark.parametrize("wrong", ["x4", "{}{}", "{0}x4", "../{}", "{}}", ""])
def test_templates_that_are_none(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"must be a name with one \{\} in it, as in '\{\}x4'"):
        PairFolders(gt="a", lq="b", lq_name=wrong)


def listed(source: PairFolders, text: str) -> PairFolders:
    path = Path(source.gt).with_name("list.txt")
    path.write_text(text)
    return replace(source, list=str(path))


def test_a_list_says_which_pairs_there_are_also_of_one_folder(tmp_path: Path) -> None:
    source = listed(div2k(tmp_path), "sub/0003.png, 0001x4.jpg\r\n\n0002.png (8,8,3)\n0002.png, 0001x4.jpg\n").open()
    assert source.gt.files == ("sub/0003.png", "0002.png", "0002.png")  # type: ignore[attr-defined]
    assert source.lq.files == ("0001x4.jpg", "0002x4.jpg", "0001x4.jpg")  # type: ignore[attr-defined]
    one = PairFolders(gt=str(tmp_path), lq=str(tmp_path), list=str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("gt/0001.png, lq/0001x4.jpg")
    assert one.open().read(0, 4)[0].shape == (3, 2, 2)


def test_what_a_list_of_pairs_names_and_is_not_there(tmp_path: Path) -> None:
    source = div2k(tmp_path)
    gone = "".join(f"{n}.png, 0001x4.jpg\n" for n in range(4))
    sentence = refused(listed(source, f"0001.png, 0001x4.jpg\n{gone}"))
    assert sentence == (
        f"list: 4 of the 5 pictures that '{tmp_path / 'list.txt'}' names are not in folder '{source.gt}': "
        "0.png, 1.png, 2.png, ...."
    )
    assert refused(listed(source, "0001.png, 0009x4.jpg")).endswith(f"are not in folder '{source.lq}': 0009x4.jpg.")
    (tmp_path / "lq" / "0002x4.jpg").unlink()
    assert refused(listed(source, "0001.png\n0002.png")).startswith("lq: 1 of the 2 pictures of ")


def test_a_pair_of_the_wrong_sizes_is_named_with_both(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "a.png", 13, 8)
    save(tmp_path / "lq" / "a.png", 2, 2)
    assert refused(pairs(tmp_path)) == (
        f"gt: a picture to validate on cannot be used, {tmp_path / 'gt' / 'a.png'}: it is 13x8 and "
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
        f"path: a picture to validate on cannot be used, {tmp_path / 'b.png'}: not a picture in a format that is read."
    )


def test_photographs_of_a_package_serve() -> None:
    images = open_validation(Package(package="skimage", folder="data", files=("rocket.jpg",)), 4, 256)
    assert images[0].gt.shape == (3, 256, 256)
    assert images.name(0) == "rocket.jpg"


@pytest.mark.skipif(not PAIRS.is_dir(), reason="the shared pictures are not here")
def test_real_camera_pairs_open() -> None:
    images = open_validation(PairFolders(gt=str(PAIRS / "hr"), lq=str(PAIRS / "lr")), 4, None)
    assert len(images) == 20
    assert {tuple(images[index].gt.shape) for index in range(20)} == {(3, 512, 512)}
