"""A run that was interrupted is bitwise the run that was not; ranks share one stream.

Through the true launcher once; the other runs are forked, which takes a second in place of ten.
"""

import json
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from launcher import TINY, launch

from tests.faults.forked import Job

pytestmark = pytest.mark.launch


@dataclass(frozen=True)
class Outcome:
    """A finished run of six steps."""

    folder: Path
    said: str

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    @property
    def digests(self) -> dict[int, int]:
        return {line["step"]: line["training/digest"] for line in self.metrics}

    def tensors(self, part: str) -> dict[str, torch.Tensor]:
        return safetensors.torch.load_file(self.folder / "checkpoints" / "step-00000006" / f"{part}.safetensors")

    def saved(self, part: str) -> Any:
        file = self.folder / "checkpoints" / "step-00000006" / f"{part}.pt"
        return torch.load(file, weights_only=True, map_location="cpu")


def run(processes: int, folder: Path, *overrides: str) -> Outcome:
    """Forked processes, to the end."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    job = Job(processes, log, [str(TINY), f"output_dir={folder}", *overrides])
    assert job.wait(200) == [0] * processes, log.read_text()
    return Outcome(folder / "tiny", log.read_text())


def kill_at(line: str, processes: int, folder: Path) -> None:
    """Start the run and kill all its processes, as a machine's memory killer would, when it has said `line`."""
    log = folder / "killed"
    job = Job(processes, log, [str(TINY), f"output_dir={folder}"])
    deadline = time.monotonic() + 120
    while not log.exists() or not any(said.startswith(line) for said in log.read_text().splitlines()):
        assert job.wait(0) is None, "the run never came so far"
        assert time.monotonic() < deadline
    job.end()
    assert job.wait(0) == [-signal.SIGKILL] * processes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Outcome]:
    """Six steps at once, by one process and, as `accelerate launch` starts them, by two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    return {1: run(1, one), 2: Outcome(two / "tiny", launch(2, two).stdout)}


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Outcome]:
    """The same in pieces: to step 3 and on; by two processes also killed on the way between two checkpoints."""
    one, two = tmp_path_factory.mktemp("resumed"), tmp_path_factory.mktemp("killed")
    run(1, one, "max_train_steps=3")
    run(2, two, "max_train_steps=3")
    kill_at("step 4/6", 2, two)
    assert not (two / "tiny" / "checkpoints" / "step-00000006").exists(), "it was killed too late to prove anything"
    return {1: run(1, one), 2: run(2, two)}


@pytest.fixture(scope="module")
def otherwise(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The same six steps by one process without accumulation, its pictures read by two workers."""
    return run(1, tmp_path_factory.mktemp("otherwise"), "batch.per_device=4", "images.dataloader_num_workers=2")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("part", ["generator", "generator_ema"])
def test_a_resumed_run_has_the_weights_of_the_whole_one_bitwise(
    whole: dict[int, Outcome], resumed: dict[int, Outcome], processes: int, part: str
) -> None:
    wanted, found = whole[processes].tensors(part), resumed[processes].tensors(part)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_run_has_the_moments_of_the_whole_one_bitwise(
    whole: dict[int, Outcome], resumed: dict[int, Outcome], processes: int
) -> None:
    wanted, found = (outcome[processes].saved("generator_optimizer") for outcome in (whole, resumed))
    assert wanted["param_groups"] == found["param_groups"]
    assert wanted["state"].keys() == found["state"].keys()
    for number, moments in wanted["state"].items():
        assert all(torch.equal(moments[name], found["state"][number][name]) for name in moments)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_run_has_the_figures_of_the_whole_one(
    whole: dict[int, Outcome], resumed: dict[int, Outcome], processes: int
) -> None:
    """Losses, rates, digests and validations to the last bit; only the clock may differ."""

    def timeless(outcome: Outcome) -> list[dict[str, Any]]:
        return [{key: x for key, x in line.items() if not key.startswith("speed/")} for line in outcome.metrics]

    assert timeless(whole[processes]) == timeless(resumed[processes])
    assert whole[processes].saved("progress") == resumed[processes].saved("progress")


@pytest.mark.parametrize("processes", [1, 2])
def test_every_step_is_reported_once(resumed: dict[int, Outcome], processes: int) -> None:
    assert Counter(line["step"] for line in resumed[processes].metrics) == Counter(range(1, 7))
    assert "resumes at step 3 of 6" in resumed[processes].said


def test_two_ranks_accumulation_and_workers_train_on_the_same_pairs(
    whole: dict[int, Outcome], otherwise: Outcome
) -> None:
    """2 x b, 1 x b x 2 and 1 x 2b with workers: equal to the last pixel, and nothing is seen twice."""
    assert whole[1].digests == whole[2].digests == otherwise.digests
    assert len(set(otherwise.digests.values())) == 6


@pytest.mark.parametrize("part", ["generator", "generator_ema"])
def test_two_ranks_and_accumulation_come_to_the_same_weights(
    whole: dict[int, Outcome], otherwise: Outcome, part: str
) -> None:
    """Up to the order in which gradients are summed; six steps at this rate move a weight by up to 5e-3."""
    wanted = otherwise.tensors(part)
    for outcome in whole.values():
        found = outcome.tensors(part)
        assert all(torch.allclose(found[name], wanted[name], rtol=0, atol=2e-5) for name in wanted)


def test_validation_does_not_depend_on_the_number_of_ranks(whole: dict[int, Outcome]) -> None:
    one, two = (whole[processes].metrics[-1] for processes in (1, 2))
    for name in ("psnr_bicubic", "ssim_bicubic"):
        assert one[f"validation/{name}"] == two[f"validation/{name}"]
    assert one["validation/psnr"] == pytest.approx(two["validation/psnr"], abs=0.01)


def test_a_run_folder_holds_what_is_promised(whole: dict[int, Outcome]) -> None:
    folder = whole[2].folder
    names = {path.name for path in folder.iterdir()}
    files = {".lock", "config.yaml", "metrics.jsonl", "starts.jsonl", "DONE", "report.html"}
    assert names == files | {"tensorboard", "samples", "checkpoints", "export"}
    assert (folder / "DONE").read_text() == "6\n"
    samples = sorted(path.name for path in (folder / "samples").iterdir())
    assert samples == ["step-00000003.png", "step-00000006.png", "views"]
    assert {path.name for path in (folder / "export").iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    assert len(list((folder / "tensorboard").iterdir())) == 1


def test_files_can_be_read_by_colleagues(whole: dict[int, Outcome]) -> None:
    for part in ("checkpoints/step-00000006", "export"):
        for file in (whole[1].folder / part).iterdir():
            assert file.stat().st_mode & 0o777 == 0o644, file


def test_the_export_is_the_average_of_the_last_step(whole: dict[int, Outcome]) -> None:
    from trainer.networks import SRVGGNetCompact

    exported = SRVGGNetCompact.from_pretrained(whole[2].folder / "export").state_dict()
    assert all(torch.equal(exported[name], value) for name, value in whole[2].tensors("generator_ema").items())
