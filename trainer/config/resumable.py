"""Keys of a configuration that a resumed run may change."""

from typing import Any

from trainer.optim.optimizers import state_name

RESUMABLE = (
    "max_train_steps",
    "max_hours",
    "max_skipped",
    "output_dir",
    "name",
    "batch.per_device",
    "images.dataloader_num_workers",
    "images.cache_mib",
    "images.max_picture_mib",
    # where the pictures lie; what they are is compared when a run is resumed
    "images.source.path",
    "images.source.list",
    "images.source.given",
    "images.pairs.gt",
    "images.pairs.lq",
    "images.pairs.path",
    "images.pairs.list",
    "mixed_precision",
    "allow_tf32",
    "compile",
    "gradient_checkpointing",
    "losses",
    "optimizer",
    "lr_scheduler",
    "adversarial.optimizer",
    "adversarial.lr_scheduler",
    "adversarial.loss",
    "adversarial.r1",
    "adversarial.adaptive_d",
    "ema",
    "validation",
    "checkpoints",
    "telemetry",
    "distributed",
    "hub",
)
"""Keys that a resumed run may change. Data, degradation, seed, global batch and networks define the run."""


def resumable(key: str, old: Any, new: Any) -> bool:
    """True if a resumed run may change a dotted key so: an optimizer only into one that can go on from its state."""
    if key.endswith("optimizer.type"):
        return state_name(str(old)) == state_name(str(new))
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in RESUMABLE)
