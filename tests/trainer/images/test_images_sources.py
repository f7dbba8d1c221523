"""Opening the sources of a configuration, and the sentence for everything that can be wrong."""

import os
import pickle
from io import BytesIO
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from trainer.images.hub_dataset import HubDataset
from trainer.images.opened import Unreadable
from trainer.images.sources import Folder, Package, first_readable, why_unreadable
from trainer.mistakes import Mistake

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(colour: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


def touch(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(RED))


def refused(source: Folder | Package | HubDataset) -> str:
    with pytest.raises(Mistake) as caught:
        source.open()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence


class TestFolder:
    def test_lists_pictures_below_it_sorted_and_without_hidden_ones(self, tmp_path: Path) -> None:
        touch(tmp_path, "b.PNG", "a/z.jpeg", "a/b/c.webp", ".hidden.png", ".cache/d.png", "a.tif", "Z.bmp")
        (tmp_path / "notes.txt").write_text("not a picture")
        source = Folder(path=str(tmp_path)).open()
        assert source.files == ("Z.bmp", "a.tif", "a/b/c.webp", "a/z.jpeg", "b.PNG")
        assert len(source) == 5
        assert source.name(3) == str(tmp_path / "a" / "z.jpeg")
        assert source.where == f"folder '{tmp_path}'"
        assert source.read(2)[:, 0, 0].tolist() == list(RED)

    def test_follows_links_but_not_in_circles(self, tmp_path: Path) -> None:
        touch(tmp_path / "elsewhere", "x.png")
        touch(tmp_path / "photos", "y.png")
        (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
        (tmp_path / "photos" / "z.png").symlink_to(tmp_path / "elsewhere" / "x.png")
        (tmp_path / "photos" / "gone.png").symlink_to(tmp_path / "nowhere.png")
        source = Folder(path=str(tmp_path / "photos")).open()
        assert source.files == ("gone.png", "more/x.png", "y.png", "z.png")
        with pytest.raises(Unreadable, match=r"gone\.png: the file is gone"):
            source.read(0)

    def test_a_source_is_the_same_after_a_journey(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png")
        source = Folder(path=str(tmp_path)).open()
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        assert torch.equal(copy.read(1), source.read(1))

    def test_sentences(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        touch(tmp_path, "file.png", "pairs/GT/a.png", "pairs/lq/a.png")
        (tmp_path / "empty").mkdir()
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.txt").write_text("a")
        kinds = ".avif, .bmp, .gif, .jfif, .jp2, .jpe, .jpeg, .jpg, .pgm, .png, .pnm, .ppm, .tif, .tiff, .webp"
        sentences = {
            "absent": f"path: folder 'absent' does not exist (seen from '{tmp_path}').",
            "file.png": "path: 'file.png' is a file; wanted the folder that holds the pictures.",
            "empty": f"path: folder 'empty' is empty; wanted pictures ({kinds}).",
            "texts": f"path: none of the 1 files in folder 'texts' is a picture ({kinds}).",
            "pairs": "path: folder 'pairs' holds pairs ('GT' and 'lq'): its poor pictures would be taken for good "
            "ones; name the folder of the good ones, 'pairs/GT'.",
        }
        for path, sentence in sentences.items():
            assert refused(Folder(path=path)) == sentence

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
    def test_a_locked_folder_within_is_named(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "locked/b.png")
        (tmp_path / "locked").chmod(0)
        assert refused(Folder(path=str(tmp_path))).endswith("cannot be listed: Permission denied.")
        (tmp_path / "locked").chmod(0o700)


class TestPackage:
    def test_scikit_image_ships_photographs(self) -> None:
        source = Package(package="skimage", folder="data", files=("astronaut.png", "coffee.png")).open()
        assert [tuple(source.read(index).shape) for index in range(2)] == [(3, 512, 512), (3, 400, 600)]
        assert source.where == "package 'skimage'"
        assert Path(source.name(1)).name == "coffee.png"

    def test_sentences(self) -> None:
        for package in ("no_such_package", "no.such.package", ""):
            assert refused(Package(package=package, folder="data", files=("a.png",))) == (
                f"package: {package!r} is not installed, and its pictures are wanted; "
                "`pip install 'wildsr[quickstart]'` brings those of the quickstart."
            )
        assert refused(Package(package="skimage", folder="data", files=("coffee.png", "tea.png", "milk.png"))) == (
            "files: package 'skimage' has no tea.png, milk.png in its folder 'data'."
        )
        assert refused(Package(package="skimage", folder="data", files=())) == (
            "files: no picture of package 'skimage' is named; wanted at least one."
        )


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def rows(**columns: list[object]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns)


def pictures(column: str = "image", **more: list[object]) -> datasets.Dataset:
    stored = [{"bytes": encoded(RED), "path": None}, {"bytes": encoded(BLUE), "path": None}]
    return rows(**{column: stored}, **more).cast_column(column, datasets.Image())


@pytest.mark.usefixtures("offline")
class TestHubDataset:
    def colours(self, source: HubDataset) -> list[list[int]]:
        opened = pickle.loads(pickle.dumps(source.open()))
        return [opened.read(index)[:, 0, 0].tolist() for index in range(len(opened))]

    def test_saved_to_disk_as_a_split_or_as_splits(self, tmp_path: Path) -> None:
        pictures().save_to_disk(tmp_path / "one")
        datasets.DatasetDict(train=pictures(), test=pictures().select([1])).save_to_disk(tmp_path / "two")
        assert self.colours(HubDataset(path=str(tmp_path / "one"))) == [list(RED), list(BLUE)]
        assert self.colours(HubDataset(path=str(tmp_path / "two"))) == [list(RED), list(BLUE)]
        assert self.colours(HubDataset(path=str(tmp_path / "two"), split="test")) == [list(BLUE)]
        assert refused(HubDataset(path=str(tmp_path / "two"), split="val")) == (
            f"split: dataset '{tmp_path / 'two'}' has no split 'val'; it has train, test."
        )

    def test_parquet_file_folder_and_pattern(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        pictures().to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
        for path in ("data/train-00000-of-00001.parquet", "data", "data/*.parquet"):
            assert self.colours(HubDataset(path=str(tmp_path / path))) == [list(RED), list(BLUE)], path

    def test_bytes_without_a_type_are_pictures_too(self, tmp_path: Path) -> None:
        rows(image=[encoded(BLUE)]).save_to_disk(tmp_path / "raw")
        assert self.colours(HubDataset(path=str(tmp_path / "raw"))) == [list(BLUE)]

    def test_a_file_named_by_a_row_is_read(self, tmp_path: Path) -> None:
        rows(image=[str(tmp_path / "paths" / "x.png")]).save_to_disk(tmp_path / "paths")
        touch(tmp_path, "paths/x.png")
        assert self.colours(HubDataset(path=str(tmp_path / "paths"))) == [list(RED)]

    def test_the_only_column_of_pictures_is_found_and_any_can_be_named(self, tmp_path: Path) -> None:
        pictures("jpg", label=[1, 2]).save_to_disk(tmp_path / "jpg")
        assert self.colours(HubDataset(path=str(tmp_path / "jpg"))) == [list(RED), list(BLUE)]
        two = pictures("gt", lq=[encoded(BLUE), encoded(RED)]).cast_column("lq", datasets.Image())
        two.save_to_disk(tmp_path / "two")
        assert self.colours(HubDataset(path=str(tmp_path / "two"), image_column="lq")) == [list(BLUE), list(RED)]
        columns = "gt (Image(mode=None, decode=True)), lq (Image(mode=None, decode=True))"
        where = f"dataset '{tmp_path / 'two'}', split 'train'"
        assert refused(HubDataset(path=str(tmp_path / "two"))) == (
            f"image_column: {where} has several columns of pictures; name one of {columns}."
        )
        assert refused(HubDataset(path=str(tmp_path / "two"), image_column="hr")) == (
            f"image_column: {where} has no column 'hr'; it has {columns}."
        )

    def test_no_pictures(self, tmp_path: Path) -> None:
        rows(text=["a"], label=[1]).save_to_disk(tmp_path / "text")
        where = f"dataset '{tmp_path / 'text'}', split 'train'"
        columns = "text (Value('string')), label (Value('int64'))"
        assert refused(HubDataset(path=str(tmp_path / "text"))) == (
            f"image_column: {where} has no column of pictures; name one of {columns}."
        )
        assert refused(HubDataset(path=str(tmp_path / "text"), image_column="label")) == (
            f"image_column: column 'label' of {where} holds no pictures; the columns are {columns}."
        )
        pictures().select([]).to_parquet(tmp_path / "none.parquet")
        assert refused(HubDataset(path=str(tmp_path / "none.parquet"))) == (
            f"path: dataset '{tmp_path / 'none.parquet'}' cannot be loaded: "
            'Instruction "train" corresponds to no data.'
        )

    def test_what_cannot_be_loaded(self, tmp_path: Path) -> None:
        assert refused(HubDataset(path="someone/something")) == (
            "path: dataset 'someone/something' cannot be loaded: Couldn't reach 'someone/something' on the Hub "
            "(OfflineModeIsEnabled); it is no local path, so it was looked for on the hub: is the name right, is there "
            "a network, is HF_HUB_OFFLINE set, does it need `hf auth login`?"
        )
        touch(tmp_path / "photos", "a.png")
        photos = tmp_path / "photos"
        assert refused(HubDataset(path=str(photos))) == (
            f"path: folder '{photos}' holds no parquet file; for a folder of pictures write `type: folder`."
        )
        (tmp_path / "data").mkdir()
        pictures().to_parquet(tmp_path / "data" / "train.parquet")
        assert refused(HubDataset(path=str(tmp_path / "data"), split="val")) == (
            f"split: dataset '{tmp_path / 'data'}' cannot be loaded: Unknown split \"val\". Should be one of ['train']."
        )
        (tmp_path / "bad.parquet").write_bytes(b"nonsense")
        assert "cannot be loaded: " in refused(HubDataset(path=str(tmp_path / "bad.parquet")))
        assert "cannot be loaded: " in refused(HubDataset(path=str(tmp_path / "absent-*.parquet")))

    def test_an_empty_row_is_unreadable_by_its_number(self, tmp_path: Path) -> None:
        rows(image=[{"bytes": encoded(RED), "path": None}, None]).save_to_disk(tmp_path / "holes")
        source = HubDataset(path=str(tmp_path / "holes")).open()
        name = f"dataset '{tmp_path / 'holes'}', split 'train', row 1"
        assert why_unreadable(source, 1) == f"{name}: the row holds no picture"


def test_first_readable_passes_over_broken_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "b.png")
    (tmp_path / "a.png").write_bytes(b"broken")
    source = Folder(path=str(tmp_path)).open()
    assert first_readable(source).shape == (3, 6, 8)
    (tmp_path / "b.png").write_bytes(b"broken")
    with pytest.raises(Mistake) as caught:
        first_readable(source)
    assert str(caught.value) == (
        f"path: none of the 2 pictures of folder '{tmp_path}' can be decoded; "
        f"first {tmp_path / 'a.png'}: not a picture in a format that is read."
    )


def test_why_unreadable_says_so_where_a_picture_recovered(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    source = Folder(path=str(tmp_path)).open()
    assert why_unreadable(source, 0) == f"{tmp_path / 'a.png'}: could not be read a moment ago, and now it can"
