"""Validation on batches that a program gives, such as those of an own DataLoader."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from trainer.images.levels import quantised, unit
from trainer.mistakes import Mistake
from trainer.pairs.fed import FedData
from trainer.validation.metrics import Metrics
from trainer.validation.sample_sheet import save_png
from trainer.validation.validator import bicubic, means_of


def validate_batches(
    batches: Iterable[FedData], upscale: Callable[[Tensor], Tensor], metrics: Metrics, folder: Path | None
) -> dict[str, float]:
    """The means of a generator's metrics over pictures with ground truth, and of bicubic upsampling's, by name.

    Parameters
    ----------
    upscale : float [b, C, h, w] in [0, 1] to float [b, C, H, W]
    folder : where results are saved as PNG, if anywhere: by the name of their `lq_path`, else by their number

    A figure that no picture has, such as PSNR without ground truth, is left out.

    Raises:
        Mistake: there is no batch, or one has no `lq`.
    """
    rows: list[list[float]] = []
    count = 0
    for batch in batches:
        if batch.lq is None:
            raise Mistake("data: must have `lq` to validate on; `gt` is what its result is compared with.")
        results = quantised(upscale(unit(batch.lq)), batch.lq.dtype)
        device, results = results.device, results.cpu()
        scale = results.shape[-1] // batch.lq.shape[-1]
        for number, (lq, result) in enumerate(zip(batch.lq.cpu(), results, strict=True)):
            gt = None if batch.gt is None else batch.gt[number].to(device)
            rows.append(metrics(result.to(device), bicubic(lq, scale).to(device), gt))
            if folder is not None:
                name = Path(batch.names[number]).stem if number < len(batch.names) else f"{count:04d}"
                try:
                    save_png(result, folder / f"{name}.png")
                except OSError as error:
                    raise Mistake(f"save_img: {folder / name}.png cannot be written: {error}.") from error
            count += 1
    if not count:
        raise Mistake("dataloader: gave no batch to validate on.")
    figures, _ = means_of(torch.tensor(rows, dtype=torch.float64), metrics.names)
    return {name: value for name, value in figures.items() if not math.isnan(value)}
