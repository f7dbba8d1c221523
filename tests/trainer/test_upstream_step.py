"""Real-ESRGAN's optimizer step, written by hand from its source, against the models of this trainer.

`realesrgan/models/realesrgan_model.py` and `realesrnet_model.py`, `optimize_parameters`; `basicsr/losses/gan_loss.py`.
The perceptual loss has tests of its own, in tests/trainer/losses.
"""

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degradations.operations.sharpen import usm_sharpen
from trainer import RealESRGANModel, RealESRNetModel
from trainer.networks.layers.spectral_norm import SpectralConv2d

pytestmark = pytest.mark.usefixtures("fresh_accelerate")
ADAM = {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]}
OPT: dict[str, Any] = {
    "scale": 2,
    "gt_size": 32,
    "queue_size": 0,
    "high_order_degradation": False,
    "network_g": {"type": "RRDBNet", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
}
STEPS = 3


def batch(step: int) -> dict[str, Tensor]:
    """Given pairs, of 8 bits as files have them."""
    generator = torch.Generator().manual_seed(step)
    levels = {"lq": (2, 3, 16, 16), "gt": (2, 3, 32, 32)}
    return {name: torch.randint(0, 256, size, generator=generator) / 255 for name, size in levels.items()}


def adam(net: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.99))


def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """BasicSR's `model_ema`."""
    for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
        slow.data.mul_(decay).add_(fast.data, alpha=1 - decay)


def power_iteration(net: nn.Module) -> None:
    """One step of torch's `spectral_norm` for each layer: v = W^T u / |.|, u = W v / |.|."""
    for layer in (layer for layer in net.modules() if isinstance(layer, SpectralConv2d)):
        matrix = layer.weight_orig.detach().flatten(1)
        layer.weight_v.copy_(F.normalize(matrix.T @ layer.weight_u, dim=0, eps=1e-12))
        layer.weight_u.copy_(F.normalize(matrix @ layer.weight_v, dim=0, eps=1e-12))


def bce(logits: Tensor, real: bool) -> Tensor:
    """GANLoss of type vanilla, with labels 1 and 0."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, one), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def assert_same_moments(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer, pairs: Any) -> None:
    """Adam's two moments of each parameter: `ours` groups parameters otherwise."""
    for one, other in pairs:
        for moment in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(ours.state[one][moment], theirs.state[other][moment], rtol=0, atol=1e-6)


def test_realesrgan_takes_upstreams_step() -> None:
    """L1 aims at sharpened targets; the discriminator judges plain ones, and the results from before the generator's
    step. Upstream's spectral norm iterates at each forward pass of the discriminator, three times a step; here once a
    step, before the discriminator's, so that ranks and micro-batches do not enter."""
    train = {
        "ema_decay": 0.9, "optim_g": ADAM, "optim_d": ADAM, "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1}, "total_iter": 10,
    }  # fmt: skip
    network_d = {"type": "UNetDiscriminatorSN", "num_feat": 4}
    model = RealESRGANModel({**OPT, "l1_gt_usm": True, "gan_gt_usm": False, "network_d": network_d, "train": train})
    assert model.net_d is not None
    net_g, net_d = deepcopy(model.net_g), deepcopy(model.net_d)
    average = deepcopy(net_g)
    optimizer_g, optimizer_d = adam(net_g), adam(net_d)
    for step in range(1, STEPS + 1):
        data = batch(step)
        gt_usm = usm_sharpen(data["gt"])
        # the generator's step, with the discriminator frozen
        net_d.requires_grad_(False)
        output = net_g(data["lq"])
        loss = F.l1_loss(output, gt_usm) + 0.1 * bce(net_d(output), real=True)
        optimizer_g.zero_grad()
        loss.backward()
        optimizer_g.step()
        # the discriminator's
        net_d.requires_grad_(True)
        power_iteration(net_d)
        optimizer_d.zero_grad()
        real = bce(net_d(data["gt"]), real=True)
        real.backward()
        fake = bce(net_d(output.detach()), real=False)
        fake.backward()
        optimizer_d.step()
        follow(average, net_g, 0.9) if step > 1 else average.load_state_dict(net_g.state_dict())

        model.feed_data(data)
        log = model.optimize_parameters(step)
        assert log["training/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
        assert log["discriminator/loss_real"].item() == pytest.approx(real.item(), rel=1e-5)
        assert log["discriminator/loss_fake"].item() == pytest.approx(fake.item(), rel=1e-5)
        assert_same(model.net_g, net_g)
        assert_same(model.net_d, net_d)
        assert model.discriminator is not None
        for learner, net, optimizer in (
            (model.generator, net_g, optimizer_g),
            (model.discriminator, net_d, optimizer_d),
        ):
            together = zip(learner.net.parameters(), net.parameters(), strict=True)
            assert_same_moments(learner.optimizer.optimizer, optimizer, together)
        assert_same(model.net_g_ema, average)


def test_realesrnet_takes_upstreams_step() -> None:
    """L1 alone, on the ground truth itself, which `gt_usm` has sharpened and rounded to 8 bits."""
    train = {"ema_decay": 0.9, "optim_g": ADAM, "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0}, "total_iter": 10}
    model = RealESRNetModel({**OPT, "gt_usm": True, "train": train})
    net_g, average = deepcopy(model.net_g), deepcopy(model.net_g)
    optimizer = adam(net_g)
    for step in range(1, STEPS + 1):
        data = batch(step)
        sharpened = (usm_sharpen(data["gt"]).clamp(0, 1) * 255).round() / 255
        optimizer.zero_grad()
        loss = F.l1_loss(net_g(data["lq"]), sharpened)
        loss.backward()
        optimizer.step()
        model.feed_data(data)
        assert model.gt is not None
        torch.testing.assert_close(model.gt, sharpened)
        assert model.optimize_parameters(step)["training/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
        follow(average, net_g, 0.9) if step > 1 else average.load_state_dict(net_g.state_dict())
        assert_same(model.net_g, net_g)
        assert_same(model.net_g_ema, average)
