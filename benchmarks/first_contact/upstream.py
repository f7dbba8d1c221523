"""Part 6: Real-ESRGAN's own step in float32 as it ships, with and without its degradation, on the same card.

With the folder of basicsr's source its networks and losses are used, unmodified; only what they import and do not need
here is replaced, and VGG19's weights are random. Without it, this trainer's networks stand in for them, and the rows
say so.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from first_contact.measuring import milliseconds, peak_gib, synchronise, wall
from first_contact.record import value_of
from first_contact.setting import GAN, Setting

WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}


def root_of(folder: Path | None) -> Path | None:
    """The folder with the package `basicsr` of 1.4.2, in `folder` or one below it."""
    if folder is None:
        return None
    found = sorted(file.parents[2] for file in folder.glob("**/basicsr/archs/rrdbnet_arch.py"))
    if not found:
        raise FileNotFoundError(f"{folder} holds no basicsr/archs/rrdbnet_arch.py: unpack basicsr's source there")
    return found[0]


def load(root: Path) -> SimpleNamespace:
    """Upstream's classes: its modules are imported, its packages' `__init__`, which import all else, are not."""

    def module(name: str, **content: Any) -> None:
        sys.modules[name] = made = types.ModuleType(name)
        vars(made).update(content)

    for name in ("basicsr", "basicsr.archs", "basicsr.losses", "basicsr.utils", "basicsr.ops"):
        module(name, __path__=[str(root / name.replace(".", "/"))])
    vars(sys.modules["basicsr.utils"]).update(get_root_logger=None)
    module("basicsr.ops.dcn", ModulatedDeformConvPack=object, modulated_deform_conv=None)
    module("distutils")
    module("distutils.version", LooseVersion=str)
    module("torchvision", __version__="0")
    module("torchvision.models")
    module("torchvision.models.vgg", vgg19=lambda **_: SimpleNamespace(features=vgg19()))
    sys.modules["torchvision.models"].vgg = sys.modules["torchvision.models.vgg"]  # type: ignore[attr-defined]
    archs, losses = "basicsr.archs.", "basicsr.losses."
    return SimpleNamespace(
        generator=importlib.import_module(archs + "rrdbnet_arch").RRDBNet,
        critic=importlib.import_module(archs + "discriminator_arch").UNetDiscriminatorSN,
        l1=importlib.import_module(losses + "basic_loss").L1Loss,
        perceptual=importlib.import_module(losses + "basic_loss").PerceptualLoss,
        gan=importlib.import_module(losses + "gan_loss").GANLoss,
    )


def vgg19() -> nn.Sequential:
    """torchvision's VGG19 without its classifier, of random weights."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Theirs:
    """`realesrgan_model.py`: its networks, losses and optimizers, and its `optimize_parameters`."""

    def __init__(self, lib: SimpleNamespace, device: torch.device, tiny: bool) -> None:
        sizes = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4} if tiny else {}
        self.net_g = lib.generator(num_in_ch=3, num_out_ch=3, scale=4, **sizes).to(device)
        self.net_g_ema = lib.generator(num_in_ch=3, num_out_ch=3, scale=4, **sizes).to(device).eval()
        self.net_d = lib.critic(num_in_ch=3, num_feat=4 if tiny else 64, skip_connection=True).to(device)
        self.cri_pix = lib.l1(loss_weight=1.0, reduction="mean").to(device)
        self.cri_perceptual = lib.perceptual(dict(WEIGHTS), perceptual_weight=1.0, criterion="l1").to(device)
        self.cri_gan = lib.gan("vanilla", loss_weight=0.1).to(device)
        adam = {"lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
        self.optimizer_g = torch.optim.Adam(self.net_g.parameters(), **adam)
        self.optimizer_d = torch.optim.Adam(self.net_d.parameters(), **adam)

    def step(self, lq: Tensor, gt: Tensor, gt_usm: Tensor) -> None:
        """`optimize_parameters` with the options of `train_realesrgan_x4plus.yml`."""
        for p in self.net_d.parameters():
            p.requires_grad = False
        self.optimizer_g.zero_grad()
        output = self.net_g(lq)
        total = self.cri_pix(output, gt_usm) + self.cri_perceptual(output, gt_usm)[0]
        total += self.cri_gan(self.net_d(output), True, is_disc=False)
        total.backward()
        self.optimizer_g.step()
        for p in self.net_d.parameters():
            p.requires_grad = True
        self.optimizer_d.zero_grad()
        self.cri_gan(self.net_d(gt), True, is_disc=True).backward()
        self.cri_gan(self.net_d(output.detach().clone()), False, is_disc=True).backward()
        self.optimizer_d.step()
        slow = dict(self.net_g_ema.named_parameters())
        for name, value in self.net_g.named_parameters():
            slow[name].data.mul_(0.999).add_(value.data, alpha=0.001)


def stand_ins() -> SimpleNamespace:
    """This trainer's networks and losses in the places of upstream's, with its layout, precision and settings."""
    from random_vgg import random_vgg

    from trainer.losses.adversarial import AdversarialLoss
    from trainer.losses.perceptual import PerceptualDistance, PerceptualLoss
    from trainer.losses.vgg import VGG19Features
    from trainer.networks.rrdb import RRDBNet
    from trainer.networks.unet_discriminator import UNetDiscriminatorSN

    class Perceptual(nn.Module):
        def __init__(self, layer_weights: dict[str, float], **_: Any) -> None:
            super().__init__()
            self.distance = PerceptualDistance(VGG19Features(random_vgg(64), layer_weights), PerceptualLoss())

        def forward(self, x: Tensor, gt: Tensor) -> tuple[Tensor, None]:
            return self.distance(x, gt)["perceptual"], None

    class Gan(nn.Module):
        def __init__(self, _: str, loss_weight: float) -> None:
            super().__init__()
            self.weight, self.loss = loss_weight, AdversarialLoss()

        def forward(self, logits: Tensor, real: bool, is_disc: bool) -> Tensor:
            label = torch.full_like(logits, float(real))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, label)
            return loss if is_disc else self.weight * loss

    return SimpleNamespace(
        generator=RRDBNet,
        critic=UNetDiscriminatorSN,
        l1=lambda **_: nn.L1Loss(),
        perceptual=Perceptual,
        gan=Gan,
    )


