"""TensorBoard's view of a run: quality first, one tag for each validation picture, configuration and hyper-parameters.

TensorBoard sorts groups of tags by name, so that groups have numbers here; metrics.jsonl and other trackers keep the
names as they are.
"""

import re
from collections.abc import Mapping
from typing import Any

from einops import rearrange
from torch import Tensor

from trainer.telemetry.quality import QUALITY

GROUPS: dict[str, str] = {
    "6-bands": r"validation/.*_band\d+",
    "1-quality": r"validation/(?!colour_drift).*",
    "2-losses": r"(training|discriminator)/loss(_(?!scale).*)?",
    "3-game": r"discriminator/(D\(.*|paused|r1_penalty)|training/(adv_loss_weight|pretrain_phase)",
    "4-rates": r".*/learning_rate|ema/decay",
    "7-speed": r"speed/.*",
    "5-health": r".*",
}
"""Group -> the names in metrics.jsonl that it holds; the first that matches a whole name has it."""
NETWORKS = ("generator", "discriminator")
LAYOUT = {
    "1 quality": {name: ["Multiline", [rf"^1-quality/{name}$", rf"^1-quality/{name}_bicubic$"]] for name in QUALITY},
    "2 gradients": {"gradient norms": ["Multiline", [r"^5-health/(generator|discriminator)_grad_norm$"]]},
    "3 game": {"D(y) and D(G(x))": ["Multiline", [r"^3-game/D_.*_prob$"]]},
}
"""Charts of the tab CUSTOM SCALARS, of more than one figure each."""


def tag(name: str) -> str:
    """TensorBoard's tag for a figure of metrics.jsonl: validation/psnr is 1-quality/psnr."""
    group = next(group for group, names in GROUPS.items() if re.fullmatch(names, name))
    owner, _, short = name.rpartition("/")
    if owner == "training" and short == "grad_norm":
        owner = "generator"
    prefix = f"{owner}_" if owner in NETWORKS and not short.startswith("D(") else ""
    return f"{group}/{prefix}{re.sub(r'[()]+', '_', short).replace('__', '_')}"  # brackets break CUSTOM SCALARS


def begin_run(writer: Any, step: int, configuration: str, hyper_parameters: Mapping[str, bool | float | str]) -> None:
    """Write the text tab, the layout of charts and the hyper-parameters of a run that starts, or goes on, at `step`.

    `writer` is torch's SummaryWriter. The tab HPARAMS compares `hyper_parameters` among all runs of one log folder,
    beside what their figures have come to.
    """
    from torch.utils.tensorboard.summary import hparams

    if configuration:
        writer.add_text("configuration", f"```yaml\n{configuration}\n```", step)
    writer.add_custom_scalars(LAYOUT)
    if hyper_parameters:
        # `SummaryWriter.add_hparams` would make another run, in a folder of its own. The first of the summaries names
        # the columns, and TensorBoard would take one run's for all; without it, it shows the columns of every run.
        _, session, _ = hparams(dict(hyper_parameters), {})
        writer.file_writer.add_summary(session)


def send_to_tensorboard(
    writer: Any, step: int, figures: Mapping[str, float], warnings: list[str], strips: Mapping[str, Tensor]
) -> None:
    """Send a report with its warnings, and strips uint8 [3, h, w] of validation pictures by their name."""
    for name, value in figures.items():
        writer.add_scalar(tag(name), value, step)
    if warnings:
        writer.add_text("health/warning", "  \n".join(warnings), step)
    for name, strip in strips.items():
        writer.add_image(f"samples/{name}", rearrange(strip, "c h w -> h w c").numpy(), step, dataformats="HWC")
    writer.flush()
