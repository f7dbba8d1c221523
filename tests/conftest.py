"""What most tests stand on: the tiny run as a configuration, and one experiment built from it in this process."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported; nothing here may depend on the network

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, which accelerate's friends do
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from trainer.config.loader import load_config
from trainer.config.schema import RunConfig

TINY = Path(__file__).parent / "launch" / "tiny.yaml"

Tiny = Callable[..., RunConfig]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for other programs comes first, then the longest files, so that the workers of xdist end together."""
    slow = ("slurm", "faults", "launch", "zoo", "test_export_onnx.py", "test_whole_runs.py", "degradations")
    items.sort(key=lambda item: next((i for i, name in enumerate(slow) if name in item.path.parts), len(slow)))


def pytest_collection() -> None:
    """Nothing that is imported is garbage, and to look for it takes long."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is there now stays: no later look for garbage goes through it, in a forked rank neither.

    So does what reads configurations, which forked ranks then need not build.
    """
    load_config(RunConfig, TINY)
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors: threads only cost."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """`tiny("seed=5", ...)`: the configuration of tests/launch/tiny.yaml, its run folder in this test's own folder."""

    def load(*overrides: str) -> RunConfig:
        return load_config(RunConfig, TINY, [f"output_dir={tmp_path}", *overrides])

    return load


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    """One process on the CPU; Accelerate's global state is as it was afterwards."""
    yield Accelerator(cpu=True)
    forget_accelerate()


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """For tests whose subject makes its own Accelerator."""
    forget_accelerate()
    yield
    forget_accelerate()


def forget_accelerate() -> None:
    """Let the next Accelerator choose its own precision."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()
