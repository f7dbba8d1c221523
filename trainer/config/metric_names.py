"""Names of the training's metrics; those of a validation are `ValidationConfig.metric_names`."""

from trainer.adversarial.config import AdversarialConfig
from trainer.losses import LossesConfig


def training_metric_names(
    losses: LossesConfig, adversarial: AdversarialConfig | None, digest: bool, scaled: bool = False
) -> list[str]:
    """All metrics of the training but speed and memory.

    Those of a network, and of a term, are absent from reports of steps without it. `training/loss` and
    `discriminator/loss` are the weighted sums that each network minimises, without R1; the terms are reported before
    weighting. `scaled` is true for scaled losses, of `mixed_precision: fp16`.
    """
    names = ["training/loss", *(f"training/loss_{term}" for term in losses.terms)]
    names += [f"training/{name}" for name in ("grad_norm", "skipped_share", "saturated_share", "saturated_share_gt")]
    names += ["generator/update_ratio", "generator/learning_rate", "ema/decay"]
    if digest:
        names.append("training/digest")
    names += ["generator/loss_scale"] * scaled
    if adversarial is None:
        return names
    names += [f"training/{name}" for name in ("loss_adversarial", "adv_loss_weight", "pretrain_phase")]
    judged = ["loss", "loss_real", "loss_fake", "D(y)_prob", "D(G(x))_prob"]
    judged += ["grad_norm", "update_ratio", "learning_rate"]
    judged += ["r1_penalty"] * (adversarial.r1 is not None) + ["paused"] * (adversarial.adaptive_d is not None)
    judged += ["loss_scale"] * scaled
    return names + [f"discriminator/{name}" for name in judged]


def plateau_metric_names(losses: LossesConfig, adversarial: AdversarialConfig | None) -> list[str]:
    """Metrics that a plateau schedule can watch: those that exist at every step, and not only at reported ones."""
    return [
        name for name in training_metric_names(losses, adversarial, digest=False) if not name.endswith("/update_ratio")
    ]
