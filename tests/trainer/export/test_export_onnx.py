"""ONNX exports: results of ONNX Runtime against torch at any size, and operators that TensorRT supports."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.export.__main__ import main
from trainer.networks import ImportedNetwork, RRDBNet, SRVGGNetCompact, StochasticSRResNet
from trainer.networks.loading.generators import open_generator, scale_of

onnx = pytest.importorskip("onnx", reason="wildsr[export] is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="wildsr[export] is not installed")
pytest.importorskip("onnxscript", reason="wildsr[export] is not installed")

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "weights"
TENSORRT = {  # operators of these graphs that TensorRT's ONNX parser takes, by its operators.md; SpaceToDepth apart
    "Add", "Concat", "ConstantOfShape", "Conv", "DepthToSpace", "Div", "Expand", "Gemm", "LeakyRelu", "MatMul", "Mul",
    "PRelu", "Pad", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Split", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip
NETWORKS = [
    *((RRDBNet(scale, num_feat=8, num_block=1, num_grow_ch=4), 4 // scale) for scale in (1, 2, 4)),
    (SRVGGNetCompact(3, num_feat=8, num_conv=1), 1),
    (SRVGGNetCompact(2, 4, 4, num_feat=8, num_conv=1, act_type="leakyrelu"), 1),
    (StochasticSRResNet(2, n_channels=8, n_blocks=1, noise_dim=4), 1),
    (ImportedNetwork("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 3, "kernel_size": 3, "padding": 1}), 1),
]


def exported(net: Any, folder: Path, *arguments: str) -> Path:
    torch.manual_seed(0)
    net.save_pretrained(folder / "net")
    trust = ("--trust", "torch.nn", "--trust", __name__)
    assert main([str(folder / "net"), *trust, "--to", "onnx", "--out", str(folder), *arguments]) == 0
    return next(folder.glob("*.onnx"))


def sizes(value: Any) -> list[Any]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@torch.no_grad()
def assert_runs_as_torch(file: Path, net: Any, multiple: int, dtype: torch.dtype, tolerance: float) -> None:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch, height, width in ((1, 1, 1), (3, 5, 2), (1, 11, 23), (1, 8, 12)):
        picture = torch.rand(batch, net.config.num_in_ch, height, width)
        (got,) = session.run(None, {"input": picture.to(dtype).numpy()})
        rows, columns = (torch.arange(-(-side // multiple) * multiple).clamp(max=side - 1) for side in (height, width))
        scale = scale_of(net)
        wanted = net(picture[:, :, rows[:, None], columns])[..., : height * scale, : width * scale]
        assert got.shape == wanted.shape
        assert (torch.from_numpy(got).float() - wanted).abs().max() < tolerance


class Looking(nn.Module):
    """A network with data-dependent control flow, which no graph holds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight if x.mean() > 0.5 else 1 - x


def test_a_network_that_is_no_graph_is_a_failure_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ImportedNetwork(f"{__name__}.Looking", {}).save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--trust", __name__, "--to", "onnx", "--out", str(tmp_path / "out")]) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("error: 1x-net.onnx cannot be made: torch does not trace the network for any size (")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("net", "multiple"), NETWORKS, ids=lambda x: f"{type(x).__name__}" if x not in (1, 2, 4) else ""
)
def test_any_size_runs_as_in_torch(tmp_path: Path, net: Any, multiple: int, capsys: pytest.CaptureFixture[str]) -> None:
    net = net.eval()
    file = exported(net, tmp_path)
    model, scale = onnx.load(file), scale_of(net)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert {node.op_type for node in model.graph.node} <= TENSORRT
    (given,), (result,) = model.graph.input, model.graph.output
    bands = net.config.num_in_ch
    assert (given.name, sizes(given)) == ("input", ["batch", bands, "height", "width"])
    assert (result.name, sizes(result)) == ("output", ["batch", bands, f"{scale}*height", f"{scale}*width"])
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert (facts["architecture"], facts["input_multiple"]) == (type(net).__name__, "1")
    assert facts["padded_to_multiple"] == str(multiple)
    said = capsys.readouterr().out
    assert (f", padded within to a multiple of {multiple}, float32" in said) == (multiple > 1)
    assert_runs_as_torch(file, net, multiple, torch.float32, 1e-5)


def test_half_precision_takes_and_gives_half_precision(tmp_path: Path) -> None:
    net = RRDBNet(2, num_feat=8, num_block=1, num_grow_ch=4).eval()
    file = exported(net, tmp_path, "--dtype", "float16")
    model = onnx.load(file)
    half = onnx.TensorProto.FLOAT16
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {half}
    assert {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1} == {half}
    assert_runs_as_torch(file, net, 2, torch.float16, 1e-2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the released weights are not on this machine")
@pytest.mark.parametrize("name", ["realesr-animevideov3", "realesr-general-x4v3", "RealESRGAN_x4plus_anime_6B"])
@torch.no_grad()
def test_released_weights_in_every_format(tmp_path: Path, spandrel: Any, name: str) -> None:
    file = SHARED / f"{name}.fromncnn.pth"
    net = open_generator(str(file), "--model")
    assert main([str(file), "--to", "safetensors,pth,diffusers,onnx", "--out", str(tmp_path)]) == 0
    stem = tmp_path / f"4x-{name.replace('_', '-')}-fromncnn"
    picture = torch.rand(1, 3, 31, 17)
    wanted = net(picture)
    assert torch.equal(type(net).from_pretrained(stem)(picture), wanted)
    for suffix in (".safetensors", ".pth"):
        assert torch.equal(open_generator(f"{stem}{suffix}", "--model")(picture), wanted)
        theirs = spandrel.ModelLoader(device="cpu").load_from_file(f"{stem}{suffix}")
        assert torch.allclose(theirs.model(picture), wanted, atol=1e-6)
    assert_runs_as_torch(Path(f"{stem}.onnx"), net, 1, torch.float32, 1e-4)
