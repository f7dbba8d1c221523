"""To training pairs, on the device: clean pictures are sharpened, degraded and cut; given pairs stay as they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from degradations.eligible import supports
from degradations.keyed_random import Keys
from degradations.operations.crops import draw_crops, paired_crop
from degradations.operations.sharpen import usm_sharpen
from degradations.parse import Degradation
from degradations.pipeline import PipelineRecipe
from degradations.second_order import SecondOrder, SecondOrderRecipe
from trainer.images.crops import GivenPairs, ImageBatch
from trainer.images.levels import bits, quantised, unit

AnyRecipe = SecondOrderRecipe | PipelineRecipe


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Low-quality patches and their ground truth: 8 bits a band as photographs have, 16 of reflectance."""

    lq: Tensor
    """uint8 or uint16 [b, C, h, w]."""
    gt: Tensor
    """The same type, [b, C, scale*h, scale*w]."""
    positions: Tensor
    """int64 [b]: where in the stream each was made; with the seed, the recipe of its degradation."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """The degradation of a run. A pair is a function of the seed, the position and the clean picture alone."""

    degradation: Degradation
    seed: int
    scale: int
    gt_size: int
    gt_usm: bool
    """Sharpen the photograph, and take that for the ground truth."""
    degrade_gt_usm: bool = False
    """Sharpen the photograph for the degradation alone."""

    @torch.no_grad()
    def from_batch(
        self, batch: ImageBatch, device: torch.device, kernels: Mapping[str, Tensor] | None = None
    ) -> PairBatch:
        """The pairs of a micro-batch, in its order, on `device`. `kernels`: see `synthesize`."""
        given = self.from_given(batch.given, batch.positions, device) if batch.given else None
        if batch.pixels is None:
            assert given is not None, "a batch has samples"
            return given
        pixels = batch.pixels.to(device, non_blocking=True)
        if batch.given is None or given is None:
            return self.synthesize(pixels, batch.positions, kernels)
        is_given = torch.zeros(len(batch.positions), dtype=torch.bool).index_fill_(0, batch.given.places, True)
        fresh = self.synthesize(pixels, batch.positions[~is_given])
        # where in (fresh, then given) each sample of the batch stands
        order = torch.argsort(torch.argsort(is_given.to(torch.int8), stable=True)).to(device, non_blocking=True)
        together = ((fresh.lq, given.lq), (fresh.gt, given.gt), (fresh.positions, given.positions))
        return PairBatch(*(torch.cat([bits(part) for part in parts])[order].view(parts[0].dtype) for parts in together))

    def from_given(self, given: GivenPairs, positions: Tensor, device: torch.device) -> PairBatch:
        """Given pairs on `device`, their ground truth sharpened where `gt_usm` asks for that."""
        gt = given.gt.to(device, non_blocking=True)
        if self.gt_usm:
            gt = quantised(usm_sharpen(unit(gt)), gt.dtype)
        lq = given.lq.to(device, non_blocking=True)
        return PairBatch(lq, gt, positions[given.places].to(device, non_blocking=True))

    @torch.no_grad()
    def synthesize(self, pictures: Tensor, positions: Tensor, kernels: Mapping[str, Tensor] | None = None) -> PairBatch:
        """Pairs from clean crops, uint8 or uint16 [b, C, H, W], at stream positions int64 [b].

        Pictures may be on any device. The draws are made where the positions are: on the CPU, as they come, no device
        waits for them. `kernels`, which need the two-order degradation, take the place of drawn ones: see
        `SecondOrderRecipe.with_kernels`.
        """
        if not kernels and supports(self.degradation, pictures):
            return self.synthesize_fused(pictures, positions)
        clean = unit(pictures)
        sharp = usm_sharpen(clean) if self.gt_usm or self.degrade_gt_usm else clean
        clean = sharp if self.gt_usm else clean
        keys = Keys(self.seed, positions)
        recipe = self.recipe(keys, clean)
        if kernels:
            assert isinstance(recipe, SecondOrderRecipe)
            recipe = recipe.with_kernels(kernels)
        lq = self._degrade(sharp, recipe)
        side = self.gt_size // self.scale
        top, left = draw_crops(keys, lq.shape[-2], lq.shape[-1], side)
        lq, gt = paired_crop(lq, clean, top, left, side, self.scale)
        dtype = pictures.dtype
        return PairBatch(quantised(lq, dtype), quantised(gt, dtype), positions.to(lq.device, non_blocking=True))

    def synthesize_fused(self, pictures: Tensor, positions: Tensor) -> PairBatch:
        """`synthesize` by the kernels of `degradations.fused`, which draw on the device of the pictures."""
        from degradations.fused.second_order import Pairing  # needs Triton

        assert isinstance(self.degradation, SecondOrder)
        maker = Pairing(
            config=self.degradation,
            seed=self.seed,
            scale=self.scale,
            side=self.gt_size // self.scale,
            sharpen=self.degrade_gt_usm,
            sharpen_gt=self.gt_usm,
        )
        positions = positions.to(pictures.device, non_blocking=True)
        return PairBatch(*maker(pictures, positions), positions)

    def recipe(self, keys: Keys, pictures: Tensor) -> AnyRecipe:
        """The recipe drawn with these keys for pictures [..., H, W]."""
        return self.degradation.draw(keys, pictures.shape[-2], pictures.shape[-1], self.scale)

    def _degrade(self, pictures: Tensor, recipe: AnyRecipe) -> Tensor:
        """LQ float [b, C, H/scale, W/scale] of clean pictures float [b, C, H, W] in [0, 1], by a recipe drawn here."""
        return self.degradation.apply(pictures, recipe)  # type: ignore[arg-type]  # each takes the recipes it draws

    @torch.no_grad()
    def degrade(self, picture: Tensor, seed: int, position: int) -> tuple[Tensor, AnyRecipe]:
        """The LQ [C, H/scale, W/scale] of a whole picture [C, H, W], unsharpened, of its type, and its recipe."""
        keys = Keys(seed, torch.tensor([position]))
        recipe = self.recipe(keys, picture)
        return quantised(self._degrade(unit(picture[None]), recipe), picture.dtype)[0], recipe
