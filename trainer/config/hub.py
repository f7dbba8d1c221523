"""The configuration of a run's repository on the model hub."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class HubConfig:
    """The repository on the hub and the times of pushes. The token is that of HF_TOKEN or of `hf auth login`."""

    repo_id: str
    """`namespace/name`; created if it does not exist, before anything else, or at the first push if the hub is away."""
    strategy: Literal["end", "best", "every_save"] = "end"
    """Push after the last step, at each best validation, or at each checkpoint."""
    private: bool = True
    """Make the repository private, and refuse one that is public."""
    tag_steps: bool = False
    """Tag each push `step-00012000`."""
    license: str | None = None
    """The licence of the weights by the hub's name for it, such as apache-2.0; null states none."""
    wait_minutes: float = 5.0
    """Minutes that a finished run waits for its last push at most; one that is asked to stop does not wait."""

    def __post_init__(self) -> None:
        if self.repo_id.count("/") != 1 or not all(self.repo_id.split("/")):
            raise ValueError(f"repo_id: got {self.repo_id!r}; must be namespace/name")
        if self.wait_minutes < 0:
            raise ValueError(f"wait_minutes: got {self.wait_minutes}; must be at least 0")
