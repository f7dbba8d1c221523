"""Values that each rank reads or computes for itself: a difference between ranks is reported before training."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import trainer.lifecycle.compare_ranks
import trainer.loop
from tests.faults.forked import TINY, Job, Work
from tests.faults.nodes import SMALL, network, with_other_rate
from trainer.base_model import BaseModel
from trainer.checkpoints.store import Checkpoints
from trainer.distributed.comparison import checksum, describe_differences
from trainer.pairs.synthesis import PairBatch
from trainer.run import main
from trainer.steps import Report, train_step

pytestmark = pytest.mark.launch


def ended(folder: Path, work: Work, *settings: str) -> tuple[list[int] | None, str]:
    """Exit codes and output of two ranks that do `work`; the codes are None where one has not ended in time."""
    folder.mkdir(exist_ok=True)
    job = Job(2, folder / "log", [str(TINY), *SMALL, *settings], work)
    try:
        return job.wait(90), (folder / "log").read_text()
    finally:
        job.end()


def test_nodes_with_another_learning_rate_are_told_before_they_train(tmp_path: Path) -> None:
    """Two nodes with a network of their own, where that is permitted; else two ranks on this machine."""
    with network() as nodes:
        work = nodes.on_own_node(with_other_rate) if nodes else with_other_rate
        codes, said = ended(tmp_path, work, f"output_dir={tmp_path}")
    first, second = ("node0", "node1") if nodes else (os.uname().nodename,) * 2
    assert codes == [2, 2], said
    assert f"optimizer.learning_rate: rank 1 on {second} has 0.002, rank 0 on {first} 0.001; all ranks must be" in said
    assert not (tmp_path / "tiny").exists()


def test_an_output_dir_that_ranks_do_not_share_is_told_before_they_train(tmp_path: Path) -> None:
    def work(arguments: Sequence[str]) -> int:
        (own := tmp_path / os.environ["RANK"]).mkdir()
        os.chdir(own)
        trainer.lifecycle.compare_ranks.VISIBLE = 0.2
        return main(arguments)

    codes, said = ended(tmp_path, work, "output_dir=runs")
    assert codes == [2, 2], said
    assert f"output_dir: rank 1 on {os.uname().nodename} cannot see in " in said
    assert "/runs/tiny what rank 0 on " in said
    assert not (tmp_path / "0" / "runs" / "tiny" / "metrics.jsonl").exists()


def test_a_weight_that_one_rank_holds_otherwise_ends_the_run_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    def wrong(model: BaseModel, pairs: Sequence[PairBatch], measure_update: bool) -> Report:
        report = train_step(model, pairs, measure_update)
        if model.state.step == 2:
            next(model.generator.net.parameters()).data[0, 0, 0, 0] += 1e-6
        return report

    def work(arguments: Sequence[str]) -> int:
        if os.environ["RANK"] == "1":
            trainer.models.train_step = wrong
        return main(arguments)

    codes, said = ended(tmp_path, work, f"output_dir={tmp_path}", "checkpoints.checkpointing_steps=2")
    assert codes == [1, 1], said
    assert f"error: generator: rank 1 on {os.uname().nodename} has " in said
    assert "; generator_ema: rank 1 on " in said
    assert "at step 4 the ranks do not hold the same weights" in said
    assert "The newest checkpoint, of step 2, is untouched." in said
    assert Checkpoints(tmp_path / "tiny" / "checkpoints").newest() == (2, [])


def test_the_odd_rank_is_told_by_what_most_have() -> None:
    usual = {"a": 1, "b": [2, 3], "c": None}
    ranks = [("n0", {**usual, "a": 4}), ("n0", usual), ("n1", usual), ("n1", {"a": 1, "b": 5, "d": "x"})]
    assert describe_differences(ranks) == "a: rank 0 on n0 has 4, rank 1 on n0 1; and 1 more of 4 ranks"
    assert describe_differences(ranks[2:]) == (
        'b: rank 1 on n1 has 5, rank 0 on n1 [2, 3]; d: rank 1 on n1 has "x", rank 0 on n1 nothing'
    )
    many: dict[str, object] = {str(number): number for number in range(9)}
    assert describe_differences([("n0", many), ("n0", dict.fromkeys(many, "y"))]).endswith("; and 4 more differences")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_a_checksum_sees_one_bit_and_whose_it_is(dtype: torch.dtype) -> None:
    tensors = [torch.zeros(2, 3).to(dtype), torch.ones(()).to(dtype)]
    before = checksum(tensors)
    assert before == checksum([tensor.clone() for tensor in tensors])
    assert before != checksum(tensors[::-1])
    tensors[0].view(-1).view(torch.uint8)[3] ^= 1
    assert before != checksum(tensors)
