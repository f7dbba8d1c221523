"""Validation on batches that a program gives, such as those of an own DataLoader."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from trainer.images.levels import quantised, unit
from trainer.mistakes import Mistake
from trainer.pairs.fed import FedData
from trainer.validation.metrics import Metrics
from trainer.validation.sample_sheet import save_png
from trainer.validation.validator import bicubic


def validate_batches(
    batches: Iterable[FedData], upscale: Callable[[Tensor], Tensor], metrics: Metrics, folder: Path | None
) -> dict[str, float]:
    """The means of a generator's metrics over pictures with ground truth, and of bicubic upsampling's, by name.

    Parameters
    ----------
    upscale : float [b, C, h, w] in [0, 1] to float [b, C, H, W]
    folder : where results are saved as PNG, if anywhere: by the name of their `lq_path`, else by their number

    Raises:
        Mistake: there is no batch, or one has no `lq`.
    """
    rows: list[list[float]] = []
    count = 0
    for batch in batches:
        if batch.lq is None:
            raise Mistake("data: must have `lq` to validate on; `gt` is what its result is compared with.")
        results = quantised(upscale(unit(batch.lq)), batch.lq.dtype).cpu()
        scale = results.shape[-1] // batch.lq.shape[-1]
        for number, (lq, result) in enumerate(zip(batch.lq.cpu(), results, strict=True)):
            if batch.gt is not None:
                gt, plain = batch.gt[number].cpu(), bicubic(lq, scale)
                rows.append([*metrics(result, gt), *metrics(plain, gt)[: len(metrics.summary)]])
            if folder is not None:
                name = Path(batch.names[number]).stem if number < len(batch.names) else f"{count:04d}"
                try:
                    save_png(result, folder / f"{name}.png")
                except OSError as error:
                    raise Mistake(f"save_img: {folder / name}.png cannot be written: {error}.") from error
            count += 1
    if not count:
        raise Mistake("dataloader: gave no batch to validate on.")
    names = [*metrics.names, *(f"{name}_bicubic" for name in metrics.summary)]
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist() if rows else []
    return {f"validation/{name}": value for name, value in zip(names, means, strict=False)}
