"""Mistakes of a program that uses the models: each is one sentence, and nothing is half done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.program import SMALL, Doubling, Judge, pictures
from trainer import Mistake, RealESRGANModel, RealESRNetModel
from trainer.config.schema import RunConfig

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


class Uncopied(Doubling):
    def __deepcopy__(self, _: Any) -> Any:
        raise TypeError("it holds a file")


@pytest.mark.parametrize(
    ("opt", "said"),
    [
        (3, "opt: got int; must be a dict of options, a RunConfig, or the path of a YAML"),
        ({**SMALL, "scale": "4"}, "scale: got '4'; must be a whole number"),
        ({**SMALL, "resize_range": "wide"}, "resize_range"),
        ({"name": "a", "scale": 2}, "gt_size: must be given"),
        ({**SMALL, "network_g": {"type": "EDSR"}}, "network_g.type: got EDSR; wanted RRDBNet or SRVGGNetCompact"),
        ({"name": "a", "max_train_steps": 1, "adversarial": {}}, "has no discriminator, and there is an adversarial"),
        ("absent.yaml", "absent.yaml"),
        ({**SMALL, "datasets": "x"}, "datasets: got str; must be a dict of options"),
        ({**SMALL, "datasets": {"train": 3}}, "datasets.train: got int; must be a dict of options"),
    ],
)
def test_options_that_are_wrong_are_one_sentence(opt: Any, said: str) -> None:
    with pytest.raises(Mistake) as caught:
        RealESRNetModel(opt)
    assert said in str(caught.value)


def test_a_model_with_a_discriminator_needs_a_section_for_it(tiny: Callable[..., RunConfig]) -> None:
    with pytest.raises(Mistake, match="RealESRGANModel: there is no adversarial section for it"):
        RealESRGANModel(tiny())
    with pytest.raises(Mistake, match="net_d: there is no adversarial section for it"):
        RealESRNetModel(tiny(), net_d=Judge())
    with pytest.raises(Mistake, match=r"net_g cannot be copied, as its average needs: TypeError: it holds a file"):
        RealESRNetModel(SMALL, net_g=Uncopied())
    with pytest.raises(Mistake, match=r"net_g: got str; must be a torch.nn.Module"):
        RealESRNetModel(tiny(), net_g="RRDBNet")  # type: ignore[arg-type]
    with pytest.raises(Mistake, match=r"generator: net_g makes \[1, 1, 14, 14\] of an input of \[1, 3, 16, 16\]"):
        RealESRNetModel(SMALL, net_g=Judge())


def test_an_own_module_must_be_one_that_learns_and_is_tried_at_the_size_of_training() -> None:
    for wrapped in (nn.DataParallel(Doubling()), torch.compile(Doubling(), backend="eager")):
        with pytest.raises(Mistake, match=r"net_g: got .*; give the module inside"):
            RealESRNetModel(SMALL, net_g=wrapped)
    with pytest.raises(Mistake, match="net_g: got Upsample without a parameter that learns"):
        RealESRNetModel(SMALL, net_g=nn.Upsample(scale_factor=2))
    assert RealESRNetModel({**SMALL, "gt_size": 64}, net_g=Whole()).net_g(pictures(1, 32)).shape[-1] == 64
    with pytest.raises(Mistake, match=r"fails on an input of \[1, 3, 16, 16\]: RuntimeError: 16"):
        RealESRNetModel(SMALL, net_g=Whole())


class Whole(Doubling):
    """One that takes sides that are multiples of 32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 32:
            raise RuntimeError(str(x.shape[-1]))
        return super().forward(x)


