"""A generator section that is not given is that of the network in the file of `init.generator`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from trainer.config.loader import dump_config, load_config, read_tree, validated
from trainer.config.schema import RunConfig
from trainer.mistakes import Mistake
from trainer.networks import SRVGGNetCompactConfig


@pytest.fixture
def file(tmp_path: Path) -> Path:
    net = SRVGGNetCompactConfig(num_feat=6, num_conv=2).build(2, 3)
    torch.save({"params": net.state_dict()}, tmp_path / "x2.pth")
    return tmp_path / "x2.pth"


def test_null_and_no_section_take_the_files_network_and_its_scale(file: Path, tmp_path: Path) -> None:
    tree = read_tree(TINY) | {"init": {"generator": str(file)}, "output_dir": str(tmp_path)}
    del tree["scale"]
    for given in ({**tree, "generator": None}, {key: value for key, value in tree.items() if key != "generator"}):
        config = validated(RunConfig, given, "tree")
        assert isinstance(config.generator, SRVGGNetCompactConfig)
        assert (config.generator.num_feat, config.generator.num_conv, config.scale) == (6, 2, 2)


def test_a_scale_that_is_given_stays(file: Path) -> None:
    config = load_config(RunConfig, TINY, ["generator=null", f"init.generator={file}"])
    assert isinstance(config.generator, SRVGGNetCompactConfig)
    assert (config.generator.num_feat, config.scale) == (6, 4)


def test_a_resumed_run_needs_no_file(file: Path, tmp_path: Path) -> None:
    words = ["generator=null", f"init.generator={file}", f"output_dir={tmp_path}"]
    config = load_config(RunConfig, TINY, words)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.yaml").write_text(dump_config(config))
    file.unlink()
    assert load_config(RunConfig, TINY, words) == config
    (tmp_path / "tiny" / "config.yaml").write_text(
        dump_config(replace(config, init=replace(config.init, generator="x")))
    )
    with pytest.raises(Mistake, match=r"^init.generator: .*x2.pth does not exist.$"):
        load_config(RunConfig, TINY, words)


def test_a_file_of_nothing_known_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(Mistake, match=r"^init.generator: .*odd.pth is no generator that this program knows"):
        load_config(RunConfig, TINY, ["generator=null", f"init.generator={tmp_path / 'odd.pth'}"])
