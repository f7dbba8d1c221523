"""The configuration of reports: their interval and trackers."""

from dataclasses import dataclass, field
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryConfig:
    """The interval of reports, and the trackers that get them."""

    report_steps: int = 100
    """Optimizer steps between reports; the only place where the host waits for the device."""
    report_to: str | tuple[str, ...] = "tensorboard"
    """A tracker that Accelerate knows (tensorboard, wandb, mlflow, ...), a list of them, or none. metrics.jsonl is
    always written."""
    tracker_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options that a tracker is made with, under its name, such as {wandb: {project: sr, entity: lab, tags: [x4]}};
    at W&B, MLflow and Comet a resumed run goes on under its id."""

    digest: bool = False
    """Report `training/digest`, an exact integer made of every pixel trained on since the last report. It is equal for
    any number of processes, any accumulation and any restarts, or something is wrong."""

    def __post_init__(self) -> None:
        if self.report_steps < 1:
            raise ValueError(f"report_steps must be at least 1, got {self.report_steps}")
        known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
        for name in self.trackers:
            if name not in known:
                raise ValueError(f"report_to: got {name!r}; allowed: none, {', '.join(known)}")
        if others := self.tracker_options.keys() - set(self.trackers):
            raise ValueError(f"tracker_options: got {', '.join(sorted(others))}, which report_to does not name")

    @property
    def trackers(self) -> list[str]:
        """The names of the trackers, each once."""
        named = [self.report_to] if isinstance(self.report_to, str) else self.report_to
        return [] if named == ["none"] else list(dict.fromkeys(named))
