"""The setting of the parts: device, sizes, photographs, weights, configurations, and the files that others wait for."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from first_contact.record import Record, value_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GAN, NET = "realesrgan_x4plus", "realesrnet_x4plus"
PHOTOGRAPHS = 64

TINY = (
    "gt_size=32", "images.crop_size=48", "queue_size=4", "generator.num_feat=8", "generator.num_block=1",
    "generator.num_grow_ch=4", "mixed_precision=no",
)  # fmt: skip
TINY_GAME = ("adversarial.discriminator.num_feat=4",)


@dataclass(frozen=True)
class Setting:
    """What a part is given."""

    out: Path
    """Folder of the results."""
    scratch: Path
    """Folder of pictures and runs, removed in the end."""
    record: Record
    tiny: bool = False
    """A rehearsal on a CPU."""
    interpret: bool = False
    """Triton's kernels run in its interpreter in a rehearsal."""
    upstream: Path | None = None
    variant: str = ""
    deadline: float = float("inf")
    """When the part is killed, by `time.monotonic`."""

    @property
    def device(self) -> torch.device:
        """The GPU; the CPU in a rehearsal."""
        return torch.device("cpu") if self.tiny else torch.device("cuda", 0)

    @property
    def fused(self) -> bool:
        """True if the fused kernels can run here."""
        return not self.tiny or self.interpret

    def left(self) -> float:
        """Seconds until the part is killed."""
        return self.deadline - time.monotonic()

    def sized(self, full: int, tiny: int) -> int:
        """A size of the measurement, or that of the rehearsal."""
        return tiny if self.tiny else full

    def needs_cuda(self, what: str) -> bool:
        """True in a rehearsal, which leaves `what` out with a line."""
        if self.tiny:
            self.record.add("left out", what, reason="needs CUDA")
        return self.tiny

    def config(self, recipe: str, batch: int, per_device: int, name: str, *overrides: str) -> Any:
        """A shipped configuration on the photographs of this program, without validation and trackers."""
        game = recipe == GAN
        workers = 0 if self.tiny else min(8, os.cpu_count() or 1)
        given = [
            f"output_dir={self.scratch / 'runs'}", f"name={name}", f"images.source.path={self.photographs()}",
            f"batch.global_size={batch}", f"batch.per_device={per_device}", "validation=null",
            "telemetry.report_to=none", "telemetry.report_steps=1000000", "checkpoints.checkpointing_steps=1000000",
            f"images.dataloader_num_workers={workers}",
        ]  # fmt: skip
        if game:
            given += ["init.generator=null", f"losses.perceptual.weights={self.waited_for(self.scratch / VGG)}"]
        return self.shipped(recipe, *given, *overrides)

    def shipped(self, recipe: str, *overrides: str) -> Any:
        """A shipped configuration with overrides; with tiny networks and pictures in a rehearsal."""
        from trainer.config.loader import load_config
        from trainer.config.schema import RunConfig

        tiny = (*TINY, *(TINY_GAME if recipe == GAN else ())) if self.tiny else ()
        return load_config(RunConfig, CONFIGS / f"{recipe}.yaml", [*tiny, *overrides])

    def photographs(self) -> Path:
        """The folder of photographs, once they are there."""
        self.waited_for(self.scratch / READY)
        return self.scratch / "photographs"

    def waited_for(self, file: Path, limit: float = 60.0) -> Path:
        """A file that the preparation makes; TimeoutError if it does not come."""
        end = time.monotonic() + limit
        while not file.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"the preparation has not made {file.name} in {limit:.0f} s")
            time.sleep(0.05)
        return file

    def share(self, recipe: str, images: float, precision: str = "bf16") -> dict[str, float]:
        """The share of the measured speed of a large matrix product that so many images a second are; none before it.

        Of counted operations: convolutions and products of the trainer's step.
        """
        ceiling = value_of(self.record.file, "ceilings", f"matrix product, {precision}", "TFLOP_s")
        if not ceiling:
            return {}
        try:
            counts = self.waited_for(self.out / FLOPS, min(30.0, self.left() / 3))
        except TimeoutError as error:
            self.record.add("left out", "the share of the ceiling", reason=f"{error}")
            return {}
        flops = json.loads(counts.read_text("utf-8"))[recipe]
        return {"share_of_ceiling": images * flops / ceiling / 1e12}


VGG, READY, FLOPS = "vgg.safetensors", "photographs.ready", "flops.json"


def prepare(setting: Setting) -> None:
    """Make the photographs and VGG19's weights, then count the operations of a step: beside the first parts."""
    from degradation_sides import pictures
    from PIL import Image
    from random_vgg import random_vgg
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    folder = setting.scratch / "photographs"
    folder.mkdir()
    count, side = setting.sized(PHOTOGRAPHS, 4), setting.sized(480, 64)
    for number in range(0, count, 4):
        for offset, picture in enumerate((pictures(4, side) * 255).to(torch.uint8).roll(7 * number, -1)):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(
                folder / f"{number + offset:03}.png", compress_level=1
            )
    (setting.scratch / READY).touch()
    save_file(random_vgg(setting.sized(64, 4)), setting.scratch / f"{VGG}.part")
    (setting.scratch / f"{VGG}.part").rename(setting.scratch / VGG)
    if not (setting.out / FLOPS).exists():
        write(setting.out / FLOPS, count_flops(setting))


def write(file: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content), "utf-8")
    part.rename(file)


def count_flops(setting: Setting) -> dict[str, float]:
    """Operations of convolutions and products of a training step for one pair: the trainer's, on fake tensors."""
    from memory_and_hours import counted

    found: dict[str, float] = {}
    for recipe in (GAN, NET) if not setting.tiny else (NET,):
        config = setting.config(recipe, 2, 2, "counted")
        found[recipe] = counted(replace(config, mixed_precision="no"), 2).flops / 2
    return {GAN: 1.0} | found  # of a rehearsal, which counts one


Work = Callable[[Setting], None]
