"""The listing of a folder: which files it takes, and its notes on the others."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator
from PIL import Image

from trainer.config.schema import RunConfig
from trainer.images.listing import list_images, printable
from trainer.images.pairs import PairFolders
from trainer.images.sources import Folder, why_unreadable
from trainer.images.validation import open_validation
from trainer.lifecycle.assemble import assemble, check
from trainer.lifecycle.open_images import check_small_source, notes_on_images, open_training, stream_of
from trainer.mistakes import Mistake
from trainer.validation.sample_sheet import Column, strip


def save(*paths: Path) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 9, 9)).save(path, "PNG")


def test_what_is_left_out_is_counted_by_ending(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for name in ("1.heic", "2.HEIC", "3.jxl", "4.cr2", "5.txt", "6", "7.nef", "8.arw", "9.dng", ".hidden.heic"):
        (tmp_path / name).touch()
    assert list_images(str(tmp_path), "path").notes == (
        f"folder '{tmp_path}': 9 files are not read for their endings: 2 .heic, 1 without one, 1 .arw, 1 .cr2, 1 .dng, "
        "1 .jxl, 2 others",
    )


def test_all_that_pillow_reads_safely_is_taken(tmp_path: Path) -> None:
    for kind, name in (("JPEG", "a.jfif"), ("JPEG", "b.jpe"), ("GIF", "c.gif"), ("AVIF", "d.avif")):
        Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / name, kind)
    source = Folder(path=str(tmp_path)).open()
    assert (source.files, source.notes) == (("a.jfif", "b.jpe", "c.gif", "d.avif"), ())
    assert all(abs(int(source.read(number)[0, 0, 0]) - 200) < 4 for number in range(4))


def test_only_regular_files_are_listed(tmp_path: Path) -> None:
    """A worker used to wait for ever for a FIFO among the pictures."""
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    (tmp_path / "d.png").symlink_to("d.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to("..")
    source = Folder(path=str(tmp_path)).open()
    assert source.files == ("a.png",)
    assert source.notes == (
        f"folder '{tmp_path}': 3 are not read because they are no regular files: b.png (a FIFO), c.png (a device), "
        "d.png (too many levels of symbolic links)",
    )


def test_a_picture_under_two_names_is_said(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.png", tmp_path / "other" / "x.png")
    (tmp_path / "photos" / "b.png").symlink_to("a.png")
    (tmp_path / "photos" / "c.png").hardlink_to(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "x.png").symlink_to(tmp_path / "other" / "x.png")
    listing = list_images(str(tmp_path / "photos"), "path")
    assert listing.files == ("a.png", "b.png", "c.png", "x.png")
    assert listing.notes == (
        f"folder '{tmp_path / 'photos'}': 2 pictures are there under two names and shown as often as they have names, "
        "first b.png, which is a.png",
    )


def test_names_that_are_no_text(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    """Such names reach checksums, messages, captions and records."""
    name = os.fsdecode(b"p\xe9\n.png")
    save(tmp_path / "photos" / name, tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"broken")
    source = open_training(tiny(f"images.source={{type: folder, path: '{tmp_path / 'photos'}'}}"))
    assert source.name(1) == str(tmp_path / "photos" / "p\\xe9\\n.png")
    assert source.read(1).shape == (3, 8, 8)  # type: ignore[union-attr]
    assert stream_of(source).pictures == 2
    for text in (source.name(1), why_unreadable(source, 1)):
        text.encode()
        json.dumps(text).encode()
    picture = source.read(1)  # type: ignore[union-attr]
    assert strip([Column("bicubic", picture)], source.name(1), "").ndim == 3
    assert printable("plain é.png") == "plain é.png"


class TestSmallSets:
    def folder(self, root: Path, count: int, bad: int) -> Folder:
        save(*(root / f"{number:03d}.png" for number in range(count)))
        for number in range(bad):
            (root / f"{number:03d}.png").write_bytes(b"broken")
        return Folder(path=str(root))

    def test_one_or_two_bad_pictures_are_named_and_borne(self, tmp_path: Path) -> None:
        source = self.folder(tmp_path, 5, 2).open()
        reason = "not a picture in a format that is read"
        assert check_small_source(source) == {n: f"{tmp_path / f'00{n}.png'}: {reason}" for n in (0, 1)}

    def test_more_stop_the_run_before_it_begins_and_all_are_named(self, tmp_path: Path) -> None:
        source = self.folder(tmp_path, 6, 3).open()
        with pytest.raises(Mistake) as caught:
            check_small_source(source)
        reason = "not a picture in a format that is read"
        told = "; ".join(f"{tmp_path / f'00{n}.png'}: {reason}" for n in range(3))
        assert str(caught.value) == f"images: 3 of 6 pictures (50.0 %) cannot be read, more than 1 %: {told}."

    def test_a_large_set_is_not_read_whole(self, tmp_path: Path) -> None:
        assert check_small_source(self.folder(tmp_path / "large", 101, 3).open()) == {}
        assert len(check_small_source(self.folder(tmp_path / "small", 100, 1).open())) == 1


def test_a_run_is_told_of_bad_pictures_and_cut_ones_before_it_begins(
    tmp_path: Path, tiny: Callable[..., RunConfig], accelerator: Accelerator
) -> None:
    save(*(tmp_path / "photos" / f"{number}.png" for number in range(4)))
    (tmp_path / "photos" / "2.png").write_bytes(b"broken")
    for name, size in (("gt/a.png", (82, 80)), ("lq/a.png", (20, 20))):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", size).save(tmp_path / name)
    config = tiny(
        f"images.source={{type: folder, path: '{tmp_path / 'photos'}'}}",
        f"validation.source={{type: pairs, gt: '{tmp_path / 'gt'}', lq: '{tmp_path / 'lq'}'}}",
    )
    x = assemble(config, accelerator)
    assert x.unreadable.known == {2}
    for notes in (x.notes, check(config, 1)):
        assert [note for note in notes if "2.png: not a picture" in note]
        assert [note for note in notes if note.startswith("validation.source: 1 of the 1 pictures of ground truth")]
    for number in (0, 1):
        (tmp_path / "photos" / f"{number}.png").write_bytes(b"broken")
    for begin in (lambda: assemble(config, accelerator), lambda: check(config, 1)):
        with pytest.raises(Mistake, match=r"images: 3 of 4 pictures \(75\.0 %\) cannot be read"):
            begin()


def test_a_run_says_what_was_left_out(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.heic").touch()
    config = tiny(f"images.source={{type: folder, path: '{tmp_path}'}}")
    assert notes_on_images(open_training(config), config, 1) == [
        f"folder '{tmp_path}': 1 files are not read for their endings: 1 .heic"
    ]


def test_ground_truth_is_cut_as_benchmarks_do(tmp_path: Path) -> None:
    for name, size in (("gt/a.png", (27, 18)), ("lq/a.png", (6, 4)), ("gt/b.png", (24, 16)), ("lq/b.png", (6, 4))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.effect_noise(size, 50).convert("RGB").save(tmp_path / name)
    source = PairFolders(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))
    images = open_validation(source, 4, None)
    first = images[0]
    whole = source.open().gt.read(0)
    assert (first.gt == whole[:, :16, :24]).all()
    assert images.notes == (
        "1 of the 2 pictures of ground truth have sides that are no multiples of 4: what is over is cut off at the "
        "end, as benchmarks do (modcrop): a.png",
    )
    for name in ("gt/a.png", "gt/b.png"):
        Image.new("RGB", (28, 20)).save(tmp_path / name)  # a whole LQ pixel more
    with pytest.raises(
        Mistake, match=r"a\.png: it is 28x20 .* wanted exactly x4, 24x16\. 1 more of the 2 cannot serve"
    ):
        open_validation(source, 4, None)
