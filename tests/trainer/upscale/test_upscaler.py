"""`Upscaler`: tiles give the whole picture's result; short memory; types of input and output."""

import importlib
import logging
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import trainer
from trainer.mistakes import Failure, Mistake
from trainer.networks import (
    Generator,
    ImportedNetwork,
    RRDBNetConfig,
    ShuffleRRDBNetConfig,
    SRResNetConfig,
    SRVGGNetCompactConfig,
)
from trainer.upscale.picture import Picture
from trainer.upscale.upscaler import Upscaler, interpolate

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"


def lively(net: Generator) -> Generator:
    """A network whose result depends on its whole receptive field: in untrained ones influence fades within a few
    layers."""
    torch.manual_seed(0)
    for value in net.parameters():
        if value.ndim == 4:
            torch.nn.init.kaiming_normal_(value, a=0.2)
        else:
            torch.nn.init.constant_(value, 0.1)
    return net.eval()


def small(scale: int = 2, num_conv: int = 2, bands: int = 3) -> Generator:
    return lively(SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=num_conv).build(scale, bands))


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def clamped(net: Generator, pictures: Tensor) -> Tensor:
    with torch.inference_mode():
        return net(pictures).clamp(0, 1)


KINDS = {
    "srvgg x1": lambda: SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=3).build(1, 3),
    "srvgg x2": lambda: SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=3).build(2, 3),
    "srvgg x3": lambda: SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=3).build(3, 3),
    "rrdb x4": lambda: RRDBNetConfig(num_feat=8, num_block=1, num_grow_ch=4).build(4, 3),
    "rrdb x2": lambda: RRDBNetConfig(num_feat=8, num_block=1, num_grow_ch=4).build(2, 3),
    "rrdb x1": lambda: RRDBNetConfig(num_feat=8, num_block=1, num_grow_ch=4).build(1, 3),
    "srresnet x4": lambda: SRResNetConfig(n_channels=8, n_blocks=2).build(4, 3),
    "lka x2": lambda: SRResNetConfig(block_type="lka", n_channels=4, n_blocks=1).build(2, 3),
    "shuffled x8": lambda: ShuffleRRDBNetConfig(n_channels=4, n_blocks=1, growth_channels=4).build(8, 3),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile", [1, 13, 32])
def test_tiles_give_what_the_whole_picture_gives(kind: str, tile: int) -> None:
    net = lively(KINDS[kind]())
    picture = noise(3, 41, 67) if tile > 1 else noise(3, 5, 7)
    whole, tiled = Upscaler(net, tile=999)(picture), Upscaler(net, tile=tile)(picture)
    assert Upscaler(net).is_exact
    assert float(((whole > 0) & (whole < 1)).float().mean()) > 0.05  # most values are not clamped
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 3, 4, 5, 9, 30])
def test_the_overlap_must_be_what_the_network_sees_and_more_changes_nothing(overlap: int) -> None:
    net = small(num_conv=3)  # its receptive radius is 5
    picture = noise(3, 37, 53)
    upscaler = Upscaler(net, tile=16, overlap=overlap)
    error = (upscaler(picture) - clamped(net, picture[None])[0]).abs().max()
    assert upscaler.is_exact == (overlap >= 5)
    assert (error < 1e-5) == upscaler.is_exact


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 6), (33, 18), (34, 31)])
@pytest.mark.parametrize("scale", [1, 2])
def test_sides_that_do_not_divide_are_mirrored_as_the_whole_picture_is(size: tuple[int, int], scale: int) -> None:
    net = lively(RRDBNetConfig(num_feat=8, num_block=1, num_grow_ch=4).build(scale, 3))
    picture = noise(3, *size)
    unshuffle = 4 // scale
    bottom, right = (-side % unshuffle for side in size)
    padded = torch.from_numpy(np.pad(picture.numpy(), ((0, 0), (0, bottom), (0, right)), mode="reflect"))
    expected = clamped(net, padded[None])[0, :, : scale * size[0], : scale * size[1]]
    for tile in (4, 16, 99):
        torch.testing.assert_close(Upscaler(net, tile=tile)(picture), expected, rtol=0, atol=1e-5)


