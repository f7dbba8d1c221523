"""What of a configuration is told elsewhere, and when two sources are plainly two."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.config.loader import load_config
from trainer.config.redact import disjoint, freeze_hub_ids, hub_id, hub_names, is_hub_id, redact_paths
from trainer.config.schema import RunConfig
from trainer.images.hub_dataset import HubDataset
from trainer.images.pairs import PairFolders
from trainer.images.sources import Folder, Package
from trainer.images.streaming.dataset import StreamedDataset

CONFIGS = Path(__file__).parents[3] / "configs"
PHOTOS = Package(package="skimage", folder="data", files=("a.png", "b.png"))


def test_what_is_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "train").mkdir(parents=True)
    assert is_hub_id("timm/vgg19.tv_in1k")
    for path in ("photos/train", "../train", "/train", "a/b/c", "a", "a/b.pth", "a/b.parquet", "a/*"):
        assert not is_hub_id(path), path


def test_only_what_the_run_found_on_the_hub_is_a_name_elsewhere(
    tiny: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run reads `data/train` here; where it is pushed from there may be no such folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "train").mkdir(parents=True)
    config = tiny(
        "images.source={type: dataset, path: data/train}",
        "validation.source={type: dataset, path: someone/photos}",
        "init.generator=weights/net.pth",
        "losses.perceptual={type: vgg, weight: 1}",
        "lr_scheduler={type: plateau, metric: training/loss}",
        "hub={repo_id: me/net}",
    )
    found = hub_names(config)
    assert found == {"someone/photos", "timm/vgg19.tv_in1k"}
    monkeypatch.chdir("/")
    known = freeze_hub_ids(config, found)
    assert (known.images.source.path, hub_id(known.images.source)) == ("./data/train", None)
    assert hub_id(known.validation.source) == "someone/photos"
    assert replace(known, images=config.images) == config
    assert freeze_hub_ids(config, set()).losses.perceptual.weights == "./timm/vgg19.tv_in1k"
    assert hub_names({"a": ["b/c", 7, None], "d": ("e/f",)}) == {"b/c", "e/f"}
    assert freeze_hub_ids({"a": ["b/c", 7, None], "d": ("e/f",)}, {"b/c"}) == {"a": ["b/c", 7, None], "d": ("./e/f",)}


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_that_is_shipped_can_be_told(file: Path) -> None:
    config = load_config(RunConfig, file)
    assert not hub_names(freeze_hub_ids(config, set()))
    assert freeze_hub_ids(config, hub_names(config)) == config


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ("/home/me/run", "run"),
        ("../me/run/", "run"),
        ("me/deep/run", "run"),
        ("me/net.pth", "net.pth"),
        (r"C:\me\net.pth", "net.pth"),
        ("someone/net", "someone/net"),
        ("plain", "plain"),
        (7, 7),
        ({"a": ["/b/c", {"d": ("e/f/g", None)}]}, {"a": ["c", {"d": ["g", None]}]}),
        ({"type": "folder", "path": "me/photos"}, {"type": "folder", "path": "photos"}),
        ({"type": "dataset", "path": "someone/photos"}, {"type": "dataset", "path": "someone/photos"}),
        ({"output_dir": "me/runs", "repo_id": "someone/net"}, {"output_dir": "runs", "repo_id": "someone/net"}),
    ],
)
def test_of_a_path_the_last_part_is_told(tree: object, told: object) -> None:
    assert redact_paths(tree) == told


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (PHOTOS, PHOTOS, False),
        (PHOTOS, Package(package="skimage", folder="data", files=("b.png",)), False),
        (PHOTOS, Package(package="skimage", folder="data", files=("c.png",)), True),
        (PHOTOS, Package(package="scipy", folder="data", files=("a.png",)), True),
        (PHOTOS, Folder(path="a"), True),
        (Folder(path="a"), Folder(path="./a/"), False),
        (Folder(path="a"), Folder(path="a/b"), False),
        (Folder(path="a/b"), Folder(path="a"), False),
        (Folder(path="a/b"), Folder(path="a/c"), True),
        (Folder(path="a/gt"), PairFolders(gt="a/gt", lq="a/lq"), False),
        (Folder(path="b"), PairFolders(gt="a/gt", lq="a/lq"), True),
        (HubDataset(path="me/a"), HubDataset(path="me/a", image_column="image"), False),
        (HubDataset(path="me/a"), HubDataset(path="me/a", split="test"), True),
        (HubDataset(path="me/a"), HubDataset(path="me/b"), True),
        (HubDataset(path="me/a", split="test"), StreamedDataset(path="me/a"), True),
        (HubDataset(path="me/a", split="test"), StreamedDataset(path="me/a", data_files="x"), False),
        (HubDataset(path="a.parquet", split="test"), HubDataset(path="a.parquet"), False),
        (StreamedDataset(path="a/*.parquet"), HubDataset(path="a/test.parquet"), False),
        (StreamedDataset(path="a/*.parquet"), HubDataset(path="b/test.parquet"), True),
    ],
)
def test_sources_are_apart_only_where_that_is_plain(one: object, other: object, apart: bool) -> None:
    assert disjoint(one, other) == disjoint(other, one) == apart
