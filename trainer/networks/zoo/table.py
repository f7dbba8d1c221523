"""Facts on spandrel's super-resolution architectures: arguments, scales, presets, papers, licences.

By spandrel 0.4.2. Presets are sizes of the papers; the first is the default, `base` without entries that of the class.
Not in the table, with the reason: IPT (one file for several scales, whose heads the caller chooses), MMRealSR (its
forward also returns the degradation that it estimates, and takes one), SAFMN-BCIE (removes JPEG blocks of pictures in
YCbCr, at their size), AuraSR (an upsampling GAN of 600 M parameters with noise and no scale), and the architectures
for faces, inpainting, colours and restoration at one size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Arch = Literal[
    "ATD",
    "CRAFT",
    "Compact",
    "DAT",
    "DCTLSA",
    "DITN",
    "DRCT",
    "ESRGAN",
    "FDAT",
    "GRL",
    "HAT",
    "MoESR",
    "MoSR",
    "OmniSR",
    "PLKSR",
    "RCAN",
    "RGT",
    "RealCUGAN",
    "RealPLKSR",
    "SAFMN",
    "SPAN",
    "SeemoRe",
    "Swin2SR",
    "SwinIR",
    "SwiftSRGAN",
]

Sizes = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Facts on one architecture that its class does not tell."""

    paper: str
    licence: str
    """Of the architecture's code in spandrel, an SPDX id."""
    where: str | Mapping[int, str] = ""
    """Module and class below `spandrel.architectures`, by scale where each has its own; empty: both named as it is."""
    scale: str | None = "upscale"
    """The argument that takes the scale; None where the class has one scale."""
    bands: tuple[str, ...] = ("in_chans",)
    """The arguments that take the number of channels, in and out; empty where it is three."""
    not_rgb: Sizes | None = None
    """Arguments for another number of bands than three, as they switch off the subtraction of an RGB mean; None where
    only three bands are possible."""
    scales: tuple[int, ...] = (1, 2, 3, 4, 8)
    multiple: str | int = 1
    """The number of which an input's sides must be multiples, or the argument that is it."""
    least: int = 8
    """Fewest pixels of an input's side, beside its windows; smaller ones are filled up, and the result is cut."""
    presets: Mapping[str, Sizes] = field(default_factory=lambda: {"base": {}})
    """Arguments by the name of a size."""
    idle: bool = False
    """True where some parameters have no part in the training, such as those that a re-parametrised convolution is
    fused into."""
    writes_input: bool = False
    """True where its forward changes its input in place."""
    one_by_one: bool = False
    """True where it evaluates a single picture alone, as a mixture of experts that are chosen for a picture does."""


def _sized(count: int, depth: int, heads: int, names: tuple[str, str] = ("depths", "num_heads")) -> Sizes:
    """`count` groups of `depth` blocks with `heads` heads each."""
    return {names[0]: [depth] * count, names[1]: [heads] * count}


_SHUFFLE, _DIRECT, _NEAREST = ({"upsampler": name} for name in ("pixelshuffle", "pixelshuffledirect", "nearest+conv"))
_DAT = {"embed_dim": 180, "expansion_factor": 4.0, "split_size": [8, 32], **_sized(6, 6, 6, ("depth", "num_heads"))}
_GRL = {
    "window_size": 32,
    "stripe_size": [64, 64],
    "stripe_shift": True,
    "anchor_window_down_factor": 4,
    "mlp_ratio": 2,
}
_HAT = {"embed_dim": 180, "window_size": 16, "compress_ratio": 3, "squeeze_factor": 30, "mlp_ratio": 2}
_RGT = {"embed_dim": 180, "mlp_ratio": 2, "split_size": [8, 32]}
_SEEMORE = {"num_experts": 3, "lr_space": "exp", "topk": 1, "global_kernel_size": 11}
_SWIN = {"embed_dim": 180, "window_size": 8, "mlp_ratio": 2}

WINDOWED = frozenset(
    ["ATD", "CRAFT", "DAT", "DCTLSA", "DITN", "DRCT", "FDAT", "GRL", "HAT", "OmniSR", "RGT", "Swin2SR", "SwinIR"]
)
"""Those that divide a picture into windows: a tile that begins elsewhere has others, and another result."""