def test_a_sight_without_end_fades_from_tile_to_tile() -> None:
    """A smooth picture stays smooth: no step at a seam exceeds those in the whole picture's result."""
    net = lively(SRResNetConfig(block_type="rcab", n_channels=8, n_blocks=2).build(2, 3))
    y, x = torch.meshgrid(torch.linspace(0.3, 0.7, 96), torch.linspace(0, 1, 128), indexing="ij")
    picture = torch.stack((x, y, x * y))
    hard, soft = Upscaler(net, tile=32, overlap=0), Upscaler(net, tile=32, overlap=16)
    assert soft.radius is None
    assert not soft.is_exact

    def step(upscaler: Upscaler) -> float:
        return float((upscaler(picture) - clamped(net, picture[None])[0]).diff(dim=2).abs().max())

    assert step(soft) < step(hard) / 10


class Greedy(torch.nn.Module):
    """A network with memory for windows of so many pixels only; for a larger one it raises a GPU's exception, or asks
    the CPU's allocator for more than there is."""

    largest = 40 * 40
    device = "cuda"

    def __init__(self, num_in_ch: int, scale: int) -> None:
        super().__init__()
        self.net = SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=1).build(scale, num_in_ch)
        self.refused: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] * x.shape[-2] > self.largest:
            self.refused.append(tuple(x.shape))
            if self.device == "cpu":
                torch.empty(2**50, dtype=torch.uint8)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        out: Tensor = self.net(x)
        return out


