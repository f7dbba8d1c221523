"""Opening the repository at a run's start, and `python -m trainer.push`."""

import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator
from loopback import Fault, LoopbackHub

from tests.faults.forked import TINY, Job
from trainer.command import set_aside
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig, folder_of
from trainer.hub import client as module
from trainer.lifecycle.publishing import ensure_repo_or_fail
from trainer.mistakes import Mistake
from trainer.push import main

Configure = Callable[..., RunConfig]
HUB = "hub={repo_id: tester/x4}"


def refusal(config: RunConfig) -> str:
    with pytest.raises(Mistake) as caught:
        ensure_repo_or_fail(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_repository_is_made_private_before_anything_else(hub: LoopbackHub, tiny: Configure) -> None:
    ensure_repo_or_fail(tiny(HUB))
    assert hub.repos["tester/x4"].private
    assert hub.titles("tester/x4") == []
    ensure_repo_or_fail(tiny(HUB))  # it may be there
    ensure_repo_or_fail(tiny(HUB, "hub.repo_id=tester/shown", "hub.private=false"))
    assert not hub.repos["tester/shown"].private


def test_a_run_without_a_hub_asks_nothing_of_it(hub: LoopbackHub, tiny: Configure) -> None:
    ensure_repo_or_fail(tiny())
    assert hub.requests == []


def test_a_token_that_is_not_valid_is_a_mistake(hub: LoopbackHub, tiny: Configure) -> None:
    hub.token = "another"
    assert refusal(tiny(HUB)) == (
        "hub.repo_id: tester/x4 cannot be pushed to: HTTP 401: Invalid credentials in Authorization header; check "
        "HF_TOKEN, or run `hf auth login`."
    )


@pytest.mark.usefixtures("hub")
def test_no_token_is_a_mistake(tiny: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert refusal(tiny(HUB)) == (
        "hub.repo_id: tester/x4 cannot be pushed to: there is no token: set HF_TOKEN or run `hf auth login`."
    )


@pytest.mark.usefixtures("hub")
def test_a_run_begins_offline_all_the_same(
    tiny: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = tiny(HUB)
    ensure_repo_or_fail(config)
    path = folder_of(config).path
    assert capsys.readouterr().out == (
        "hub.repo_id: tester/x4 cannot be reached: HF_HUB_OFFLINE is set; training goes on, pushes are tried all the "
        f"same, and `python -m trainer.push {path}` brings what is missing.\n"
    )


@pytest.mark.usefixtures("hub")
def test_a_stop_request_ends_the_wait_for_a_hub_that_hangs(
    hub: LoopbackHub, tiny: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Fault("/repos/create", "hang", times=2)]
    monkeypatch.setattr(module.REQUEST, "name", "SIGTERM")
    ensure_repo_or_fail(tiny(HUB))
    assert "cannot be reached: cut off; training goes on" in capsys.readouterr().out


def test_a_stop_before_the_first_step_ends_the_ranks_that_did_not_get_it_too(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults = [Fault("/repos/create", "hang", times=9)]
    job = Job(2, tmp_path / "log", [str(TINY), f"output_dir={tmp_path}", HUB])
    while not hub.requests:
        assert job.wait(0.05) is None, (tmp_path / "log").read_text()
    job.kill(1, signal.SIGTERM)
    job.wait(1)
    hub.released.set()
    assert job.wait(60) == [0, 0], (tmp_path / "log").read_text()
    assert "stopped before the first step: rank 1: SIGTERM while waiting for rank 0" in (tmp_path / "log").read_text()


def test_a_run_that_resumes_goes_on_where_the_hub_refuses_it(
    hub: LoopbackHub, saved: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = "hf_another"
    ensure_repo_or_fail(saved(HUB))
    assert "HTTP 401: Invalid credentials in Authorization header" in (said := capsys.readouterr().out)
    assert "training goes on, pushes are tried all the same" in said


@pytest.mark.usefixtures("hub")
def test_a_namespace_of_others_is_a_mistake(tiny: Configure) -> None:
    assert "HTTP 403: You don't have the rights to create a model under others" in refusal(
        tiny("hub={repo_id: others/x4}")
    )


@pytest.mark.usefixtures("hub")
def test_a_name_that_the_hub_does_not_allow_is_a_mistake(tiny: Configure) -> None:
    assert "HFValidationError" in refusal(tiny("hub={repo_id: 'tester/x 4'}"))


def test_a_public_repository_is_a_mistake_where_a_private_one_is_meant(hub: LoopbackHub, tiny: Configure) -> None:
    hub.add("tester/x4", private=False)
    said = "the repository exists and is public; hub.private=false, or --public by hand, allows that"
    assert said in refusal(tiny(HUB))


@pytest.mark.usefixtures("hub")
def test_a_licence_that_the_hub_does_not_know_is_a_mistake(tiny: Configure) -> None:
    said = 'tester/x4 cannot be pushed to: the hub takes no such licence: "license" must be one of [...].'
    assert refusal(tiny(HUB, "hub.license=mine")) == f"hub.license: {said}"
    ensure_repo_or_fail(tiny(HUB, "hub.license=apache-2.0"))


@pytest.mark.parametrize("away", ["closed", "hangs", "503"])
def test_a_hub_that_is_away_keeps_no_run_from_beginning(
    away: str,
    hub: LoopbackHub,
    saved: Configure,
    tiny: Configure,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if away == "closed":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(module, "OPEN_SECONDS", 20.0 if away != "hangs" else 3.0)
    hub.faults = [Fault("/repos/create", "hang" if away == "hangs" else 503, times=2)]
    reason = {"closed": "ConnectError: ", "hangs": "no answer within 3 seconds", "503": "HTTP 503: injected"}[away]
    ensure_repo_or_fail(saved(HUB) if away == "503" else tiny(HUB))  # one that resumes, or a new one
    said = capsys.readouterr().out
    assert said.startswith(f"hub.repo_id: tester/x4 cannot be reached: {reason}")
    assert "; training goes on, pushes are tried all the same, and `python -m trainer.push " in said


def test_a_fresh_start_that_the_hub_refuses_moves_nothing_aside(
    hub: LoopbackHub, saved: Configure, tiny: Configure, accelerator: Accelerator
) -> None:
    before = folder_of(saved(HUB)).path
    hub.token = "another"
    with pytest.raises(Mistake, match="HTTP 401"):
        set_aside(tiny(HUB, "seed=4"), accelerator)
    assert [path.name for path in before.parent.glob("tiny*")] == ["tiny"]


WRONG = {
    "hub={repo_id: x4}": "hub: repo_id: got 'x4'; must be namespace/name",
    "hub={repo_id: a/b/c}": "hub: repo_id: got 'a/b/c'; must be namespace/name",
    "hub={repo_id: a/b, wait_minutes: -1}": "hub: wait_minutes: got -1.0; must be at least 0",
    "hub={repo_id: a/b, strategy: often}": "hub.strategy: got \"often\"; must be 'end', 'best' or 'every_save'",
    "hub={repo_id: a/b, token: hf_x}": "hub.token: no such key",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_hub_section_is_named(override: str, tiny: Configure) -> None:
    with pytest.raises(Mistake) as caught:
        tiny(override)
    assert WRONG[override] in str(caught.value)


@pytest.mark.parametrize("override", ["validation=null", "checkpoints.keep_best=false"])
def test_the_best_can_only_be_pushed_where_it_is_known_and_kept(override: str, tiny: Configure) -> None:
    with pytest.raises(Mistake) as caught:
        tiny(HUB, "hub.strategy=best", override)
    assert (
        "hub.strategy: got 'best'; it needs a validation section with ground truth, and checkpoints.keep_best"
        in str(caught.value)
    )


def test_a_run_is_pushed_by_hand(hub: LoopbackHub, saved: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder_of(saved()).path
    assert main([str(run)]) == 2
    assert capsys.readouterr().err == f"error: --repo-id must be given: the run {run} has no hub section.\n"
    assert main([str(run), "--repo-id", "x4"]) == 2
    assert capsys.readouterr().err == "error: --repo-id: repo_id: got 'x4'; must be namespace/name.\n"

    moved = run.rename(run.with_name("moved"))
    assert main([str(moved), "--repo-id", "tester/x4", "--license", "mit"]) == 0
    commit = hub.repos["tester/x4"].main
    assert capsys.readouterr().out == (
        "asking the hub for tester/x4, 30 s at most.\n"
        "waiting for step 6 to reach tester/x4, 300 s at most.\n"
        f"step 6 is on tester/x4 (commit {commit.oid[:7]}).\n"
    )
    assert hub.repos["tester/x4"].private
    assert b"license: mit" in commit.files["README.md"]
    weights = (moved / "checkpoints" / "step-00000006" / "generator_ema.safetensors").read_bytes()
    assert commit.files["diffusion_pytorch_model.safetensors"] == weights

    assert main([str(moved), "--repo-id", "tester/shown", "--public"]) == 0
    assert not hub.repos["tester/shown"].private

    for option, value, wrong in (("--license", "mine", "--license"), ("--repo-id", "others/x4", "--repo-id")):
        assert main([str(moved), "--repo-id", "tester/x4", option, value]) == 2
        assert capsys.readouterr().err.startswith(f"error: {wrong}: ")


def test_by_hand_the_best_is_pushed_where_that_is_the_strategy(hub: LoopbackHub, saved: Configure) -> None:
    run = folder_of(saved(HUB, "hub.strategy=best")).path
    assert main([str(run)]) == 0
    weights = (run / "checkpoints" / "step-00000003" / "generator_ema.safetensors").read_bytes()
    assert hub.repos["tester/x4"].main.files["diffusion_pytorch_model.safetensors"] == weights


def test_a_push_by_hand_that_fails_says_so_by_its_status(
    hub: LoopbackHub, saved: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path} is no run folder: it has no config.yaml.\n"
    config = saved(HUB)
    run = str(folder_of(config).path)
    hub.faults = [Fault("/commit/", 403)]
    assert main([run]) == 1
    _, _, last = capsys.readouterr().out.splitlines()
    assert last.startswith("step 6 is not known to be on tester/x4 (HTTP 403: injected): the same command, or ")
    hub.faults = [Fault("/repos/create", 503)]
    assert main([run]) == 1
    said = "error: tester/x4 cannot be reached: HTTP 503: injected; try the same command later.\n"
    assert capsys.readouterr().err == said
    hub.faults = [Fault("/commit/", 503)]
    assert main([run]) == 0
    _, _, why, last = capsys.readouterr().out.splitlines()  # what is waited for is said when it begins
    assert why == "step 6 could not be pushed to tester/x4: HTTP 503: injected; it is tried again."
    assert last.startswith("step 6 is on tester/x4")
    shutil.rmtree(folder_of(config).checkpoints)
    assert main([str(folder_of(config).path)]) == 2
    assert capsys.readouterr().err.endswith("holds no checkpoint to push.\n")


def test_the_token_is_written_nowhere(hub: LoopbackHub, saved: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    config = saved(HUB)
    assert main([str(folder_of(config).path)]) == 0
    assert hub.token not in capsys.readouterr().out
    files = [file for file in folder_of(config).path.rglob("*") if file.is_file()]
    assert not [file for file in files if hub.token.encode() in file.read_bytes()]
    assert not [content for content in hub.repos["tester/x4"].main.files.values() if hub.token.encode() in content]
    assert load_config(RunConfig, folder_of(config).config).hub == config.hub
