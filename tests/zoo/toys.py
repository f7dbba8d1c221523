"""Sizes of every architecture that train in seconds and that spandrel recognises in the tensors."""

from typing import Any

from trainer.networks.zoo.table import Arch

WINDOWS: dict[str, Any] = {"window_size": 8, "depths": [2, 2], "num_heads": [2, 2]}
SHUFFLE = {"upsampler": "pixelshuffle"}

TOYS: dict[Arch, dict[str, Any]] = {
    "ATD": {"embed_dim": 24, **WINDOWS, "num_tokens": 8, "reducted_dim": 4, "category_size": 256, "mlp_ratio": 2},
    "CRAFT": {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2]},
    "Compact": {"num_feat": 8, "num_conv": 2},
    "DAT": {"embed_dim": 32, "split_size": [4, 8], "depth": [2, 2], "num_heads": [2, 2], "expansion_factor": 2.0},
    "DCTLSA": {"nf": 20, "num_head": 5},
    "DITN": {"dim": 16, "ITL_blocks": 1, "SAL_blocks": 1, "UFONE_blocks": 1},
    "DRCT": {"embed_dim": 24, **WINDOWS, "gc": 8},
    "ESRGAN": {"num_filters": 8, "num_blocks": 1},
    "FDAT": {"embed_dim": 16, "num_groups": 2, "depth_per_group": 2, "num_heads": 2, "mid_dim": 16},
    "GRL": {
        "embed_dim": 16,
        "depths": [2],
        "num_heads_window": [1],
        "num_heads_stripe": [1],
        "local_connection": False,
    },
    "HAT": {"embed_dim": 24, **WINDOWS, "compress_ratio": 3, "squeeze_factor": 6, "num_feat": 16, "mlp_ratio": 2},
    "MoESR": {"dim": 16, "n_blocks": 1, "n_block": 2, "upsample_dim": 16},
    "MoSR": {"n_block": 2, "dim": 16, "drop_path": 0.2},
    "OmniSR": {"num_feat": 16, "res_num": 1},
    "PLKSR": {"dim": 16, "n_blocks": 2, "kernel_size": 5},
    "RCAN": {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 16, "reduction": 4},
    "RGT": {"embed_dim": 32, "depth": [2, 2], "num_heads": [2, 2], "split_size": [8, 8], "mlp_ratio": 2},
    "RealCUGAN": {},
    "RealPLKSR": {"dim": 16, "n_blocks": 2, "kernel_size": 5, "dropout": 0.1},
    "SAFMN": {"dim": 16, "n_blocks": 1},
    "SPAN": {"feature_channels": 8},
    "SeemoRe": {"num_experts": 2, "num_layers": 1, "embedding_dim": 16},
    "Swin2SR": {"embed_dim": 16, **WINDOWS, "mlp_ratio": 2},
    "SwinIR": {"embed_dim": 16, **WINDOWS, "mlp_ratio": 2, **SHUFFLE},
    "SwiftSRGAN": {"num_channels": 8, "num_blocks": 1},
}
