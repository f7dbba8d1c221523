"""What Accelerate finds in the environment and this program cannot be run with is refused in a sentence."""

from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.utils import DistributedType

from tests.conftest import Tiny
from tests.faults.forked import TINY, Job
from trainer.building.accelerator import make_accelerator
from trainer.building.launcher_environment import check_engine, check_launcher, notes_on_launcher
from trainer.lifecycle.assemble import check
from trainer.mistakes import Mistake, Mistakes

PLAIN_DDP = "networks train by plain DDP here: unset it, and in the file of `accelerate config` choose distributed_type"


@pytest.mark.parametrize(
    ("leftover", "sentence"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, f"got true, which asks for DeepSpeed; {PLAIN_DDP}: MULTI_GPU"),
        ({"ACCELERATE_USE_FSDP": "1"}, f"got 1, which asks for FSDP; {PLAIN_DDP}"),
        ({"ACCELERATE_USE_MEGATRON_LM": "True"}, f"asks for Megatron-LM; {PLAIN_DDP}"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, f"asks for a parallelism_config; {PLAIN_DDP}"),
        ({"PJRT_DEVICE": "TPU"}, "which asks for a TPU"),
        ({"XLA_USE_BF16": "1"}, "which asks for a TPU"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "got fp8; mixed_precision can be no, bf16 or fp16 here"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "got '4', by which Accelerate would divide every loss"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "auto"}, "got 'auto', by which"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ""}, "got '', by which"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "got 'inductor'; the key compile says"),
        (
            {"ACCELERATE_DYNAMO_USE_DYNAMIC": "maybe"},
            "got 'maybe', which Accelerate cannot read; must be true, false or unset",
        ),
        ({"ACCELERATE_USE_CPU": ""}, "got '', which Accelerate cannot read"),
        ({"ACCELERATE_TORCH_DEVICE": "cuda:0"}, "got cuda:0, which would be the device of every process"),
    ],
)
def test_settings_of_accelerate_that_contradict_are_refused(leftover: dict[str, str], sentence: str) -> None:
    with pytest.raises(Mistake, match=f"^{next(iter(leftover))}: .*{sentence}"):
        check_launcher(leftover)


def test_all_of_them_are_named_at_once() -> None:
    with pytest.raises(Mistakes) as found:
        check_launcher({"ACCELERATE_USE_FSDP": "true", "ACCELERATE_DYNAMO_BACKEND": "EAGER"})
    assert [sentence.partition(":")[0] for sentence in found.value.sentences] == [
        "ACCELERATE_USE_FSDP",
        "ACCELERATE_DYNAMO_BACKEND",
    ]


def test_what_accelerate_launch_sets_by_itself_is_allowed() -> None:
    check_launcher({"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_DYNAMO_BACKEND": "NO"})
    check_launcher({"ACCELERATE_USE_DEEPSPEED": "false", "PJRT_DEVICE": "CUDA", "ACCELERATE_USE_CPU": "True"})
    check_launcher({"ACCELERATE_DYNAMO_USE_FULLGRAPH": "False", "ACCELERATE_DYNAMO_MODE": "default"})
    # what belongs to an engine does nothing without it
    check_launcher({"FSDP_VERSION": "2", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "ACCELERATE_DOWNCAST_BF16": "1"})


def test_a_precision_of_the_launcher_that_does_not_count_is_noted() -> None:
    assert notes_on_launcher({"ACCELERATE_MIXED_PRECISION": "bf16"}, "no") == [
        "mixed_precision: no counts, not bf16 as `accelerate launch` has it"
    ]
    for environment in ({}, {"ACCELERATE_MIXED_PRECISION": "no"}, {"ACCELERATE_MIXED_PRECISION": "bf16"}):
        assert not notes_on_launcher(environment, "bf16")


def test_the_check_before_a_training_refuses_them_too(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(Mistake, match=r"^ACCELERATE_USE_FSDP: got true"):
        check(tiny(), 1)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert any("bf16 as `accelerate launch` has it" in note for note in check(tiny(), 1))


@pytest.mark.usefixtures("fresh_accelerate")
def test_an_accelerator_of_a_program_by_which_others_train_is_refused(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_engine(accelerator := make_accelerator(tiny()))
    for engine in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        monkeypatch.setattr(accelerator.state, "distributed_type", engine)
        with pytest.raises(Mistake, match=f"^accelerator: its distributed_type is {engine.value}; networks train by"):
            check_engine(accelerator)


@pytest.mark.usefixtures("fresh_accelerate")
def test_an_accelerator_of_a_program_that_compiles_is_refused() -> None:
    with pytest.raises(Mistake, match=r"^accelerator: its dynamo_backend is EAGER; the key compile"):
        check_engine(Accelerator(cpu=True, dynamo_backend="EAGER"))


def test_ranks_that_are_to_shard_by_fsdp_end_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    job = Job(2, tmp_path / "log", [str(TINY), f"output_dir={tmp_path}", "name=sharded"])
    try:
        while job.wait(0.01) is None and 0 not in map(job.processes.index, job.codes):
            pass
        job.kill(1, 15)  # as the launcher does when the first has ended
        assert job.wait(60) is not None
    finally:
        job.end()
    said = (tmp_path / "log").read_text()
    assert job.codes[job.processes[0]] == 2
    assert said.count("error: ACCELERATE_USE_FSDP: got true, which asks for FSDP") == 1, said
    assert "Traceback" not in said
    assert not (tmp_path / "sharded").exists()
