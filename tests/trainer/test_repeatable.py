"""Operations of a training step, forward and backward, against those that PyTorch documents as not repeatable on a GPU.

The list is that of `torch.use_deterministic_algorithms` (PyTorch 2.13), by the names of ATen's operations: those that
raise there, and those that have another, slower algorithm there, which is not in use here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.driving import Driver
from tests.trainer.losses.test_losses_perceptual import tiny_vgg
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.lifecycle.assemble import assemble

UNREPEATABLE = {
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "_ctc_loss_backward", "_embedding_bag_backward",
    "adaptive_max_pool2d_backward", "avg_pool3d_backward", "bincount", "cumsum", "embedding_dense_backward",
    "fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "grid_sampler_2d_backward", "histc",
    "grid_sampler_3d_backward", "index_add", "index_add_", "kthvalue", "max_pool3d_with_indices_backward", "median",
    "max_unpool2d", "nll_loss2d_forward", "put_", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "replication_pad1d_backward", "replication_pad2d_backward",
    "replication_pad3d_backward", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_",
    "upsample_bicubic2d_backward", "upsample_bilinear2d_backward", "upsample_linear1d_backward",
    "upsample_trilinear3d_backward",
}  # fmt: skip
SMALL = (
    "validation=null",
    "telemetry.report_to=none",
    "queue_size=0",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "gt_size=64",
    "images.crop_size=64",
    "l1_gt_usm=true",
    "gt_usm=false",
)
GAME = "adversarial={discriminator: {type: %s}, r1: {gamma: 1.0, interval: 1}}"
EVERY_LOSS = (
    "losses.ms_ssim={scales: 1}",
    "losses.focal_frequency={}",
    "losses.gradient={}",
    "losses.colour={}",
    "losses.luma={}",
    "losses.ldl={}",
    "losses.tv={weight: 0.1}",
)


class Recorder(TorchDispatchMode):
    """The names of all operations, of backward passes too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.accumulating = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.names.add(name)
        if name in ("index_put", "index_put_", "_index_put_impl_") and len(args) > 3 and args[3]:
            self.accumulating += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def record(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Callable[..., Recorder]:  # noqa: ARG001
    """What two steps of a tiny run with the overrides did."""

    def run(*overrides: str) -> Recorder:
        config = tiny(*SMALL, *overrides)
        x = assemble(config, make_accelerator(config))
        driver = Driver(x)
        driver.step()
        with Recorder() as recorder:
            driver.step()
        assert "convolution_backward" in recorder.names  # backward passes are seen
        return recorder

    return run


RRDB = "generator={type: RRDBNet, num_feat: 4, num_block: 1, num_grow_ch: 4}"
SRRESNET = "generator={type: SRResNet, n_channels: 4, n_blocks: 1}"
SHUFFLE = "generator={type: ShuffleRRDBNet, n_channels: 4, n_blocks: 1, growth_channels: 2}"
SRVGG = "generator={type: SRVGGNetCompact, num_feat: 4, num_conv: 1}"


@pytest.mark.parametrize(
    "overrides",
    [
        (RRDB, GAME % "UNetDiscriminatorSN, num_feat: 4"),
        (SRRESNET, GAME % "SRGANDiscriminator, num_feat: 2, linear_size: 4"),
        (SHUFFLE, GAME % "PatchDiscriminator, num_feat: 4", "losses.feature_matching={weight: 0.1}"),
        (SRVGG, "gt_size=128", "images.crop_size=128", GAME % "VGGStyleDiscriminator, num_feat: 4"),
        (SRVGG, *EVERY_LOSS),
    ],
    ids=["unet", "srgan", "patch", "vgg", "losses"],
)
def test_a_step_has_no_operation_that_a_gpu_does_not_repeat(
    overrides: tuple[str, ...], record: Callable[..., Recorder], tmp_path: Path
) -> None:
    torch.save(tiny_vgg("conv2_2"), tmp_path / "vgg.pth")
    perceptual = f"{{type: vgg, weights: '{tmp_path}/vgg.pth', layer_weights: {{conv1_2: 1.0, conv2_2: 1.0}}}}"
    contextual = f"{{weights: '{tmp_path}/vgg.pth', layer_weights: {{conv2_2: 1.0}}}}"
    found = record(*overrides, f"losses.perceptual={perceptual}", f"losses.contextual={contextual}")
    assert not found.names & UNREPEATABLE
    assert not found.accumulating
