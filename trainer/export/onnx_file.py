"""ONNX export: one graph for any batch, height and width, of operators that TensorRT supports.

Pixel-unshuffle becomes Reshape and Transpose, not SpaceToDepth, whose channel order in TensorRT differs from torch's.
Inputs whose sides are no multiple of the network's are padded in the graph and the result is cropped, as in `AnySize`.
"""

import copy
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer.export.source import Source
from trainer.mistakes import Failure, Mistake
from trainer.networks import Generator, SpandrelNetwork
from trainer.networks.foreign import ForeignNetwork
from trainer.networks.loading.generators import bands_of, multiple_of, scale_of
from trainer.networks.zoo.generator import settled

OPSET = 18
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_onnx(dtype: torch.dtype) -> None:
    """Raise Mistake if packages for ONNX are missing here, or ONNX Runtime cannot check `dtype`."""
    if absent := [package for package in PACKAGES if find_spec(package) is None]:
        raise Mistake(
            f"--to: onnx needs {', '.join(absent)}, not installed here; pip install 'wildsr[export]' adds it."
        )
    if dtype == torch.bfloat16:
        raise Mistake(
            "--dtype: onnx can be float32 or float16; ONNX Runtime has no bfloat16 convolution to check with."
        )


def write_onnx(source: Source, dtype: torch.dtype, file: Path) -> None:
    """Trace the network into `file`: `input` [batch, C, height, width] to `output`, both of `dtype`.

    Raises Failure if torch cannot trace it, such as a foreign network with data-dependent control flow or a fixed size.
    """
    net = copy.deepcopy(source.net).half() if dtype == torch.float16 else source.net
    multiple = multiple_of(net)
    least = net.least if isinstance(net, SpandrelNetwork) else 1  # windows cannot be padded by reflection below it
    fewest = max(8, -(-least // multiple))
    example = torch.zeros(2, bands_of(net), fewest * multiple, (fewest + 4) * multiple, dtype=dtype)
    sides = [torch.export.Dim(name, min=-(-least // multiple)) for name in ("height", "width")]
    height, width = (multiple * side for side in sides) if multiple > 1 else sides
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    logger.setLevel(logging.ERROR)  # else it lists every missing operator of torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its internals
        try:
            program = torch.onnx.export(
                _traceable(net),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch"), 2: height, 3: width},),
            )
        except Exception as error:  # any class, of network, tracer or exporter; the cause comes last
            cause = error.__cause__ or error
            reason = str(cause).strip().splitlines() or [""]
            raise Failure(
                f"{file.name} cannot be made: torch does not trace the network for any size "
                f"({type(cause).__name__}: {reason[0]})"
            ) from error
    assert program is not None, "torch.onnx.export returns a program where dynamo is true"
    model = program.model_proto
    if multiple > 1:
        _take_any_size(model.graph, multiple, scale_of(net))
    _name_sizes(model.graph, scale_of(net))
    for key, value in {**source.facts(), "input_multiple": "1", "padded_to_multiple": str(multiple)}.items():
        model.metadata_props.add(key=key, value=value)
    file.write_bytes(model.SerializeToString())


def _traceable(net: Generator) -> nn.Module:
    """The module to trace: a wrapper's forward takes any number of inputs, and may look at their sizes."""
    if isinstance(net, SpandrelNetwork):
        return settled(net)
    return net.net if isinstance(net, ForeignNetwork) else net


def results_of_onnx(source: Source, dtype: torch.dtype, file: Path, pictures: list[Tensor]) -> list[Tensor]:  # noqa: ARG001
    """Outputs of the file for `pictures`, computed by ONNX Runtime on the CPU, float32.

    Raises Failure if it cannot run the graph at their sizes, as one whose tracer took a size for fixed.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        outputs = [session.run(["output"], {"input": picture.to(dtype).numpy()})[0] for picture in pictures]
    except Exception as error:  # onnxruntime's own classes, which have no common base but this
        reason = " ".join(str(error).split())[:200]
        raise Failure(f"{file.name} does not run in ONNX Runtime for pictures of any size: {reason}") from error
    return [torch.from_numpy(output.astype(np.float32)) for output in outputs]


def _take_any_size(graph: Any, multiple: int, scale: int) -> None:
    """Add nodes that pad the input to a `multiple` by its last row and column, and crop the output.

    They are put around the finished graph, for torch cannot trace a size modulo a number.
    """
    from onnx import helper, numpy_helper

    def node_of(kind: str, name: str, *inputs: str, **options: Any) -> Any:
        return helper.make_node(kind, inputs, [name], name, **options)

    for node in graph.node:
        node.input[:] = ["padded" if name == "input" else name for name in node.input]
        node.output[:] = ["whole" if name == "output" else name for name in node.output]
    numbers = {"less": multiple - 1, "multiple": multiple, "scale": scale}
    lists = {"no_pads": [0] * 6, "corner": [0, 0], "axes": [2, 3]}
    for name, value in {**{name: [number] for name, number in numbers.items()}, **lists}.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"size_{name}"))
    before = [
        node_of("Shape", "size_given", "input", start=2, end=4),
        node_of("Add", "size_above", "size_given", "size_less"),
        node_of("Div", "size_parts", "size_above", "size_multiple"),
        node_of("Mul", "size_padded", "size_parts", "size_multiple"),
        node_of("Sub", "size_added", "size_padded", "size_given"),
        node_of("Concat", "size_pads", "size_no_pads", "size_added", axis=0),
        node_of("Pad", "padded", "input", "size_pads", mode="edge"),
    ]
    after = [
        node_of("Mul", "size_wanted", "size_given", "size_scale"),
        node_of("Slice", "output", "whole", "size_corner", "size_wanted", "size_axes"),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _name_sizes(graph: Any, scale: int) -> None:
    """Name the dynamic sizes: batch, height and width of the input, and multiples of them for the output."""
    del graph.value_info[:]  # inferred shapes under the exporter's names; every runtime infers them again
    for value, factor in ((graph.input[0], ""), (graph.output[0], f"{scale}*")):
        for axis, name in ((0, "batch"), (2, f"{factor}height"), (3, f"{factor}width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
