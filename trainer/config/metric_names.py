"""The names under which the training reports; those of a validation are `ValidationConfig.metric_names`."""

from trainer.adversarial.config import AdversarialConfig
from trainer.losses import LossesConfig


def figures_of_training(
    losses: LossesConfig, game: AdversarialConfig | None, digest: bool, scaled: bool = False
) -> list[str]:
    """All but speed and memory. Those of a player, and of a term, are absent from reports of steps without it.

    `training/loss` and `discriminator/loss` are the weighted sums that each player minimises, R1 apart; the terms are
    told before weighting. `scaled` is whether losses are scaled: with `mixed_precision: fp16`.
    """
    perceptual = list(losses.perceptual.terms) if losses.perceptual else []
    others = [name for name in ("sam", "tv") if getattr(losses, name)]
    names = ["training/loss", *(f"training/loss_{term}" for term in ("pixel", *perceptual, *others))]
    names += [f"training/{name}" for name in ("grad_norm", "skipped_share", "saturated_share", "saturated_share_gt")]
    names += ["generator/update_ratio", "generator/learning_rate", "ema/decay"]
    if digest:
        names.append("training/digest")
    names += ["generator/loss_scale"] * scaled
    if game is None:
        return names
    names += [f"training/{name}" for name in ("loss_adversarial", "adv_loss_weight", "pretrain_phase")]
    judged = ["loss", "loss_real", "loss_fake", "D(y)_prob", "D(G(x))_prob"]
    judged += ["grad_norm", "update_ratio", "learning_rate"]
    judged += ["r1_penalty"] * (game.r1 is not None) + ["paused"] * (game.adaptive_d is not None)
    judged += ["loss_scale"] * scaled
    return names + [f"discriminator/{name}" for name in judged]


def watchable(losses: LossesConfig, game: AdversarialConfig | None) -> list[str]:
    """Those that a plateau may watch: there at every step, and not only where one is reported."""
    return [name for name in figures_of_training(losses, game, digest=False) if not name.endswith("/update_ratio")]
