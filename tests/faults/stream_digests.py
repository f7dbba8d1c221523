"""Reproducibility of a streamed run across changing numbers of ranks.

    python -m tests.faults.stream_digests 'shards/*.parquet' [more sources ...]

Trains the tiny run on each source with a global batch of 12: on one rank from beginning to end, then on numbers of
ranks that change at each resume, with and without workers. Prints a row for each: whether every step's digest equals
that of one rank, the largest difference of the final weights, and how many shards' lengths the last checkpoint knows.
"""

import sys
import tempfile
from pathlib import Path

import datasets  # noqa: F401 - imported before the forks, so that they need not
import torch

from tests.faults.digests import SETTINGS, Outcome, compare, outcome
from tests.faults.forked import TINY, Job

ENDS = (3, 6, 9)
"""The last steps of a run's three parts."""

CASES = (((1, 1, 1), 0), ((2, 3, 1), 0), ((2, 1, 2), 2))
"""The ranks of each part, and the loader workers."""


def train(source: str, worlds: tuple[int, ...], workers: int, folder: Path) -> Outcome:
    """Run one case to its end; a run on the same number of ranks throughout is not interrupted."""
    folder.mkdir()
    parts = [(worlds[0], ENDS[-1])] if len(set(worlds)) == 1 else list(zip(worlds, ENDS, strict=True))
    for world, last in parts:
        job = Job(world, folder / "log", [str(TINY), *SETTINGS, f"output_dir={folder}", f"max_train_steps={last}",
                  "batch.per_device=2", f"images.dataloader_num_workers={workers}",
                  f"images.source={{type: stream, path: '{source}', logical_streams: 6}}"])  # fmt: skip
        codes = job.wait(240)
        job.end()
        assert codes == [0] * world, (source, worlds, codes, (folder / "log").read_text()[-3000:])
    return outcome(folder / "tiny")


def known_lengths(run: Path) -> int:
    """Number of shard lengths in the newest checkpoint."""
    newest = max((run / "checkpoints").glob("step-????????"))
    return len(torch.load(newest / "progress.pt", weights_only=True)["stream"]["lengths"])


def main(sources: list[str]) -> int:
    """Print the table; 1 if a stream differs, or a result by more than rounding."""
    torch.set_num_threads(1)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for number, source in enumerate(sources):
            first: Outcome | None = None
            for worlds, workers in CASES:
                folder = Path(name) / f"{number}-{'-'.join(map(str, worlds))}"
                result = train(source, worlds, workers, folder)
                first = first or result
                equal, _, weights = compare(first, result)
                wrong += not equal or weights > 1e-5 or len(result.digests) != ENDS[-1]
                ranks = " -> ".join(map(str, worlds))
                print(
                    f"{Path(source).suffix}: {ranks} ranks, {workers} workers: digests "
                    f"{'equal' if equal else 'DIFFERENT'}, weights {weights:.1e}, "
                    f"{known_lengths(folder / 'tiny')} lengths known",
                    flush=True,
                )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
