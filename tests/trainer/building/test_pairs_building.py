"""All ranks degrade by the same path, kernels or plain PyTorch, and the run reports it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator

from degradations import eligible
from degradations.fused import switch
from tests.conftest import Tiny
from trainer.building.accelerator import make_accelerator
from trainer.building.pairs import agree_on_path
from trainer.distributed.ranks import leave_group
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.banner import banner
from trainer.mistakes import Failure

OTHER = "by the reference: in a trial on cuda:1 they failed: RuntimeError: Triton Error [CUDA]: no image"


def unusable() -> str:
    raise switch.KernelsUnusable("The fused kernels cannot be compiled.")


def broken() -> str:
    raise switch.DeviceBroken("cuda:0 computes nothing more.")


def told_by_ranks(folder: Path, *asks: Callable[[], str]) -> list[str]:
    """Result of each forked rank: the reason that its kernels are off, or its Failure."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    children = []
    for rank, ask in enumerate(asks):
        if child := os.fork():
            children.append(child)
            continue
        try:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(len(asks)))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, ACCELERATE_USE_CPU="true")
            try:
                agree_on_path(Accelerator(cpu=True), ask)
                said = "".join(switch._off)
            except Failure as failure:
                said = f"Failure: {failure}"
            (folder / str(rank)).write_text(said)
            leave_group()
        finally:
            os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    return [(folder / str(rank)).read_text() for rank in range(len(asks))]


@pytest.mark.usefixtures("fresh_accelerate")
def test_ranks_take_one_path(tmp_path: Path) -> None:
    told = told_by_ranks(tmp_path, lambda: eligible.WHOLE, lambda: OTHER)
    assert told == [f"rank 1 would degrade {OTHER}, and all ranks take the same path"] * 2


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_fault_of_one_rank_ends_all(tmp_path: Path) -> None:
    told = told_by_ranks(tmp_path, lambda: eligible.WHOLE, unusable)
    assert told == ["Failure: The fused kernels cannot be compiled."] * 2


def test_a_path_that_all_take_stays(accelerator: Accelerator) -> None:
    agree_on_path(accelerator, lambda: OTHER)
    assert not switch._off
    with pytest.raises(Failure, match="computes nothing more"):
        agree_on_path(accelerator, broken)


@pytest.mark.usefixtures("fresh_accelerate")
def test_the_banner_says_the_path(tiny: Tiny) -> None:
    config = tiny()
    said = banner(assemble(config, make_accelerator(config)))
    assert "degradation  second_order, by the reference: fused kernels are for GPUs, and this is cpu\n" in said
