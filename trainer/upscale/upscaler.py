"""`Upscaler`: enlarges pictures of any size, depth and channels by a trained network, tile by tile."""

import logging
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.images.crops import reflected_indices
from trainer.memory import is_shortage
from trainer.mistakes import Failure, Mistake
from trainer.networks import Generator, SpandrelNetwork
from trainer.networks.loading.generators import bands_of, multiple_of, open_generator, scale_of
from trainer.upscale.photographs import from_pillow, to_pillow
from trainer.upscale.picture import Numbers, Picture
from trainer.upscale.tiles import Part, blend_weights, receptive_radius

WIDEST_OVERLAP = 96
"""Default limit, in pixels, of the tiles' overlap. It covers the receptive radius of SRVGGNetCompact (34), SRResNet
(40) and RRDBNet with 6 blocks (94). RRDBNet with 23 has 349: tiles of 512 would then cost 5.6 times the picture."""
LEAST_TILE = 16
MOST_PIXELS = 2**32
"""Most pixels of a result: 65536 x 65536."""
LUMA = (0.299, 0.587, 0.114)  # BT.601

log = logging.getLogger(__name__)
PictureLike = TypeVar("PictureLike", Image.Image, Tensor)


class Upscaler:
    """`Upscaler.from_pretrained(origin)(picture)`: a PIL image for a PIL image, a tensor for a tensor.

    Pictures larger than a tile are cut into tiles, and the result is put together on the CPU. Tiles overlap by the
    network's receptive radius, so that it is the result of the whole picture; with less overlap they are blended.

    Parameters
    ----------
    net : float32, on the CPU; it is taken over
    device : where it computes; None is the GPU if there is one
    dtype : what it computes in; None is float16 on a GPU, whose 11 bits hold the levels of 8-bit pictures where
        bfloat16's 8 do not, and float32 elsewhere. If float16 overflows, float32 takes over, with a warning in the log.
    tile : side of a tile in input pixels, without the overlap; None is 1024 on a GPU and 512 elsewhere. A GPU whose
        memory is short gets tiles half as large from then on, with a warning in the log.
    overlap : pixels that a tile reads beyond each of its sides; None is the receptive radius, at most 96
    """

    def __init__(
        self,
        net: Generator,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        tile: int | None = None,
        overlap: int | None = None,
    ) -> None:
        if (tile is not None and tile < 1) or (overlap is not None and overlap < 0):
            raise ValueError(f"tile: got {tile}, must be at least 1; overlap: got {overlap}, must be at least 0")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = self.device.type == "cuda"
        self.dtype = dtype or (torch.float16 if on_gpu else torch.float32)
        self.tile = tile or (1024 if on_gpu else 512)
        self.scale, self.bands, self.multiple = scale_of(net), bands_of(net), multiple_of(net)
        windowed = isinstance(net, SpandrelNetwork) and net.is_windowed  # which no probe of one picture shows
        self.radius = None if windowed else receptive_radius(net.eval(), self.scale, self.bands, self.multiple)
        reach = WIDEST_OVERLAP if self.radius is None else min(self.radius, WIDEST_OVERLAP)
        self.overlap = -(-(reach if overlap is None else overlap) // self.multiple) * self.multiple
        self.is_exact = self.radius is not None and self.overlap >= self.radius
        self.net = net.to(self.device)

    def __repr__(self) -> str:
        reach = "without a known end" if self.radius is None else f"of {self.radius} px"
        seams = "as the whole picture" if self.is_exact else "fading into each other"
        return (
            f"{type(self.net).__name__} x{self.scale} on {self.device}, {str(self.dtype).removeprefix('torch.')}; "
            f"tiles of {self.tile} px, overlap {self.overlap} of a sight {reach}: {seams}"
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        *,
        denoise_model: str | None = None,
        denoise_strength: float = 1.0,
        trust: Collection[str] = (),
        **options: Any,
    ) -> Self:
        """Open a run folder, an export, a file or a hub id; `options` are those of the class.

        With `denoise_model`, a second one, the network is `denoise_strength` of the first and the rest of the second,
        weight by weight (Wang et al. 2019, Deep Network Interpolation). So upstream sets how strongly
        realesr-general-x4v3 denoises, with its sister realesr-general-wdn-x4v3.

        Raises Mistake if there are no such networks, or one is a class of another package that is not in `trust`:
        dotted paths of classes, modules or packages that a file may have imported.
        """
        return cls(open_mixture(model, denoise_model, denoise_strength, trust=trust), **options)

    def __call__(self, picture: PictureLike, outscale: float | None = None) -> PictureLike:
        """Enlarge by the network's scale, then by Lanczos to `outscale` times the first size if that is given.

        A PIL image may be gray, RGB, CMYK, a palette, or gray of 16 bits, with or without transparency. The result is
        upright, as EXIF says, and has the EXIF: `large.save("large.jpg", exif=large.getexif())`.

        A tensor is float in [0, 1], [C, H, W] or [B, C, H, W], and stays where it is.
        """
        if isinstance(picture, Image.Image):
            return to_pillow(self.enlarged(from_pillow(picture), outscale))
        if not isinstance(picture, Tensor):
            raise Mistake(f"picture: got {type(picture).__name__}; must be a PIL image, or a tensor float in [0, 1].")
        if picture.ndim == 4:
            return torch.stack([self(one, outscale) for one in picture])
        numbers = picture.detach().float().cpu().numpy()
        return torch.from_numpy(self.enlarged(Picture(numbers=numbers, white=1), outscale).numbers).to(picture)

    def enlarged(self, picture: Picture, outscale: float | None = None) -> Picture:
        """Enlarge a picture. Gray goes through a network for RGB as three equal bands, and so does transparency.

        Raises Mistake for an `outscale` that is not above 0, and Failure if the network is for other bands or gives
        numbers that are not finite, or if the result is too large or memory too short.
        """
        if len(picture.numbers) != self.bands and (len(picture.numbers), self.bands) != (1, 3):
            raise Failure(f"it has {len(picture.numbers)} bands, and the network is for {self.bands}")
        size = self._size(picture, self.scale if outscale is None else outscale)
        try:
            return self._enlarge_to(picture, size)
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
        raise Failure(f"memory is too short for a result of {size[1]}x{size[0]} pixels")

    def _size(self, picture: Picture, factor: float) -> tuple[int, int]:
        """Height and width of the result; Failure if it, or the network's own before it, has too many pixels."""
        if not factor > 0:
            raise Mistake(f"outscale: got {factor:g}; must be above 0.")
        height, width = picture.numbers.shape[1:]
        largest = max(factor, self.scale)
        down, across = height * largest, width * largest
        if down * across > MOST_PIXELS:
            made = f"{width}x{height} would become {across:.6g}x{down:.6g}"
            raise Failure(f"{made}, more than {MOST_PIXELS} pixels; cut it into tiles, or enlarge it less")
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _enlarge_to(self, picture: Picture, size: tuple[int, int]) -> Picture:
        numbers, alpha = _resized(picture, self._network_result(picture), size), picture.alpha
        if alpha is not None and alpha.min() == alpha.max():
            alpha = np.full(size, alpha[0, 0])
        elif alpha is not None:
            alpha_picture = Picture(numbers=alpha[None], white=np.iinfo(alpha.dtype).max)
            alpha = _resized(alpha_picture, self._network_result(alpha_picture), size)[0]
        return replace(picture, numbers=numbers, alpha=alpha)

    @torch.inference_mode()
    def _network_result(self, picture: Picture) -> Numbers:
        """The network's result for the whole picture, put together from those for tiles."""
        count, height, width = picture.numbers.shape
        whole = Part(0, 0, *(-(-side // self.multiple) * self.multiple for side in (height, width)))
        large, fade = whole.times(self.scale), 0 if self.is_exact else self.overlap // 4
        canvas = np.zeros((count, large.height, large.width), np.float32 if fade else picture.numbers.dtype)
        for part, area, values in self._tiles(picture, whole):
            kept = part.grown(fade, whole).times(self.scale)
            values, place = values[:, *kept.within(area.times(self.scale))], (slice(None), *kept.within(large))
            if fade:
                share = blend_weights(part.times(self.scale), kept, large, fade * self.scale)
                canvas[place] += values.cpu().mul_(share).numpy()
            else:
                canvas[place] = picture.numbered(values)
        result = picture.numbered(torch.from_numpy(canvas)) if fade else canvas
        return result[:, : height * self.scale, : width * self.scale]

    def _tiles(self, picture: Picture, whole: Part) -> Iterator[tuple[Part, Part, Tensor]]:
        """Parts that cover `whole`, the picture mirrored to the network's multiple; with each, the rectangle that was
        read for it, and the network's result for that."""
        numbers = picture.numbers
        rows = reflected_indices(numbers.shape[1], whole.height).numpy()
        columns = reflected_indices(numbers.shape[2], whole.width).numpy()
        waiting = [whole]
        while waiting:
            part = waiting.pop()
            parts = list(part.split(self.tile, self.multiple))
            if len(parts) > 1:
                waiting += reversed(parts)
                continue
            area = part.grown(self.overlap, whole)
            down, across = area.within(whole)
            values = self._attempt(picture.unit(numbers[:, rows[down, None], columns[across]]))
            if values is not None:
                yield part, area, values
            else:
                self._take_smaller_tiles(part)
                waiting.append(part)

    def _attempt(self, values: Tensor) -> Tensor | None:
        """Apply the network to float32 [C, h, w] in [0, 1]; None if memory is too short for it."""
        try:
            return self._network(values)
        except RuntimeError as error:
            if not is_shortage(error):
                raise
        # here the exception is gone, which kept alive the tensors that are to be freed
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _network(self, values: Tensor) -> Tensor:
        batch = values[None].to(self.device).expand(-1, self.bands, -1, -1)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            out: Tensor = self.net(batch)[0].float()
        if not out.isfinite().all():
            if self.dtype == torch.float32:
                raise Failure("the network gives what is no finite number")
            log.warning("the network overflows in %s; float32 from here on", str(self.dtype).removeprefix("torch."))
            self.dtype = torch.float32
            return self._network(values)
        is_gray = len(values) == 1 and self.bands == 3
        return torch.einsum("chw,c->hw", out, out.new_tensor(LUMA))[None] if is_gray else out

    def _take_smaller_tiles(self, part: Part) -> None:
        side = max(part.height, part.width) // 2
        if side < LEAST_TILE:
            raise Failure(f"memory is too short even for tiles of {2 * side} pixels that overlap by {self.overlap}")
        log.warning("memory is too short for tiles of %d pixels; tiles of %d from here on", 2 * side, side)
        self.tile = side


def open_mixture(
    model: str,
    other: str | None,
    strength: float,
    keys: tuple[str, str] = ("model", "denoise_model"),
    trust: Collection[str] = (),
) -> Generator:
    """The network at `model`, mixed with that at `other` if there is one; Mistake, naming one of `keys`, if not."""
    net = open_generator(model, keys[0], trust)
    if other is not None:
        interpolate(net, open_generator(other, keys[1], trust), strength, keys[1])
    return net


def interpolate(net: Generator, other: Generator, strength: float, key: str = "denoise_model") -> None:
    """Make `net` a mixture, `strength` of itself and the rest of `other`; Mistake if they are not of one kind."""
    theirs = dict(other.named_parameters())
    if {name: value.shape for name, value in net.named_parameters()} != {n: v.shape for n, v in theirs.items()}:
        raise Mistake(f"{key}: its network is not of the kind and size of the model's, so they do not mix.")
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.copy_(theirs[name].lerp(value, strength))


def _resized(picture: Picture, numbers: Numbers, size: tuple[int, int]) -> Numbers:
    """Resize numbers of `picture` by Lanczos, which averages if the size is smaller."""
    if numbers.shape[1:] == size:
        return numbers
    bands = (
        Image.fromarray(picture.unit(band).numpy()).resize(size[::-1], Image.Resampling.LANCZOS) for band in numbers
    )
    return np.stack([picture.numbered(torch.from_numpy(np.array(band))) for band in bands])
