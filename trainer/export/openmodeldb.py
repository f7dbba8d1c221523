"""An entry for OpenModelDB (openmodeldb.info): its JSON, as `src/lib/schema.ts` of its repository has it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.config.redact import public
from trainer.export.source import Origin
from trainer.networks import Generator, RRDBNet, SRVGGNetCompact
from trainer.networks.loading.generators import bands_of, scale_of

MOST_BANDS = 4  # OpenModelDB's


def entry(origin: Origin, files: Sequence[Path], author: str | None, license_id: str | None) -> dict[str, Any] | None:
    """What is known of the model and its files; None for an architecture or bands that OpenModelDB does not have.

    `author` is a user's id there and `license_id` one of SPDX's; what is not known is null, and the urls are for
    whoever uploads the files.
    """
    net = origin.net
    if (kind := _architecture(net)) is None or bands_of(net) > MOST_BANDS:
        return None
    architecture, size = kind
    return {
        "name": origin.name,
        "author": author,
        "license": license_id,
        "tags": ["restoration" if scale_of(net) == 1 else "general-upscaler"],
        "description": _description(origin),
        "date": origin.date,
        "architecture": architecture,
        "size": size,
        "scale": scale_of(net),
        "inputChannels": net.config.num_in_ch,
        "outputChannels": net.config.num_out_ch,
        "resources": [_resource(file) for file in files],
        **_training(origin),
        "images": [],
    }


def _architecture(net: Generator) -> tuple[str, list[str]] | None:
    """OpenModelDB's name for it and for its size."""
    if isinstance(net, RRDBNet):
        return "esrgan", [f"{net.config.num_feat}nf", f"{net.config.num_block}nb"]
    if isinstance(net, SRVGGNetCompact):
        return "compact", [f"{net.config.num_feat}nf", f"{net.config.num_conv}nc"]
    return None


def _description(origin: Origin) -> str:
    what = f"A ×{scale_of(origin.net)} {type(origin.net).__name__}"
    if origin.config is None:
        return f"{what}."
    how = "synthetic degradations" if origin.config.high_order_degradation else "given pairs"
    against = ", with a discriminator" if origin.config.adversarial else ""
    return f"{what} trained on {how}{against}, by wildsr."


def _training(origin: Origin) -> dict[str, Any]:
    if (config := origin.config) is None:
        return {}
    facts: dict[str, Any] = {} if origin.step is None else {"trainingIterations": origin.step}
    facts |= {
        "trainingBatchSize": config.batch.global_size,
        "trainingHRSize": config.gt_size,
        "trainingOTF": config.high_order_degradation,
    }
    if config.images.source and (path := public(asdict(config.images.source)).get("path")):
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
