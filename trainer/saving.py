"""Saving a run: all ranks write, in a thread if asked, and agree on how it went."""

import time
from collections.abc import Callable
from threading import Thread, main_thread
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from trainer.checkpoints.names import GENERATOR_EMA
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import VISIBLE, Checkpoints, CheckpointsConfig, Parts, on_host, reason
from trainer.console import say
from trainer.distributed.comparison import checksum, same_everywhere
from trainer.distributed.waiting import SLOW_GRACE, WATCH
from trainer.export.ema_export import export, is_exported
from trainer.hub.pusher import Pusher
from trainer.mistakes import Failure, agreed
from trainer.pairs.pool import Pool
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
        self.saved: int | None = None
        """The step of the newest complete checkpoint that this run stands on."""
        self.postponed = False
        self.shared: set[tuple[int, int]] = set()
        self.thread: Thread | None = None
        self.step = 0  # of the save in flight, or the last one
        self.best: int | None = None  # the best step when it began: the thread must not look at a later one
        self.kept: list[int] = []  # the steps that are spared, likewise
        self.prune = True
        self.complete: int | None = None  # what rank 0 has completed
        self.errors: list[tuple[str, str]] = []  # of this rank, which the others do not know yet: what, and why
        self.give_up_reason = ""  # why rank 0 need not wait for the others' parts
        self.all_written: float | None = None  # when rank 0 knew that there are no more to come

    def due(self, wanted: bool) -> bool:
        """True if a save is due now; one that is wanted while steps are skipped is postponed until one is taken.

        A run that diverges skips until it is given up, and its newest checkpoint is then from before.
        """
        self.postponed |= wanted
        return self.postponed and not self.skipping()

    def save(self, ending: bool = False) -> None:
        """Save the run as it stands at this step, or begin to.

        Raises Failure, on every rank, where a save went wrong and `stop_on_error` or `ending` says that this matters.
        """
        self.wait(ending)
        self.postponed = False
        if self.state.step == self.saved:
            return
        self.compare_weights()
        self.step = self.state.step
        self.best = self.state.best.step if self.state.best and self.config.keep_best else None
        self.kept = [best.step for best in self.state.bests] if self.config.keep_best else []
        self.prune = not self.skipping()
        self._try(self._this, self._begin)
        if not self._agree(ending):  # also the barrier behind which the folder is there
            return
        self._share_lengths()
        parts, rank = self._own_parts(), self.accelerator.process_index
        if self.config.background:
            self.give_up_reason, self.all_written = "", None
            arguments = (self._this, self._write_and_complete, rank, on_host(parts))
            # A daemon, for the interpreter's end would wait without limit for a disk that hangs; `wait` has one.
            self.thread = Thread(target=self._try, args=arguments, name="checkpoint", daemon=True)
            self.thread.start()
            return
        self._try(self._this, self.checkpoints.write, self.step, rank, parts)
        if self._agree(ending):
            self._try(self._this, self._complete)
            self._conclude(ending)

    def compare_weights(self) -> None:
        """Check that all ranks hold the same weights, for each writes its share of them.

        Raises Failure, on every rank, where one does not. Buffers are left out: BatchNorms keep each rank's own.
        """
        if self.accelerator.num_processes == 1:
            return
        networks = {name: learner.net for name, learner in self.state.learners.items()}
        networks[GENERATOR_EMA] = self.state.ema.ema_model
        sums: list[int] = torch.stack([checksum(net.parameters()) for net in networks.values()]).tolist()
        newest = "none yet" if self.saved is None else f"of step {self.saved}"
        wanted = (
            f"at step {self.state.step} the ranks do not hold the same weights, by these checksums, so nothing is "
            "saved. A processor or its memory is at fault, or processors of different kinds round differently. "
            f"The newest checkpoint, {newest}, is untouched."
        )
        same_everywhere(self.accelerator, dict(zip(networks, sums, strict=True)), wanted, Failure)

    def save_and_wait(self) -> None:
        """Save this step, and wait for that; Failure, on every rank, where it cannot be."""
        with WATCH.phase("saving", lambda: self._this, grace=SLOW_GRACE):
            self.save(ending=True)
            self.wait(ending=True)

    def poll(self) -> None:
        """At a report: end a background save that is written, or that some rank could not write."""
        if self.thread is None:
            return
        failed, busy = bool(self.errors), self.thread.is_alive()
        ranks = gather_object([(failed, busy)])
        if any(failed for failed, _ in ranks) or not any(busy for _, busy in ranks):
            self.wait()
        elif self.all_written is None and not any(busy for _, busy in ranks[1:]):
            self.all_written = time.monotonic()

    def wait(self, ending: bool = False) -> None:
        """Wait for the save in flight on all ranks; Failure, or a sentence, where it failed."""
        if self.thread is None:
            return
        with WATCH.phase("waiting for a save", lambda: self._this, grace=SLOW_GRACE):
            if not self.accelerator.is_main_process:
                self._join(self.thread)
            if errors := gather_object(list(self.errors)):
                self.give_up_reason = f"{errors[0][0]}: {errors[0][1]}"
            self.all_written = self.all_written or time.monotonic()
            if self.accelerator.is_main_process:
                self._join(self.thread)
        self.thread = None
        self._conclude(ending)

    def resumed(self, step: int) -> None:
        """The run stands on the checkpoint of `step`, whose export a death may have prevented."""
        self.saved = self.complete = step
        self.shared = set(self.state.stream.lengths.items())
        if self.accelerator.is_main_process:
            self._try("the export", self._export, step)
        self._agree(ending=False)

    def skipping(self) -> bool:
        """True if the last step was skipped, as its gradient was not finite. The host waits here."""
        return bool(self.accelerator.reduce(self.state.skipped_in_a_row(), "sum").item())

    def _share_lengths(self) -> None:
        """Let every rank know what each has learnt of a streamed dataset's shards since the last save."""
        lengths = self.state.stream.lengths
        lengths.update(gather_object(sorted(lengths.items() - self.shared)))
        self.state.stream.lengths = dict(sorted(lengths.items()))  # in one order, or equal checkpoints would differ
        self.shared = set(lengths.items())

    def _begin(self) -> None:
        if self.accelerator.is_main_process:
            self.checkpoints.begin(self.step, self.saved)

    def _write_and_complete(self, rank: int, parts: Parts) -> None:
        """Everything after the snapshot, without collectives: this is another thread."""
        self.checkpoints.write(self.step, rank, parts)
        self._complete(self._given_up)

    def _complete(self, given_up: Callable[[float], str] | None = None) -> None:
        """Work of rank 0 once all have written: completing the checkpoint, export, hub, pruning."""
        if not self.accelerator.is_main_process:
            return
        self.checkpoints.complete(self.step, self.accelerator.num_processes, given_up)
        self.complete = self.step
        self._try("the export", self._export, self.step)
        if self.pusher:
            self.pusher.saved(self.step, best=self.step == self.best)
        if self.prune:
            limit = self.config.checkpoints_total_limit
            self._try("the folder of checkpoints", self.checkpoints.prune, limit, self.kept)

    def _export(self, step: int) -> None:
        checkpoint = self.checkpoints.path(step)
        if not is_exported(checkpoint, self.folder.export):
            export(checkpoint, self.state.generator.net, self.folder.export)

    def _given_up(self, seconds: float) -> str:
        """Reason for rank 0's thread to give up another rank's part after `seconds`; empty to wait on."""
        if self.give_up_reason:
            return self.give_up_reason
        if not main_thread().is_alive():
            return "the run has ended"
        if self.all_written is not None and time.monotonic() - self.all_written > VISIBLE:
            return "is output_dir on a disk that all nodes share?"
        return f"{WATCH.limit / 60:g} minutes, distributed.timeout_minutes, are over" if seconds > WATCH.limit else ""

    def _join(self, thread: Thread) -> None:
        """Wait for this rank's thread, as long as is configured."""
        thread.join(WATCH.limit)
        if thread.is_alive():
            why = f"rank {self.accelerator.process_index} has been at it for {WATCH.limit / 60:g} minutes"
            self.errors.append((self._this, f"{why}, distributed.timeout_minutes"))

    def _own_parts(self) -> dict[str, Any]:
        """This rank's shard of the pool, and its share of the replicated state."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()  # the pool is changed on a stream of its own
        parts: dict[str, Any] = {
            name: part for number, (name, part) in enumerate(self.state.parts().items()) if number % world == rank
        }
        if self.pool and len(self.pool.rows):
            first = self.pool.first
            parts[f"pool-{first:08d}-{first + len(self.pool.rows):08d}"] = {"rows": self.pool.rows}
        return parts

    @property
    def _this(self) -> str:
        return f"the checkpoint of step {self.step}"

    def _try(self, what: str, work: Callable[..., object], *arguments: object) -> None:
        try:
            work(*arguments)
        except Exception as error:  # libraries raise many classes where a disk refuses
            self.errors.append((what, reason(error)))

    def _conclude(self, ending: bool) -> None:
        """Agree on how a save went, and on where the run stands."""
        self.saved = gather_object([self.complete])[0]
        self._agree(ending)

    def _agree(self, ending: bool) -> bool:
        """Let every rank know of every rank's errors; whether there are none."""
        errors: list[tuple[str, str]] = sorted(set(gather_object(self.errors)))
        self.errors = []
        if not errors:
            return True
        reasons = {what: "; ".join(why for other, why in errors if other == what) for what, _ in errors}
        sentence = ". ".join(f"{what} could not be written: {why}" for what, why in reasons.items())
        if self.config.stop_on_error or ending:
            raise agreed(Failure(f"{sentence}. The last complete checkpoint is untouched."))
        if self.accelerator.is_main_process:
            say(f"{sentence}; training goes on, the last complete checkpoint is untouched.")
        return False
