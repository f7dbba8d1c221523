"""Files from others: none chooses code, and none opens as what it is not."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from trainer.export import __main__ as export
from trainer.mistakes import Mistake
from trainer.networks import ImportedNetwork, PatchDiscriminator, RRDBNet, SRVGGNetCompact, UNetDiscriminatorSN
from trainer.networks.loading.generators import open_generator
from trainer.upscale import __main__ as upscale
from trainer.upscale.upscaler import Upscaler

WEIGHTS = "diffusion_pytorch_model.safetensors"
EVIL = """
from pathlib import Path
from torch import nn

Path({marker!r}).touch()


class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 1)
"""


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that a module called `evil`, which can be imported, leaves when it is."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "evil.py").write_text(EVIL.format(marker=str(tmp_path / "marker")))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path / "marker"


def planted(folder: Path, place: str, path: Any = "evil.Net") -> Path:
    """A model that names `path`: an export, a run's, a checkpoint's, or one file with its configuration in it."""
    folder.mkdir()
    config = {"_class_name": "ImportedNetwork", "path": path, "arguments": {}, "scale": 1, "num_in_ch": 3}
    state = nn.Conv2d(3, 3, 1).state_dict()
    if place == "file":
        file = folder / "net.safetensors"
        safetensors.torch.save_file(state, file, metadata={"config": json.dumps(config)})
        return file
    inner = folder if place == "export" else folder / "export"
    inner.mkdir(exist_ok=True)
    (inner / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(state, inner / WEIGHTS)
    return folder


@pytest.mark.parametrize("place", ["export", "run", "file"])
def test_no_file_has_code_imported(tmp_path: Path, evil: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    origin = str(planted(tmp_path / "given", place))
    out = str(tmp_path / "out")
    for main, arguments in (
        (upscale.main, ["--model", origin, "--input", __file__, "--output", out]),
        (export.main, [origin, "--out", out, "--trust", "evil.Network", "--trust", "evi", "--trust", ""]),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert "builds no ImportedNetwork: it names 'evil.Net', which would be imported and run; " in told
        assert len(told.splitlines()) == 1
    with pytest.raises(Mistake, match=r"^model: .* it names 'evil\.Net', .* say so by --trust, or trust=\[\.\.\.\]"):
        Upscaler.from_pretrained(origin)
    if place != "file":
        with pytest.raises(ValueError, match=r"it names 'evil\.Net'"):
            ImportedNetwork.from_pretrained(origin)
    assert not evil.exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize("trust", ["evil", "evil.Net"])
def test_what_is_trusted_is_imported(tmp_path: Path, evil: Path, trust: str) -> None:
    origin = str(planted(tmp_path / "given", "export"))
    assert Upscaler.from_pretrained(origin, trust=[trust]).scale == 1
    assert evil.exists()
    assert isinstance(ImportedNetwork.from_pretrained(origin, trust=trust).net, nn.Conv2d)
    out = tmp_path / "out"
    assert export.main([origin, "--to", "pth", "--out", str(out), "--trust", trust]) == 0
    assert [file.suffix for file in out.iterdir()] == [".pth"]


def test_both_networks_of_a_mixture_are_trusted_by_one_word(tmp_path: Path, evil: Path) -> None:
    origin = str(planted(tmp_path / "given", "export"))
    with pytest.raises(Mistake, match=r"^model: "):
        Upscaler.from_pretrained(origin, denoise_model=origin, denoise_strength=0.5)
    mixed = Upscaler.from_pretrained(origin, denoise_model=origin, denoise_strength=0.5, trust=["evil"])
    assert (mixed.scale, evil.exists()) == (1, True)


@pytest.mark.parametrize("path", [None, 5, ["evil", "Net"], "\n" * 5000])
def test_a_path_that_is_none_is_refused_in_one_sentence(tmp_path: Path, path: Any) -> None:
    with pytest.raises(Mistake) as mistake:
        open_generator(str(planted(tmp_path / "given", "file", path)), "--model", ["evil"])
    assert "\n" not in str(mistake.value)
    assert len(str(mistake.value)) < 600 + len(str(tmp_path))


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000, b'{"_class_name": ["RRDBNet"]}'])
def test_a_configuration_that_is_none_is_passed_over(tmp_path: Path, content: bytes) -> None:
    SRVGGNetCompact(2, num_feat=4, num_conv=1).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    assert isinstance(open_generator(str(tmp_path), "--model"), SRVGGNetCompact)


@pytest.mark.parametrize(("key", "value"), [("num_conv", 10**9), ("num_feat", 10**9), ("num_feat", -4), ("scale", "x")])
def test_sizes_that_the_weights_do_not_have_are_not_built(tmp_path: Path, key: str, value: Any) -> None:
    SRVGGNetCompact(2, num_feat=4, num_conv=1).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(Mistake, match=r"^--model: the configuration of .* builds no SRVGGNetCompact: "):
        open_generator(str(tmp_path), "--model")


def test_a_layer_of_a_very_high_number_is_not_built(tmp_path: Path) -> None:
    state = SRVGGNetCompact(2, num_feat=4, num_conv=1).state_dict()
    torch.save(state | {"body.1000000000.weight": torch.zeros(12, 4, 3, 3)}, tmp_path / "net.pth")
    with pytest.raises(Mistake, match=r"its layers body have the numbers 0 to 1000000000, and there are 6\.$"):
        open_generator(str(tmp_path / "net.pth"), "--model")


@pytest.mark.parametrize("cls", [RRDBNet, UNetDiscriminatorSN, PatchDiscriminator, ImportedNetwork])
def test_no_class_opens_the_export_of_another(
    tmp_path: Path, cls: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    SRVGGNetCompact(num_feat=4, num_conv=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"^{tmp_path} holds a SRVGGNetCompact, not a {cls.__name__}: open it with"):
        cls.from_pretrained(tmp_path)
    assert capfd.readouterr().err + caplog.text == ""


def test_of_a_run_folder_the_export_is_opened(tmp_path: Path) -> None:
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    net.save_pretrained(tmp_path / "export")
    opened = SRVGGNetCompact.from_pretrained(str(tmp_path))
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), opened.parameters(), strict=True))


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_are_not_whole_do_not_open(
    tmp_path: Path, change: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    net.save_pretrained(tmp_path)
    state = net.state_dict() | {"body.9.bias": torch.zeros(2)}
    if change == "missing":
        del state["body.9.bias"], state["body.2.bias"]
    safetensors.torch.save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=rf"1 {change} tensors, the first is body\.[29]\.bias$"):
        SRVGGNetCompact.from_pretrained(tmp_path)
    assert capfd.readouterr().err + caplog.text == ""


def test_pickles_and_quantisers_are_no_part_of_an_export(tmp_path: Path) -> None:
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    net.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    (tmp_path / WEIGHTS).unlink()
    torch.save(net.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match=WEIGHTS.replace(".", r"\.")):
        SRVGGNetCompact.from_pretrained(tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": "gguf"}}))
    with pytest.raises(ValueError, match="asks for a quantiser, which a SRVGGNetCompact does not have"):
        SRVGGNetCompact.from_pretrained(tmp_path)