@pytest.fixture
def greedy() -> Upscaler:
    sizes = {"num_in_ch": 3, "scale": 2}
    return Upscaler(ImportedNetwork(f"{__name__}.Greedy", sizes, **sizes), tile=128)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_that_is_short_halves_the_tile_and_goes_on(
    greedy: Upscaler, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    greedy.net.net.device = device
    picture = noise(3, 100, 150)
    with caplog.at_level(logging.WARNING):
        result = greedy(picture)
    torch.testing.assert_close(result, clamped(greedy.net.net.net, picture[None])[0], rtol=0, atol=1e-5)
    assert [record.message for record in caplog.records] == [
        "memory is too short for tiles of 100 pixels; tiles of 50 from here on",
        "memory is too short for tiles of 50 pixels; tiles of 25 from here on",
    ]


def test_the_next_picture_begins_with_the_smaller_tile(greedy: Upscaler) -> None:
    greedy(noise(3, 100, 150))
    refused = len(greedy.net.net.refused)
    greedy(noise(3, 90, 90))
    assert len(greedy.net.net.refused) == refused


def test_memory_too_short_for_any_tile_is_a_failure(greedy: Upscaler) -> None:
    greedy.net.net.largest = 0
    with pytest.raises(Failure, match="memory is too short even for tiles of"):
        greedy(noise(3, 100, 150))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to a limit of its memory")
def test_memory_too_short_for_the_result_is_a_failure() -> None:
    """The process may have 256 MiB more, and the result in float32 would be 1.5 GiB."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    upscaler, image = Upscaler(small()), Image.new("L", (8, 8))
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
    try:
        with pytest.raises(Failure, match="memory is too short for a result of 20000x20000 pixels"):
            upscaler(image, 2500)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("outscale", [0, -1.5, float("nan")])
def test_an_outscale_that_is_not_above_0_is_a_mistake(outscale: float) -> None:
    with pytest.raises(Mistake, match=rf"^outscale: got {outscale:g}; must be above 0\.$"):
        Upscaler(small())(noise(3, 4, 4), outscale)


@pytest.mark.parametrize("outscale", [1e6, 1e300, float("inf")])
def test_a_result_that_is_too_large_is_refused_before_it_is_computed(outscale: float) -> None:
    with pytest.raises(Failure, match=r"^5x4 would become .*, more than 4294967296 pixels; cut it into tiles"):
        Upscaler(small())(noise(3, 4, 5), outscale)


def test_a_networks_own_result_may_be_too_large_before_it_is_made_smaller() -> None:
    picture = Picture(numbers=np.broadcast_to(np.uint8(0), (3, 2**14, 2**15)), white=255)
    with pytest.raises(Failure, match="32768x16384 would become 131072x65536, more than"):
        Upscaler(small(scale=4)).enlarged(picture, 0.1)


class Overflowing(torch.nn.Module):
    """A network whose result is infinite in the precision that `overflows` names."""

    def __init__(self, overflows: str) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 1)
        self.overflows = getattr(torch, overflows)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out / 0 if out.dtype == self.overflows else out


def test_what_overflows_in_bfloat16_is_done_again_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    net = ImportedNetwork(f"{__name__}.Overflowing", {"overflows": "bfloat16"})
    upscaler, picture = Upscaler(net, dtype=torch.bfloat16), noise(3, 8, 8)
    torch.testing.assert_close(upscaler(picture), clamped(net, picture[None])[0])
    assert upscaler.dtype == torch.float32
    assert "the network overflows in bfloat16; float32 from here on" in caplog.text


def test_what_overflows_in_float32_is_a_failure() -> None:
    upscaler = Upscaler(ImportedNetwork(f"{__name__}.Overflowing", {"overflows": "float32"}))
    with pytest.raises(Failure, match="no finite number"):
        upscaler(noise(3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    picture = noise(3, 20, 30)
    error = Upscaler(small(), dtype=dtype)(picture) - Upscaler(small())(picture)
    assert 0 < error.abs().max() < 0.05


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_a_pil_image_in_gives_one_out(mode: str) -> None:
    net = small()
    image = Image.fromarray((noise(9, 14, 3) * 255).byte().numpy()).convert("RGBA" if "A" in mode else "RGB")
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert(mode)
    result = Upscaler(net)(image)
    assert result.mode == {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(mode, mode)
    assert result.size == (28, 18)
    if mode == "RGB":
        expected = clamped(net, torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255)[0]
        assert np.array_equal(np.array(result), (expected * 255).round().byte().permute(1, 2, 0).numpy())


def test_gray_goes_through_three_equal_bands() -> None:
    net = small()
    image = Image.fromarray((noise(9, 14) * 255).byte().numpy())
    with torch.inference_mode():
        three = net(torch.from_numpy(np.array(image)).expand(1, 3, -1, -1) / 255)[0]
    luma = (0.299 * three[0] + 0.587 * three[1] + 0.114 * three[2]).clamp(0, 1)
    assert np.abs(np.array(Upscaler(net)(image)) - (255 * luma).numpy()).max() <= 0.501


def test_gray_of_16_bits_stays() -> None:
    image = Image.fromarray((noise(9, 14) * 65535).numpy().astype(np.uint16))
    result = Upscaler(small())(image)
    assert result.mode == "I;16"
    assert len(np.unique(np.array(result))) > 256


def test_transparency_is_what_the_network_makes_of_it_as_gray() -> None:
    upscaler, image = Upscaler(small()), Image.new("RGBA", (12, 10), "red")
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    assert np.array_equal(np.array(upscaler(image))[..., 3], np.array(upscaler(image.getchannel("A"))))


@pytest.mark.parametrize("alpha", [0, 7, 255])
def test_transparency_that_is_everywhere_the_same_stays_exactly_so(alpha: int) -> None:
    image = Image.new("RGBA", (12, 10), "red")
    image.putalpha(alpha)
    assert np.array(Upscaler(small())(image))[..., 3].tolist() == np.full((20, 24), alpha).tolist()


def test_tensors_keep_their_type_and_may_be_a_batch() -> None:
    net, pictures = small(), noise(2, 3, 9, 14)
    result = Upscaler(net)(pictures)
    torch.testing.assert_close(result, clamped(net, pictures), rtol=0, atol=1e-5)
    assert Upscaler(net)(pictures.double()).dtype == torch.float64


@pytest.mark.parametrize(("outscale", "size"), [(None, (42, 27)), (1, (14, 9)), (1.5, (21, 14)), (3.5, (49, 32))])
def test_the_final_size_is_by_lanczos(outscale: float | None, size: tuple[int, int]) -> None:
    net = small(scale=3)
    image = Image.fromarray((noise(9, 14, 3) * 255).byte().numpy())
    result = Upscaler(net)(image, outscale)
    assert result.size == size
    bands = np.array(Upscaler(net)(image)).astype(np.float32).transpose(2, 0, 1)  # in floats nothing is clamped midway
    expected = [np.array(Image.fromarray(band).resize(size, Image.Resampling.LANCZOS)) for band in bands]
    assert np.abs(np.array(result) - np.stack(expected, axis=2).clip(0, 255)).max() <= 0.501


def test_bands_of_another_number_are_refused() -> None:
    with pytest.raises(Failure, match="it has 3 bands, and the network is for 4"):
        Upscaler(small(bands=4))(Image.new("RGB", (8, 8)))
    with pytest.raises(Failure, match="it has 1 bands, and the network is for 4"):
        Upscaler(small(bands=4))(Image.new("L", (8, 8)))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_two_networks_mix_weight_by_weight(strength: float, tmp_path: Path) -> None:
    first, second = small(), SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=2).build(2, 3)
    first.save_pretrained(tmp_path / "strong")
    second.save_pretrained(tmp_path / "weak")
    upscaler = Upscaler.from_pretrained(
        str(tmp_path / "strong"), denoise_model=str(tmp_path / "weak"), denoise_strength=strength
    )
    for mixed, one, other in zip(upscaler.net.parameters(), first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(mixed, strength * one + (1 - strength) * other)


def test_networks_of_two_kinds_do_not_mix() -> None:
    with pytest.raises(Mistake, match="denoise_model: its network is not of the kind and size"):
        interpolate(small(num_conv=2), small(num_conv=3), 0.5)


@pytest.mark.parametrize("wrong", [{"tile": 0}, {"overlap": -1}])
def test_tiles_of_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Upscaler(small(), **wrong)


def test_numbers_are_rounded_and_kept_within_their_type() -> None:
    picture = Picture(numbers=np.zeros((1, 1, 1), np.int16), black=-100, white=50000)
    assert picture.numbered(torch.tensor([0.0, 0.5, 1.0, 2.0])).tolist() == [-100, 24950, 32767, 32767]
    assert picture.unit(np.array([-200, -100, 24950], np.int16)).tolist() == pytest.approx([0, 0, 0.5])
    assert Picture(numbers=np.zeros(1, np.float32), white=1).unit(np.array([np.nan])).tolist() == [0]


@pytest.mark.parametrize("weights", ["realesr-general-x4v3", "RealESRGAN_x4plus_anime_6B"])
def test_released_networks_give_the_whole_picture_in_tiles(weights: str) -> None:
    file, photograph = SHARED / "weights" / f"{weights}.fromncnn.pth", SHARED / "bench" / "Set5" / "bird_GT.bmp"
    if not file.is_file():
        pytest.skip("the released weights are not here")
    image = Image.open(photograph).resize((70, 63), Image.Resampling.BICUBIC)
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    tiled, whole = (Upscaler.from_pretrained(str(file), tile=tile)(picture) for tile in (24, 99))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_it_is_found_in_the_package_and_where_older_model_cards_look() -> None:
    """Without importing torch when only the package is imported."""
    look = "import sys, trainer; assert 'torch' not in sys.modules; print(trainer.Upscaler.__module__)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "trainer.upscale.upscaler\n", done.stderr
    assert importlib.import_module("trainer.upscaler").Upscaler is Upscaler
    with pytest.raises(AttributeError, match="module 'trainer' has no attribute 'Upscale'"):
        trainer.Upscale  # noqa: B018 - to ask for it is the test


def test_what_is_no_picture_is_a_sentence() -> None:
    upscaler = Upscaler(SRVGGNetCompactConfig(num_feat=4, num_conv=1).build(2, 3))
    for wrong, kind in ((np.zeros((4, 4, 3), np.uint8), "ndarray"), ("a.png", "str")):
        with pytest.raises(Mistake, match=f"picture: got {kind}; must be a PIL image, or a tensor float in"):
            upscaler(wrong)  # type: ignore[call-overload]