ARCHITECTURES: dict[Arch, Architecture] = {
    "ATD": Architecture(
        paper="Zhang et al. 2024, Transcending the limit of local window: adaptive token dictionary",
        licence="Apache-2.0",
        not_rgb={},
        presets={
            "base": {
                **{"embed_dim": 210, "window_size": 16, "category_size": 256, "num_tokens": 128, "reducted_dim": 20},
                **{"convffn_kernel_size": 5, "mlp_ratio": 2, "img_size": 96, **_sized(6, 6, 6), **_SHUFFLE},
            },
            "light": {
                **{"embed_dim": 48, "window_size": 16, "category_size": 128, "num_tokens": 64, "reducted_dim": 8},
                **{"convffn_kernel_size": 7, "mlp_ratio": 1, **_sized(4, 6, 4), **_DIRECT},
            },
        },
    ),
    "CRAFT": Architecture(
        paper="Li et al. 2023, Feature modulation transformer: cross-refinement of global representation",
        licence="Apache-2.0",
        not_rgb={},
        least=16,
    ),
    "Compact": Architecture(
        paper="Wang et al. 2021, Real-ESRGAN (SRVGGNetCompact; `type: SRVGGNetCompact` is ours)",
        licence="BSD-3-Clause",
        bands=("num_in_ch", "num_out_ch"),
        not_rgb={},
        presets={"general": {"num_conv": 32}, "animevideo": {"num_conv": 16}},
    ),
    "DAT": Architecture(
        paper="Chen et al. 2023, Dual aggregation transformer for image super-resolution",
        licence="Apache-2.0",
        not_rgb={},
        presets={
            "base": {**_DAT, **_SHUFFLE},
            "2": {**_DAT, "expansion_factor": 2.0, **_SHUFFLE},
            "S": {**_DAT, "expansion_factor": 2.0, "split_size": [8, 16], **_SHUFFLE},
            "light": {
                **{"embed_dim": 60, "expansion_factor": 2.0, "split_size": [8, 32], "resi_connection": "3conv"},
                **{"depth": [18], "num_heads": [6], **_DIRECT},
            },
        },
    ),
    "DCTLSA": Architecture(
        paper="Zeng et al. 2023, Densely connected transformer with linear self-attention",
        licence="Apache-2.0",
        bands=("in_nc", "out_nc"),
        not_rgb={},
        least=16,
    ),
    "DITN": Architecture(
        paper="Liu et al. 2023, Unfolding once is enough: a deployment-friendly transformer unit",
        licence="Apache-2.0",
        bands=(),
        least=16,
    ),
    "DRCT": Architecture(
        paper="Hsu et al. 2024, DRCT: saving image super-resolution away from information bottleneck",
        licence="MIT",
        not_rgb={},
        multiple="window_size",
        presets={
            "base": {"embed_dim": 180, "window_size": 16, "mlp_ratio": 2, "gc": 32, **_sized(6, 6, 6), **_SHUFFLE},
            "L": {"embed_dim": 180, "window_size": 16, "mlp_ratio": 2, "gc": 32, **_sized(12, 6, 6), **_SHUFFLE},
        },
    ),
    "ESRGAN": Architecture(
        paper="Wang et al. 2018, ESRGAN (`type: RRDBNet` is ours, under BasicSR's names)",
        licence="Apache-2.0",
        scale="scale",
        bands=("in_nc", "out_nc"),
        not_rgb={},
    ),
    "FDAT": Architecture(
        paper="FDAT (fast dual aggregation transformer), V. Bhat 2025, of traiNNer-redux",
        licence="MIT",
        scale="scale",
        bands=("num_in_ch", "num_out_ch"),
        not_rgb={},
        scales=(1, 2, 3, 4),
        presets={
            "medium": {"embed_dim": 120, "num_groups": 4, "depth_per_group": 3},
            "xl": {"embed_dim": 180, "num_groups": 6, "depth_per_group": 6, "num_heads": 6},
        },
        idle=True,
    ),
    "GRL": Architecture(
        paper="Li et al. 2023, Efficient and explicit modelling of image hierarchies",
        licence="MIT",
        bands=("in_channels", "out_channels"),
        not_rgb={},
        presets={
            "base": {
                **{"embed_dim": 180, "depths": [4, 4, 8, 8, 8, 4, 4], "local_connection": True, **_GRL, **_SHUFFLE},
                **{"num_heads_window": [3] * 7, "num_heads_stripe": [3] * 7},
            },
            "small": {
                **{"embed_dim": 128, "depths": [4] * 4, **_GRL, **_SHUFFLE},
                **{"num_heads_window": [2] * 4, "num_heads_stripe": [2] * 4},
            },
            "tiny": {
                **{"embed_dim": 64, "depths": [4] * 4, **_GRL, **_DIRECT},
                **{"num_heads_window": [2] * 4, "num_heads_stripe": [2] * 4},
            },
        },
    ),
    "HAT": Architecture(
        paper="Chen et al. 2023, Activating more pixels in image super-resolution transformer",
        licence="MIT",
        not_rgb={},
        presets={
            "base": {**_HAT, **_sized(6, 6, 6)},
            "S": {**_HAT, "embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24, **_sized(6, 6, 6)},
            "L": {**_HAT, **_sized(12, 6, 6)},
        },
    ),
    "MoESR": Architecture(
        paper="MoESR (mixture of experts), umzi 2024, of traiNNer-redux",
        licence="MIT",
        scale="scale",
        bands=("in_ch", "out_ch"),
        not_rgb={},
    ),
    "MoSR": Architecture(
        paper="MoSR (gated convolutions), umzi 2024, of neosr and traiNNer-redux",
        licence="MIT",
        bands=("in_ch", "out_ch"),
        not_rgb={},
    ),
    "OmniSR": Architecture(
        paper="Wang et al. 2023, Omni aggregation networks for lightweight image super-resolution",
        licence="Apache-2.0",
        scale="up_scale",
        bands=("num_in_ch", "num_out_ch"),
        not_rgb={},
        least=16,
        presets={"base": {"res_num": 5}},
    ),
    "PLKSR": Architecture(
        paper="Lee et al. 2024, Partial large kernel CNNs for efficient super-resolution",
        licence="MIT",
        scale="upscaling_factor",
        bands=(),
        presets={
            "base": {"ccm_type": "DCCM"},
            "tiny": {"n_blocks": 12, "kernel_size": 13, "ccm_type": "DCCM", "use_ea": False},
        },
    ),
    "RCAN": Architecture(
        paper="Zhang et al. 2018, Image super-resolution using very deep residual channel attention networks",
        licence="MIT",
        scale="scale",
        bands=("n_colors",),
        not_rgb={"norm": False},
        writes_input=True,
    ),
    "RGT": Architecture(
        paper="Chen et al. 2024, Recursive generalization transformer for image super-resolution",
        licence="Apache-2.0",
        not_rgb={},
        least=16,
        presets={
            "base": {**_RGT, **_sized(8, 6, 6, ("depth", "num_heads"))},
            "S": {**_RGT, **_sized(6, 6, 6, ("depth", "num_heads"))},
        },
    ),
    "RealCUGAN": Architecture(
        paper="Real-CUGAN (cascaded U-nets), bilibili 2022",
        licence="MIT",
        where={2: "RealCUGAN.UpCunet2x", 3: "RealCUGAN.UpCunet3x", 4: "RealCUGAN.UpCunet4x"},
        scale=None,
        bands=("in_channels", "out_channels"),
        not_rgb={},
        scales=(2, 3, 4),
        multiple=4,
        least=24,
    ),
    "RealPLKSR": Architecture(
        paper="Lee et al. 2024 as changed by neosr: partial large kernels, GroupNorm, doubled convolutional mixing",
        licence="MIT",
        where="PLKSR.RealPLKSR",
        scale="upscaling_factor",
        bands=(),
        presets={"base": {}, "dysample": {"dysample": True}, "layer_norm": {"layer_norm": True}},
    ),
    "SAFMN": Architecture(
        paper="Sun et al. 2023, Spatially-adaptive feature modulation for efficient image super-resolution",
        licence="Apache-2.0",
        scale="upscaling_factor",
        bands=(),
        presets={"base": {"dim": 36}, "L": {"dim": 128, "n_blocks": 16}},
    ),
    "SPAN": Architecture(
        paper="Wan et al. 2024, Swift parameter-free attention network",
        licence="Apache-2.0",
        bands=("num_in_ch", "num_out_ch"),
        not_rgb={"norm": False},
        presets={"48": {"feature_channels": 48}, "52": {"feature_channels": 52}},
        idle=True,
    ),
    "SeemoRe": Architecture(
        paper="Zamfir et al. 2024, See more details: efficient image super-resolution by experts mining",
        licence="Apache-2.0",
        scale="scale",
        bands=(),
        least=16,
        presets={
            "T": {**_SEEMORE, "num_layers": 6, "embedding_dim": 36, "recursive": 2, "use_shuffle": True},
            "B": {**_SEEMORE, "num_layers": 8, "embedding_dim": 48, "recursive": 2, "use_shuffle": True},
            "L": {**_SEEMORE, "num_layers": 16, "embedding_dim": 48, "recursive": 1, "use_shuffle": False},
        },
        one_by_one=True,
    ),
    "Swin2SR": Architecture(
        paper="Conde et al. 2022, Swin2SR: SwinV2 transformer for compressed image super-resolution",
        licence="Apache-2.0",
        not_rgb={},
        presets={
            "base": {**_SWIN, **_sized(6, 6, 6), **_SHUFFLE},
            "light": {**_SWIN, "embed_dim": 60, **_sized(4, 6, 6), **_DIRECT},
        },
    ),
    "SwinIR": Architecture(
        paper="Liang et al. 2021, SwinIR: image restoration using Swin transformer",
        licence="Apache-2.0",
        not_rgb={},
        presets={
            "M": {**_SWIN, **_sized(6, 6, 6), **_NEAREST},
            "classical": {**_SWIN, **_sized(6, 6, 6), **_SHUFFLE},
            "light": {**_SWIN, "embed_dim": 60, **_sized(4, 6, 6), **_DIRECT},
            "L": {**_SWIN, "embed_dim": 240, "resi_connection": "3conv", **_sized(9, 6, 8), **_NEAREST},
        },
    ),
    "SwiftSRGAN": Architecture(
        paper="Krishnan and Krishnan 2021, SwiftSRGAN: rethinking super-resolution for efficient inference",
        licence="CC0-1.0",
        scale="upscale_factor",
        bands=("in_channels",),
        not_rgb={},
        scales=(1, 2, 4, 8),
        idle=True,
    ),
}
