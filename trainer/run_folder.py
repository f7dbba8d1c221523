"""The folder of one run: where everything lies, and nothing about what is in it.

outputs/<name>/
    config.yaml       what runs, every key resolved
    metrics.jsonl     one line per report
    tensorboard/      the same as curves, and images
    samples/          step-*.png: bicubic | result | ground truth
    checkpoints/      step-*/, complete or absent
    export/           the newest smoothed generator, `from_pretrained` opens it
    DONE              the run has ended
"""

from pathlib import Path


class RunFolder:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.export = path / "export"
        self.done = path / "DONE"

    def finish(self, step: int) -> None:
        """Say that the run has taken its last step."""
        self.done.write_text(f"{step}\n")

    def steps_done(self) -> int | None:
        """The steps of a run that has ended, else None."""
        return int(self.done.read_text()) if self.done.is_file() else None
