"""Saving a run: all ranks write, in a thread if asked, and agree on how it went."""

from threading import Thread
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from trainer.checkpoint import Checkpoints, CheckpointsConfig, Parts, on_host
from trainer.console import say
from trainer.mistakes import Failure
from trainer.pool import Pool
from trainer.pusher import Pusher
from trainer.run_export import export
from trainer.run_folder import RunFolder
from trainer.state import TrainState


class Saver:
    """Writes checkpoints and the export that goes with each. Methods are collective."""

    def __init__(
        self,
        accelerator: Accelerator,
        folder: RunFolder,
        config: CheckpointsConfig,
        state: TrainState,
        pool: Pool | None,
        pusher: Pusher | None = None,
    ) -> None:
        self.accelerator, self.folder, self.config = accelerator, folder, config
        self.state, self.pool, self.pusher = state, pool, pusher
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.thread: Thread | None = None
        self.errors: list[str] = []
        self.saved: int | None = None
        self.shared: set[tuple[int, int]] = set()

    def save(self) -> None:
        """Save the run as it stands at this step, or begin to. Failure on every rank where a save went wrong."""
        self.wait()
        step = self.state.step
        if step == self.saved:
            return
        self.saved = step
        self._try(self._begin, step)
        self._agree()  # also the barrier behind which the folder is there
        self._share_lengths()
        parts = self._own_parts()
        if self.config.background:
            self.thread = Thread(target=self._try, args=(self._write, step, on_host(parts)), name="checkpoint")
            self.thread.start()
        else:
            self._try(self._write, step, parts)
            self.wait()

    def wait(self) -> None:
        """Wait for the save in flight on all ranks; Failure, or a sentence, where it failed."""
        if self.thread:
            self.thread.join()
            self.thread = None
        self._agree()

    def _share_lengths(self) -> None:
        """Let every rank know what each has learnt of a streamed dataset's shards since the last save."""
        lengths = self.state.stream.lengths
        lengths.update(gather_object(sorted(lengths.items() - self.shared)))
        self.state.stream.lengths = dict(sorted(lengths.items()))  # in one order, or equal checkpoints would differ
        self.shared = set(lengths.items())

    def _begin(self, step: int) -> None:
        if self.accelerator.is_main_process:
            self.checkpoints.begin(step)

    def _write(self, step: int, parts: Parts) -> None:
        """Everything after the snapshot, without collectives: this may be another thread."""
        self.checkpoints.write(step, self.accelerator.process_index, parts)
        if not self.accelerator.is_main_process:
            return
        complete = self.checkpoints.complete(step, self.accelerator.num_processes)
        export(complete, self.state.generator.module, self.folder.export)
        best = [self.state.best.step] if self.state.best and self.config.keep_best else []
        if self.pusher:
            self.pusher.saved(step, best=step in best)
        self.checkpoints.prune(self.config.checkpoints_total_limit, spare=best)

    def _own_parts(self) -> dict[str, Any]:
        """What this rank writes: its shard of the pool, and its share of what all ranks hold alike."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()  # the pool is changed on a stream of its own
        parts: dict[str, Any] = {
            name: part for number, (name, part) in enumerate(self.state.parts().items()) if number % world == rank
        }
        if self.pool and len(self.pool.rows):
            first = self.pool.first
            parts[f"pool-{first:08d}-{first + len(self.pool.rows):08d}"] = {"rows": self.pool.before(self.state.step)}
        return parts

    def _try(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except OSError as error:
            self.errors.append(str(error))

    def _agree(self) -> None:
        """Let every rank know of every rank's errors."""
        errors: list[str] = sorted(set(gather_object(self.errors)))
        self.errors = []
        if not errors:
            return
        sentence = f"the checkpoint of step {self.saved} could not be written: {'; '.join(errors)}"
        if self.config.stop_on_error:
            raise Failure(f"{sentence}. The last complete checkpoint is untouched.")
        if self.accelerator.is_main_process:
            say(f"{sentence}; training goes on, the last complete checkpoint is untouched.")
