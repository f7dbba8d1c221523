"""A report as one line of text."""

from collections.abc import Mapping
from datetime import timedelta

from trainer.telemetry.health import below_bicubic
from trainer.telemetry.quality import shown_values
from trainer.telemetry.step_means import SHARES


def report_line(step: int, last: int, values: Mapping[str, float]) -> str:
    """A report of step `step` of `last` as a person reads it: losses, speed, validation."""
    parts = [f"step {step}/{last}"]
    losses = [name for name in sorted(values) if "/loss_" in name and not name.endswith("/loss_scale")]
    parts += [f"{name.removeprefix('training/')} {values[name]:.4g}" for name in losses]
    if "discriminator/D(y)_prob" in values:
        opinion = f"D(y) {values['discriminator/D(y)_prob']:.2f}, D(G(x)) {values['discriminator/D(G(x))_prob']:.2f}"
        paused = values.get("discriminator/paused", 0)
        parts.append(f"{opinion}, D paused {100 * paused:.0f} %" if paused else opinion)
    if "speed/images_per_second" in values:
        share = {part: f"{100 * values[SHARES[part]]:.0f} %" for part in ("degradation", "data")}
        parts.append(f"{values['speed/images_per_second']:.1f} images/s")
        parts.append(f"{share['degradation']} for degradation, {share['data']} waiting for data")
        if "speed/mfu" in values:
            parts.append(f"{100 * values['speed/mfu']:.0f} % of peak")
        parts.append(f"{values['speed/peak_memory_gib']:.2f} GiB")
        parts.append(f"{timedelta(seconds=round(values['speed/eta_seconds']))} to go")
    measured = [
        f"{figure.text(values[key])}{_beside(values.get(f'{key}_bicubic'), _behind(name, values))}"
        for name, figure in shown_values(values).items()
        if (key := f"validation/{name}") in values
    ]
    if measured:
        parts.append(f"validation {', '.join(measured)}")
    if "validation/colour_drift" in values and not below_bicubic(values):  # else it has no colours yet to be off
        parts.append(f"colours off by {255 * values['validation/colour_drift']:.1f}/255")
    return " | ".join(parts)


def _beside(plain: float | None, behind: str) -> str:
    """Bicubic's value in brackets, where it has one."""
    return "" if plain is None else f" (bicubic {plain:.4g}{behind})"


def _behind(name: str, values: Mapping[str, float]) -> str:
    """Words for a result that has not reached bicubic's PSNR, as at the beginning of every run."""
    return ", not reached yet" if name == "psnr" and below_bicubic(values) else ""


def advice(step: int, values: Mapping[str, float]) -> str:
    """A sentence about a run whose last validation, after `step` steps, is below bicubic; empty for others."""
    if not (gap := below_bicubic(values)):
        return ""
    return (
        f"at step {step} the results are {gap:.2f} dB below bicubic upsampling on the validation pictures. What "
        "usually helps: more steps (max_train_steps), another optimizer.learning_rate, weights to begin with "
        "(init.generator), or a network that starts from its input, as SRVGGNetCompact does."
    )
