"""From clean pictures to training pairs, on the device: sharpen, degrade, cut."""

from dataclasses import dataclass

import torch
from torch import Tensor

from degradations.crops import draw_crops, paired_crop
from degradations.draws import Keys
from degradations.parse import Degradation
from degradations.pipeline import PipelineRecipe
from degradations.second_order import Recipe
from degradations.sharpen import usm_sharpen
from trainer.quality import to_uint8

AnyRecipe = Recipe | PipelineRecipe


@dataclass(frozen=True, slots=True)
class Pairs:
    """Low-quality patches and their ground truth, of 8 bits per band as any low-quality file and any photograph is."""

    lq: Tensor
    """uint8 [b, C, h, w]."""
    gt: Tensor
    """uint8 [b, C, scale*h, scale*w]."""
    positions: Tensor
    """int64 [b]: where in the stream each was made; with the seed, the recipe of its degradation."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """How pairs are made. A pair is a function of the seed, the position and the clean picture, and of nothing else."""

    degradation: Degradation
    seed: int
    scale: int
    gt_size: int
    gt_usm: bool
    """Sharpen the photograph, and take that for the ground truth."""
    degrade_gt_usm: bool = False
    """Sharpen the photograph for the degradation alone."""

    @torch.no_grad()
    def pairs(self, pictures: Tensor, positions: Tensor) -> Pairs:
        """Pairs from clean crops uint8 [b, C, H, W] at stream positions int64 [b].

        Pictures may be on any device. The draws are made where the positions are: on the CPU, as they come, no device
        waits for them.
        """
        clean = pictures.float() / 255
        sharp = usm_sharpen(clean) if self.gt_usm or self.degrade_gt_usm else clean
        clean = sharp if self.gt_usm else clean
        keys = Keys(self.seed, positions)
        lq = self.applied(sharp, self.recipe(keys, clean))
        side = self.gt_size // self.scale
        top, left = draw_crops(keys, lq.shape[-2], lq.shape[-1], side)
        lq, gt = paired_crop(lq, clean, top, left, side, self.scale)
        return Pairs(to_uint8(lq), to_uint8(gt), positions.to(lq.device, non_blocking=True))

    def recipe(self, keys: Keys, pictures: Tensor) -> AnyRecipe:
        """What the degradation does to pictures [..., H, W] with these keys."""
        return self.degradation.draw(keys, pictures.shape[-2], pictures.shape[-1], self.scale)

    def applied(self, pictures: Tensor, recipe: AnyRecipe) -> Tensor:
        """LQ float [b, C, H/scale, W/scale] of clean pictures float [b, C, H, W] in [0, 1], by a recipe drawn here."""
        return self.degradation.apply(pictures, recipe)  # type: ignore[arg-type]  # each takes the recipes it draws

    @torch.no_grad()
    def degrade(self, picture: Tensor, seed: int, position: int) -> tuple[Tensor, AnyRecipe]:
        """The LQ uint8 [C, H/scale, W/scale] of a whole picture uint8 [C, H, W], unsharpened, and its recipe."""
        keys = Keys(seed, torch.tensor([position]))
        recipe = self.recipe(keys, picture)
        return to_uint8(self.applied(picture[None].float() / 255, recipe))[0], recipe
