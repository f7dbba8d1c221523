"""One folder of photographs: what is held out, what is chosen for a machine, and the file that it all is."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from degradations.second_order import SecondOrder
from trainer.config.loader import load_config, validated
from trainer.config.schema import RunConfig
from trainer.mistakes import Mistake
from trainer.networks import RRDBNetConfig, SRVGGNetCompactConfig
from trainer.photos.__main__ import main, parse
from trainer.photos.choose import Machine, hold_out, settings, start_from
from trainer.photos.defaults import LIKE

pytestmark = pytest.mark.usefixtures("fresh_accelerate")
ROOT = Path(__file__).parents[3]
CPU, SMALL_GPU, GPU = Machine("cpu", 0.0, 2), Machine("cuda", 8.0, 1), Machine("cuda", 24.0, 4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures of noise, two of them in a folder below."""
    folder = tmp_path / "my photos"
    (folder / "more").mkdir(parents=True)
    for number in range(12):
        noise = torch.rand(100, 120, 3, generator=torch.Generator().manual_seed(number))
        Image.fromarray((noise * 255).byte().numpy()).save(folder / ("more" if number > 9 else "") / f"{number}.png")
    return folder


def test_one_picture_in_ten_is_held_out_by_its_name(photos: Path) -> None:
    train, held_out = hold_out(str(photos))
    assert (len(train), len(held_out)) == (11, 1)
    assert not set(train) & set(held_out)
    (photos / "another.png").write_bytes((photos / "0.png").read_bytes())
    assert hold_out(str(photos))[1] in (held_out, ["another.png"])
    for file in photos.rglob("*.png"):
        if file.name not in ("1.png", "2.png"):
            file.unlink()
    assert [len(names) for names in hold_out(str(photos))] == [1, 1]
    (photos / "1.png").unlink()
    with pytest.raises(Mistake, match=r"PHOTOS: '.*' has one picture; it takes two at least"):
        hold_out(str(photos))


@pytest.mark.parametrize("machine", [CPU, SMALL_GPU, GPU])
@pytest.mark.parametrize("like", sorted(LIKE))
@pytest.mark.parametrize("scale", [2, 4])
def test_what_is_chosen_is_a_configuration(photos: Path, machine: Machine, like: str, scale: int) -> None:
    config = validated(RunConfig, settings(str(photos), machine, scale, like, None), "chosen")
    assert (config.name, config.scale) == (f"my_photos_x{scale}", scale)
    assert config.batch.global_size == config.batch.per_device * machine.processes
    assert config.gt_size <= config.images.crop_size
    assert isinstance(config.generator, SRVGGNetCompactConfig)
    assert config.generator.num_conv == {0.0: 8, 8.0: 16, 24.0: 32}[machine.memory]


def test_photographs_on_a_cpu_get_the_quickstarts_degradation_and_other_kinds_antialias(photos: Path) -> None:
    quickstart = load_config(RunConfig, ROOT / "configs" / "quickstart.yaml", [])
    chosen = {
        (kind.kind, like): validated(RunConfig, settings(str(photos), kind, 4, like, None), "chosen").degradation
        for kind in (CPU, GPU)
        for like in LIKE
    }
    assert chosen["cpu", "photo"] == quickstart.degradation
    two_orders = {name: one for name, one in chosen.items() if name != ("cpu", "photo")}
    assert {name: one.antialias for name, one in two_orders.items() if isinstance(one, SecondOrder)} == {
        name: name[0] == "cpu" for name in two_orders
    }
    by_its_options = settings(str(photos), CPU, 4, "photo", None, ["seed=1", "degradation.jpeg_range=[40, 90]"])
    assert by_its_options["degradation"]["type"] == "second_order"


def test_a_network_to_begin_with_brings_its_sizes_and_scale(tmp_path: Path) -> None:
    net = RRDBNetConfig(num_feat=8, num_block=2, num_grow_ch=4).build(2, 3)
    net.save_pretrained(tmp_path / "released")
    chosen = start_from(str(tmp_path / "released"), None)
    assert chosen["scale"] == 2
    assert chosen["generator"] == {"type": "RRDBNet", "num_feat": 8, "num_block": 2, "num_grow_ch": 4}
    assert chosen["init"] == {"generator": str(tmp_path / "released")}
    names = [settings("photos", CPU, None, "photo", origin)["name"] for origin in (None, str(tmp_path / "released"))]
    assert names == ["photos_x4", "photos_x2_tuned"]  # in different folders, so that one does not resume the other
    with pytest.raises(Mistake, match=r"--scale: got 4; .* enlarges x2"):
        start_from(str(tmp_path / "released"), 4)


TINY = ("generator.num_feat=4", "generator.num_conv=1", "images.crop_size=48", "gt_size=32", "batch.per_device=1")


def test_the_file_is_the_configuration_of_the_run_and_the_same_command_keeps_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [str(photos), "--scale", "2", "--minutes", "0.05", "batch.global_size=1", *TINY]
    assert main(command) == 0
    out, said = capsys.readouterr()
    path = Path(out.strip())
    assert path == Path("outputs/my_photos_x2.photos/my_photos.yaml")
    config = load_config(RunConfig, path, command[5:])
    assert config.max_train_steps >= 100
    assert (config.scale, config.name) == (2, "my_photos_x2")
    lists = [Path(source.list).read_text().split("\n") for source in (config.images.source, config.validation.source)]  # type: ignore[union-attr,arg-type]
    assert [len(names) - 1 for names in lists] == [11, 1]
    assert "11 pictures to train on, which are few: 20 and more would help; 1 held out" in said
    assert path.read_text() in said
    before = path.stat().st_mtime_ns
    assert main(command) == 0
    assert "made by the same command: the run goes on by it" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent"], "error: PHOTOS: folder 'absent' does not exist"),
        (["--minutes", "0"], "error: --minutes: got 0; must be above 0"),
        (["--minutes", "nan"], "error: --minutes: got nan; must be above 0"),
        (["--from", "absent.pth"], "absent.pth"),
        (["sed=3"], "sed: no such key"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_no_configuration(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments if arguments == ["absent"] else [str(photos), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.yaml"))


def test_other_scales_and_kinds_are_refused() -> None:
    for wrong in (["--scale", "3"], ["--like", "cats"]):
        with pytest.raises(SystemExit, match="2"):
            parse(["photos", *wrong])
