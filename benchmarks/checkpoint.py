"""Time that a checkpoint holds up training: written at once, and in the background.

    accelerate launch --multi_gpu --num_processes 2 ... benchmarks/checkpoint.py FOLDER

RealESRNet x4's state: RRDBNet with Adam's moments and the average (268 MB), and a pool of 720 pairs (150 MB) over all
ranks. FOLDER is written to and emptied. Both ways take turns; in the background, only the copy of the state to
host memory holds up training. On a machine without GPUs set ACCELERATE_USE_CPU=true.
"""

import shutil
import statistics
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import CheckpointsConfig
from trainer.networks import RRDBNetConfig
from trainer.optim.ema import EMAConfig, smoothed
from trainer.optim.learner import Learner, OptimizerConfig
from trainer.optim.lr_schedules import Constant
from trainer.pairs.pool import Layout, PairShape, Pool
from trainer.saving import Saver
from trainer.state import Stream, TrainState

SAVES = 5


def main() -> None:
    """Print the medians on rank 0."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    player = Learner(accelerator, RRDBNetConfig().build(4, 3), OptimizerConfig(), Constant())
    for parameter in player.net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    player.step()  # Adam's moments exist from the first step on
    state = TrainState(player, None, smoothed(player.net, EMAConfig()), Stream(1, ""))
    pool = Pool(Layout(720, 12, 12, rank, world), PairShape((3, 64, 64), (3, 256, 256)), 0, device)
    folder = RunFolder(Path(sys.argv[1]))
    waits: dict[bool, list[float]] = {False: [], True: []}
    wholes: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * SAVES):
        background = bool(number % 2)
        config = CheckpointsConfig(checkpoints_total_limit=1, keep_best=False, background=background)
        saver = Saver(accelerator, folder, config, state, pool)
        state.step += 1
        accelerator.wait_for_everyone()
        begin = time.perf_counter()
        saver.save()
        waits[background].append(time.perf_counter() - begin)
        saver.wait()
        wholes[background].append(time.perf_counter() - begin)
    if accelerator.is_main_process:
        size = sum(file.stat().st_size for file in saver.checkpoints.path(state.step).iterdir())
        print(f"a checkpoint of {size / 1e6:.0f} MB, {world} ranks on {device.type}, medians of {SAVES}:")
        for background, name in ((False, "at once"), (True, "in the background")):
            wait, whole = statistics.median(waits[background]), statistics.median(wholes[background])
            print(f"  {name}: training waits {wait:.2f} s, the checkpoint is complete after {whole:.2f} s")
        shutil.rmtree(folder.path)
    accelerator.end_training()


if __name__ == "__main__":
    main()
