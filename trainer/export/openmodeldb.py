"""Entries for OpenModelDB (openmodeldb.info): JSON by `src/lib/schema.ts` of its repository."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.config.redact import redact_paths
from trainer.export.source import Source
from trainer.networks import Generator, RRDBNet, SpandrelNetwork, SRVGGNetCompact
from trainer.networks.loading.generators import bands_of, scale_of

MAX_BANDS = 4  # OpenModelDB's limit
PLAIN = "ATD CRAFT Compact DAT DCTLSA DITN DRCT ESRGAN GRL HAT MoSR OmniSR RCAN RGT RealPLKSR SPAN SwinIR"
ZOO = {**{arch: arch.lower() for arch in PLAIN.split()}, "RealCUGAN": "real-cugan", "SwiftSRGAN": "swift-srgan"}
"""Its ids of spandrel's architectures (`data/architectures.json` of its repository)."""


def entry(source: Source, files: Sequence[Path], author: str | None, license_id: str | None) -> dict[str, Any] | None:
    """OpenModelDB's entry for a model and its files; None if OpenModelDB lacks its architecture or number of bands.

    `author` is a user id there, `license_id` an SPDX id. Unknown values are null; urls are empty, to be filled in by
    the person who uploads the files.
    """
    net = source.net
    if (kind := _architecture(net)) is None or bands_of(net) > MAX_BANDS:
        return None
    architecture, size = kind
    return {
        "name": source.name,
        "author": author,
        "license": license_id,
        "tags": ["restoration" if scale_of(net) == 1 else "general-upscaler"],
        "description": _description(source),
        "date": source.date,
        "architecture": architecture,
        "size": size,
        "scale": scale_of(net),
        "inputChannels": net.config.num_in_ch,
        "outputChannels": net.config.get("num_out_ch", bands_of(net)),
        "resources": [_resource(file) for file in files],
        **_training(source),
        "images": [],
    }


def _architecture(net: Generator) -> tuple[str, list[str] | None] | None:
    """OpenModelDB's names of the architecture and, where it is simple, of its size; None if it has none."""
    if isinstance(net, SpandrelNetwork):
        if net.config.arguments.get("dysample"):
            return "realplksr-dysample", None
        return (ZOO[arch], None) if (arch := net.config.arch) in ZOO else None
    if isinstance(net, RRDBNet):
        return "esrgan", [f"{net.config.num_feat}nf", f"{net.config.num_block}nb"]
    if isinstance(net, SRVGGNetCompact):
        return "compact", [f"{net.config.num_feat}nf", f"{net.config.num_conv}nc"]
    return None


def _description(source: Source) -> str:
    kind = source.net.config.arch if isinstance(source.net, SpandrelNetwork) else type(source.net).__name__
    what = f"A ×{scale_of(source.net)} {kind}"
    if source.config is None:
        return f"{what}."
    how = "synthetic degradations" if source.config.high_order_degradation else "given pairs"
    against = ", with a discriminator" if source.config.adversarial else ""
    return f"{what} trained on {how}{against}, by wildsr."


def _training(source: Source) -> dict[str, Any]:
    if (config := source.config) is None:
        return {}
    facts: dict[str, Any] = {} if source.step is None else {"trainingIterations": source.step}
    facts |= {
        "trainingBatchSize": config.batch.global_size,
        "trainingHRSize": config.gt_size,
        "trainingOTF": config.high_order_degradation,
    }
    if config.images.source and (path := redact_paths(asdict(config.images.source)).get("path")):
        facts["dataset"] = path
    return facts


def _resource(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    kind = file.suffix.removeprefix(".")
    return {
        "platform": "onnx" if kind == "onnx" else "pytorch",
        "type": kind,
        "size": file.stat().st_size,
        "sha256": sha256,
        "urls": [],
    }