KERNEL = torch.full((2, 5, 5), 1 / 25)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (torch.zeros(2, 3, 48, 48), "data: got Tensor; must be a dict with `gt`, `lq` or both"),
        ({}, "data: must have `gt`, `lq` or both"),
        ({"hq": pictures()}, "data: got hq; known are gt, lq, kernel1, kernel2, sinc_kernel, gt_path, lq_path"),
        ({"gt": "photo.png"}, r"data\['gt'\]: got str; must be a tensor \[b, 3, H, W\], float in \[0, 1\] or uint8"),
        ({"gt": pictures()[0]}, r"data\['gt'\]: got a tensor \[3, 48, 48\]"),
        ({"gt": pictures() * 255}, r"data\['gt'\]: got values from .* to 25"),
        ({"gt": pictures().half() * float("nan")}, r"data\['gt'\]: got values from nan to nan"),
        ({"gt": pictures().int()}, r"data\['gt'\]: got int32"),
        ({"gt": pictures(2, 30)}, r"data\['gt'\]: got 30x30; the sides must be at least gt_size, 32"),
        ({"gt": pictures(2, 49)}, r"data\['gt'\]: got 49x49; .* multiples of the scale, 2"),
        ({"gt": pictures(2, 32), "lq": pictures(2, 32)}, r"data\['lq'\]: got a tensor .*32, 32\]; .* \[2, 3, 16, 16\]"),
        ({"gt": pictures(2, 48), "lq": pictures(2, 24)}, r"data\['gt'\]: got 48x48; given pairs must be of gt_size"),
        ({"gt": pictures(), "kernel1": KERNEL[0]}, r"data\['kernel1'\]: got \[5, 5\]; must be a float tensor \[2"),
        ({"gt": pictures(), "kernel2": KERNEL[:, :4, :4]}, r"data\['kernel2'\]: got \[2, 4, 4\]; kernels must be"),
        ({"gt": pictures(), "gt_path": 3}, r"data\['gt_path'\]: got int; must be a list of paths"),
        ({"gt": pictures().to_sparse()}, r"data\['gt'\]: got a tensor of layout sparse_coo"),
        ({"lq": pictures(), "sinc_kernel": KERNEL}, r"data\['sinc_kernel'\]: there is no `gt` to blur"),
    ],
)  # fmt: skip
def test_data_that_are_wrong_are_one_sentence_and_nothing_is_fed(data: Any, said: str) -> None:
    net = RealESRNetModel(SMALL)
    with pytest.raises(Mistake, match=said):
        net.feed_data(data)
    assert net.fed == []
    net.feed_data({"gt": pictures()})
    net.optimize_parameters(1)


def test_other_mistakes_of_a_program_are_one_sentence(tiny: Callable[..., RunConfig]) -> None:
    net = RealESRNetModel(SMALL)
    for number in (0, 1.0, "1", True):
        with pytest.raises(Mistake, match=r"current_iter: got .*; must be a whole number from 1 on"):
            net.optimize_parameters(number)  # type: ignore[arg-type]
    with pytest.raises(Mistake, match="test: feed_data was given no pictures yet"):
        net.test()
    with pytest.raises(Mistake, match="load_network: got 'net_d'; RealESRNetModel has net_g"):
        net.load_network(Judge(), "net_d")
    for origin in ({}, 3, None):
        with pytest.raises(Mistake, match=r"load_network: got \w+; must be a module, a path, or a name on the hub"):
            net.load_network(origin)  # type: ignore[arg-type]
    net.load_network(torch.compile(net.net_g, backend="eager"))
    with pytest.raises(Mistake, match="accelerator: got str; must be Accelerate's"):
        RealESRNetModel(SMALL, accelerator="cpu")  # type: ignore[arg-type]
    with pytest.raises(Mistake, match="accelerator: its mixed_precision is no, that of the options bf16"):
        RealESRNetModel(replace(net.config, mixed_precision="bf16"), accelerator=net.accelerator)
    with pytest.raises(
        Mistake, match=r"load_network\(net_g\): the module's tensors are not those of the network; they differ in "
    ):
        net.load_network(Judge())
    pipeline = RealESRNetModel(
        tiny("degradation={type: pipeline, steps: [{type: fit}]}", "queue_size=0", "validation=null")
    )
    with pytest.raises(Mistake, match=r"data\['kernel1'\]: degradation.type pipeline draws its own blur"):
        pipeline.feed_data({"gt": pictures(), "kernel1": KERNEL})
    with pytest.raises(Mistake, match="queue_size: the pool takes 4 pairs, and there were only 2 to fill it with"):
        RealESRNetModel({**SMALL, "queue_size": 4}).fill_pool([{"gt": pictures()}])
