"""Whole runs that push while they train, with faults of the hub."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launcher import ROOT, RUN, TINY, environment
from loopback import Fault, LoopbackHub

from tests.faults.forked import Job
from trainer.networks import SRVGGNetCompact

pytestmark = pytest.mark.launch
HUB = "hub={repo_id: tester/x4, strategy: every_save}"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The last checkpoint of the same run without a hub, on two ranks."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Job(2, folder / "log", [str(TINY), f"output_dir={folder}"]).wait(200) == [0, 0]
    return last_checkpoint(folder)


def last_checkpoint(folder: Path) -> dict[str, bytes]:
    """Weights, moments, average, pool and progress after the last step."""
    files = (folder / "tiny" / "checkpoints" / "step-00000006").iterdir()
    return {file.name: file.read_bytes() for file in files if file.name != "manifest.json"}


def start(hub: LoopbackHub, folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start the tiny run as a program, with the loopback hub in its environment."""
    program = [sys.executable, str(RUN), str(TINY), f"output_dir={folder / 'outputs'}", HUB, *overrides]
    surroundings = {**environment(), **hub.environment(folder / "home")}
    return subprocess.Popen(
        program, env=surroundings, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(running: subprocess.Popen[str]) -> str:
    """The output of a program; it must exit with status 0."""
    text = running.communicate(timeout=300)[0]
    assert running.returncode == 0, text
    return text


def run(ranks: int, hub: LoopbackHub, folder: Path, *overrides: str) -> list[str]:
    """Run forked ranks of the tiny run with the loopback hub to the end; their output about it."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    job = Job(ranks, log, [str(TINY), f"output_dir={folder / 'outputs'}", HUB, *overrides])
    assert job.wait(300) == [0] * ranks, log.read_text()
    text = log.read_text()
    assert "Traceback" not in text
    assert hub.token not in text
    return [line for line in text.splitlines() if "tester/x4" in line]


def test_a_hub_that_fails_for_a_while_gets_everything_and_training_is_what_it_was(
    hub: LoopbackHub, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    hub.faults = [Fault("/preupload/", "drop"), Fault("/objects/", 503), Fault("/commit/", 503)]
    said = run(2, hub, tmp_path, "checkpoints.background=true")
    assert last_checkpoint(tmp_path / "outputs") == undisturbed
    assert hub.repos["tester/x4"].private
    newest = hub.repos["tester/x4"].main
    assert newest.files[WEIGHTS] == undisturbed["generator_ema.safetensors"]
    sheet = tmp_path / "outputs" / "tiny" / "samples" / "step-00000006.png"
    assert newest.files["samples/validation.png"] == sheet.read_bytes()
    assert hub.titles("tester/x4")[-1] == "Step 6"
    assert said[-1] == f"step 6 is on tester/x4 (commit {newest.oid[:7]})."
    assert len([line for line in said if "could not be pushed" in line]) <= 1


def test_a_hub_that_hangs_holds_up_nothing_and_the_same_command_catches_up(
    hub: LoopbackHub, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    hub.faults = [Fault("/preupload/", "hang", times=99)]
    said = run(2, hub, tmp_path, "hub.wait_minutes=0.02")
    assert last_checkpoint(tmp_path / "outputs") == undisturbed
    assert said[-1].startswith("step 6 is not known to be on tester/x4 (cut off): the same command, or `python -m ")
    assert (tmp_path / "outputs" / "tiny" / "DONE").is_file()

    hub.faults = []
    assert run(1, hub, tmp_path)[-1].startswith("step 6 is on tester/x4")
    assert hub.titles("tester/x4") == ["Step 6"]
    assert hub.repos["tester/x4"].main.files[WEIGHTS] == undisturbed["generator_ema.safetensors"]


def test_a_run_that_dies_during_a_push_pushes_again_when_it_is_resumed(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults = [Fault("/preupload/", "hang")]
    settings = [f"output_dir={tmp_path / 'outputs'}", HUB, "max_train_steps=100000", "validation=null"]
    running = Job(1, tmp_path / "log", [str(TINY), *settings])
    deadline = time.monotonic() + 120
    while hub.faults[0].times:
        assert running.wait(0.01) is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
    running.end()
    folder = tmp_path / "outputs" / "tiny"
    assert hub.titles("tester/x4") == []
    assert list((folder / "hub").glob("step-*"))
    newest = max(path for path in (folder / "checkpoints").iterdir() if path.suffix == "")
    last = int(newest.name.removeprefix("step-"))

    said = run(1, hub, tmp_path, f"max_train_steps={last}", "validation=null")
    assert said[-1].startswith(f"step {last} is on tester/x4")
    assert hub.repos["tester/x4"].main.files[WEIGHTS] == (newest / "generator_ema.safetensors").read_bytes()
    assert [path.name for path in (folder / "hub").iterdir()] == ["pushed.json"]


def test_a_run_notes_what_it_found_on_the_hub_and_its_card_names_it(hub: LoopbackHub, tmp_path: Path) -> None:
    SRVGGNetCompact(4, num_feat=8, num_conv=1).save_pretrained(tmp_path / "base")
    hub.add("tester/base").main.files.update({file.name: file.read_bytes() for file in (tmp_path / "base").iterdir()})
    settings = ("init.generator=tester/base", "validation=null")
    finished(start(hub, tmp_path, *settings, "max_train_steps=3"))
    assert b"base_model: tester/base\n" in hub.repos["tester/x4"].main.files["README.md"]
    run(1, hub, tmp_path, *settings)  # what is resumed reads no weights to begin with
    assert b"base_model: tester/base\n" in hub.repos["tester/x4"].main.files["README.md"]
    starts = (tmp_path / "outputs" / "tiny" / "starts.jsonl").read_text().splitlines()
    assert [json.loads(start).get("hub_names") for start in starts] == [["tester/base"], None]


def test_a_run_that_is_asked_to_stop_does_not_wait_for_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults = [Fault("/preupload/", "hang")]
    said = run(1, hub, tmp_path, "max_train_steps=100000", "validation=null", "max_hours=0.001")
    assert said[-1].startswith("step ")
    assert "is not known to be on tester/x4 (cut off): the same command" in said[-1]
    assert (tmp_path / "outputs" / "tiny" / "STOPPED").is_file()


def test_a_token_that_is_refused_ends_the_run_before_it_begins(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.token = "hf_another"
    running = start(hub, tmp_path)
    hub.token = "hf_loopback"
    text = running.communicate(timeout=300)[0]
    assert running.returncode == 2
    assert text == (
        "error: hub.repo_id: tester/x4 cannot be pushed to: HTTP 401: Invalid credentials in Authorization header; "
        "check HF_TOKEN, or run `hf auth login`.\n"
    )
    assert not (tmp_path / "outputs").exists()
    assert hub.repos == {}