@contextmanager
def as_shipped() -> Iterator[None]:
    """PyTorch's numerics as upstream's `train.py` leaves them: TF32 in convolutions, cuDNN's timed choice."""
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True


def upstream(setting: Setting) -> None:
    """Part 6: images a second of upstream's step, without and with its degradation, and the ratio to the trainer's."""
    root = root_of(setting.upstream)
    lib = load(root) if root else stand_ins()
    label = "upstream" if root else "upstream's settings on this trainer's networks"
    side, device = setting.sized(64, 8), setting.device
    with as_shipped():
        theirs = Theirs(lib, device, setting.tiny)
        for batch in (12, 48) if not setting.tiny else (2,):
            row = f"{label}, batch {batch}"
            lq = torch.rand(batch, 3, side, side, device=device)
            gt = torch.rand(batch, 3, 4 * side, 4 * side, device=device)
            try:
                measure(setting, theirs, row, (lq, gt, gt.clone()))
            except torch.OutOfMemoryError as error:
                setting.record.add("upstream", row, failed=str(error)[:90])
        del theirs
        if root is None:
            setting.record.add("left out", "upstream's degradation", reason="needs --upstream")
            return
        degradation(setting, root, batch)


def measure(setting: Setting, theirs: Theirs, row: str, pictures: tuple[Tensor, Tensor, Tensor]) -> None:
    """Record the speed of the step on fixed pairs."""
    batch = len(pictures[0])
    for _ in range(setting.sized(3, 1)):
        theirs.step(*pictures)
    peak_gib(setting.device)
    seconds = wall(lambda: theirs.step(*pictures), setting.sized(6, 1), setting.device)
    setting.record.add("upstream", row, images_s=batch / seconds, ms=1e3 * seconds, peak_GiB=peak_gib(setting.device))
    setting.record.add("upstream", row, **setting.share(GAN, batch / seconds, "TF32"))
    ours = value_of(setting.record.file, "the trainer", f"{GAN}, {batch} x 1", "images_s")
    if ours:
        setting.record.add("upstream", row, trainer_is_times_as_fast=ours * seconds / batch)


def degradation(setting: Setting, root: Path, batch: int) -> None:
    """Milliseconds of upstream's degradation of a batch, which its step waits for; without its kernels' drawing."""
    try:
        from degradation_sides import Clock, load_basicsr, pictures, their_batch

        lib = load_basicsr(root, setting.device.type)
    except ImportError as error:  # SciPy
        setting.record.add("left out", "upstream's degradation", reason=f"{error}"[:90])
        return
    gt, clock = pictures(batch, setting.sized(400, 64)).to(setting.device), Clock("cpu")
    with torch.no_grad():
        whole = milliseconds(lambda: their_batch(lib, gt, Clock("cpu")), setting.sized(5, 1), setting.device)
        synchronise(setting.device)
        their_batch(lib, gt, clock)
    drawn = 1e3 * clock.spent["kernels"]  # by workers of its loader, in its training
    setting.record.add("upstream", f"its degradation, batch {batch}", ms=whole - drawn, host_ms_of_kernels=drawn)
