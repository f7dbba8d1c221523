"""Pushes of a run: content of the hub after them, and faults of the hub."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launcher import ROOT
from loopback import Fault, LoopbackHub, until
from PIL import Image

from trainer.config.schema import RunConfig
from trainer.export import __main__ as export
from trainer.hub import pusher as module
from trainer.hub.client import Pushed
from trainer.hub.pusher import Pusher
from trainer.lifecycle.publishing import make_pusher
from trainer.networks import SRVGGNetCompact

FILES = {"README.md", "config.json", "diffusion_pytorch_model.safetensors", "samples/validation.png", "report.html"}
WEIGHTS = "diffusion_pytorch_model.safetensors"

Push = Callable[..., Pusher]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def push(saved: Callable[..., RunConfig], said: list[str], monkeypatch: pytest.MonkeyPatch) -> Push:
    """`push(override, ...)`: a pusher for the saved run that prints to `said` and never pauses for long."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(module, "CLOSING_PAUSE", 0.1)

    def make(*overrides: str) -> Pusher:
        pusher = make_pusher(saved("hub={repo_id: tester/x4}", *overrides))
        assert pusher
        pusher.say = said.append
        return pusher

    return make


def checkpoint(pusher: Pusher, step: int) -> bytes:
    """The averaged generator's file in the checkpoint of `step`."""
    return (pusher.folder.checkpoints / f"step-{step:08d}" / "generator_ema.safetensors").read_bytes()


def assert_complete(hub: LoopbackHub, pusher: Pusher, step: int) -> None:
    """Assert that the hub has all files of `step` and no others, and that the run has recorded the push."""
    newest = hub.repos["tester/x4"].main
    assert set(newest.files) == FILES
    assert newest.files[WEIGHTS] == checkpoint(pusher, step)
    assert newest.files["config.json"] == (pusher.folder.export / "config.json").read_bytes()
    assert f"after {step} of 6 steps" in newest.files["README.md"].decode()
    assert Pushed.read(pusher.folder) == Pushed(repo_id="tester/x4", step=step, commit=newest.oid)
    assert [path.name for path in pusher.folder.hub.iterdir()] == ["pushed.json"]


def test_a_push_is_one_commit_and_opens_as_the_exported_network(
    hub: LoopbackHub, push: Push, said: list[str], tmp_path: Path
) -> None:
    hub.add("tester/x4")
    pusher = push()
    exported = SRVGGNetCompact.from_pretrained(pusher.folder.export).state_dict()
    pusher.request(6)
    assert pusher.close(60)
    assert_complete(hub, pusher, 6)
    assert hub.titles("tester/x4") == ["Step 6"]
    assert said == [
        "waiting for step 6 to reach tester/x4, 60 s at most.",
        f"step 6 is on tester/x4 (commit {hub.repos['tester/x4'].main.oid[:7]}).",
    ]

    card = hub.repos["tester/x4"].main.files["README.md"].decode()
    Image.new("RGB", (16, 12), "red").save(tmp_path / "photo.png")
    program = card.split("```python\n")[1].split("```")[0] + OPEN  # as a reader would take it
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (64, 48)
    opened = torch.load(tmp_path / "opened.pt", weights_only=True)
    assert opened.keys() == exported.keys()
    assert all(torch.equal(value, opened[name]) for name, value in exported.items())


OPEN = """
import torch
from trainer.networks import SRVGGNetCompact
torch.save(SRVGGNetCompact.from_pretrained("tester/x4").state_dict(), "opened.pt")
"""


def test_what_the_hub_does_not_give_is_said_in_words(hub: LoopbackHub, capfd: pytest.CaptureFixture[str]) -> None:
    """Opened by a program with the hub in its environment, and by this one, which is offline."""
    hub.add("tester/empty")
    names = ("tester/absent", "tester/empty")
    program = (
        f"from trainer.export.__main__ import main\nfor name in {names}: assert main([name, '--out', 'nowhere']) == 2"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, check=True)
    assert export.main(["tester/empty", "--out", "nowhere"]) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 3
    for line, name, reason in zip(
        said,
        (*names, "tester/empty"),
        (
            "it has no such repository, or none that this token",
            f"the repository has no {WEIGHTS}",
            "it cannot be reached, or HF_HUB_OFFLINE is set, and no copy",
        ),
        strict=True,
    ):
        assert line.startswith(f"error: RUN: {name} is no file or folder here, and the hub did not give it: {reason}")


FAULTS = {
    "the list of files, refused once": (Fault("/preupload/", 503), 0),
    "large files, refused once": (Fault("/objects/batch", 503), 0),
    "a large file, refused once": (Fault("/objects/", 503), 0),
    "a large file, cut off": (Fault("/objects/", "drop"), 0),
    "the card, refused": (Fault("/validate-yaml", 503), 1),
    "the commit, refused": (Fault("/commit/", 503), 1),
    "the commit, refused again and again": (Fault("/commit/", 503, times=3), 1),
    "the hub's quota": (Fault("/commit/", 429, headers={"Retry-After": "1"}), 1),
    "the commit, cut off": (Fault("/commit/", "drop"), 1),
    "the answer to the commit, lost": (Fault("/commit/", "lose"), 1),
}
"""Faults that the hub has once, and the number of lines printed: none if its client retries by itself."""


@pytest.mark.parametrize("what", FAULTS)
def test_a_push_is_complete_after(what: str, hub: LoopbackHub, push: Push, said: list[str]) -> None:
    hub.add("tester/x4")
    fault, lines = FAULTS[what]
    hub.faults = [fault]
    pusher = push()
    pusher.request(6)
    until(lambda: pusher.pushed == 6)  # the run goes on
    assert pusher.close(60)
    assert fault.times == 0
    assert_complete(hub, pusher, 6)
    assert hub.titles("tester/x4") == ["Step 6"]
    *complaints, success = said
    assert success.startswith("step 6 is on tester/x4")
    assert len(complaints) == lines
    for line in complaints:
        assert line.startswith("step 6 could not be pushed to tester/x4: ")
        assert line.endswith("; training goes on, it is tried again.")
        assert "\n" not in line
        assert hub.token not in line


def test_a_hub_that_hangs_is_given_up_and_the_next_push_is_complete(
    hub: LoopbackHub, push: Push, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUSH_SECONDS", 6.0)
    hub.add("tester/x4")
    hub.faults = [Fault("/preupload/", "hang")]
    pusher = push()
    pusher.request(6)
    until(lambda: not hub.faults[0].times)
    monkeypatch.setattr(module, "PUSH_SECONDS", 100.0)  # a busy machine may need that for an attempt
    until(lambda: pusher.pushed == 6)
    assert pusher.close(60)
    assert_complete(hub, pusher, 6)
    before = [line.split("; ")[0].split(" within ")[0] for line in said]  # some seconds, which its size adds to
    assert before == [
        "step 6 could not be pushed to tester/x4: no answer",
        f"step 6 is on tester/x4 (commit {hub.repos['tester/x4'].main.oid[:7]}).",
    ]


def test_of_the_saves_that_wait_the_newest_is_pushed(hub: LoopbackHub, push: Push) -> None:
    hub.add("tester/x4")
    hub.faults = [Fault("/commit/", "hang")]
    pusher = push("hub.strategy=every_save")
    pusher.saved(3, best=True)
    until(lambda: not hub.faults[0].times)
    for step in (3, 3, 6):  # while one is on its way; none of these calls waits
        pusher.saved(step, best=False)
    assert len(list(pusher.folder.hub.glob("step-*"))) == 2
    hub.released.set()
    assert pusher.close(60)
    assert_complete(hub, pusher, 6)
    assert hub.titles("tester/x4") == ["Step 6"]


def test_a_refusal_is_said_and_the_next_push_is_complete(hub: LoopbackHub, push: Push, said: list[str]) -> None:
    hub.add("tester/x4")
    hub.token = "another"  # as if ours had been revoked
    pusher = push("hub.strategy=every_save")
    pusher.saved(3, best=True)
    until(lambda: said)
    assert said == [
        "step 3 could not be pushed to tester/x4: HTTP 401: Invalid credentials in Authorization header; check "
        "HF_TOKEN, or run `hf auth login`; training goes on, the next save is pushed anew."
    ]
    hub.token = os.environ["HF_TOKEN"]
    pusher.saved(6, best=False)
    assert pusher.close(60)
    assert_complete(hub, pusher, 6)


def test_a_refusal_that_stays_is_said_once(hub: LoopbackHub, push: Push, said: list[str]) -> None:
    hub.token = "another"
    pusher = push("hub.strategy=every_save")
    for step in (3, 6):
        pusher.saved(step, best=False)
        until(lambda step=step: not list(pusher.folder.hub.glob(f"step-{step:08d}-*")))  # type: ignore[misc]
    assert [line.split(" could")[0] for line in said] == ["step 3"]


def test_what_was_not_opened_when_the_run_began_is_opened_before_the_first_push(
    hub: LoopbackHub, push: Push, said: list[str]
) -> None:
    """A missing repository is created private; a private run is not pushed to a public one."""
    pusher = push()
    pusher.request(3)
    until(lambda: pusher.pushed == 3)
    assert pusher.finish(6, 3)
    assert hub.repos["tester/x4"].private
    assert len([request for request in hub.requests if "/repos/create" in request]) == 1
    hub.repos["tester/x4"].private = False
    (pusher.folder.hub / "pushed.json").unlink()
    titles = hub.titles("tester/x4")
    again = push()
    assert not again.finish(6, 3)
    assert "the repository exists and is public; hub.private=false, or --public by hand, allows that" in said[-1]
    assert hub.titles("tester/x4") == titles


def test_a_run_does_not_wait_for_longer_than_it_was_told_and_the_next_one_catches_up(
    hub: LoopbackHub, push: Push, said: list[str]
) -> None:
    hub.add("tester/x4")
    hub.faults = [Fault("/preupload/", "hang", times=99)]
    pusher = push()
    begun = time.monotonic()
    pusher.push_if_behind(6)
    assert not pusher.close(3)
    assert time.monotonic() - begun < 10
    assert said == [
        "waiting for step 6 to reach tester/x4, 3 s at most.",
        f"step 6 is not known to be on tester/x4 (cut off): the same command, or `python -m trainer.push "
        f"{pusher.folder.path}`, brings it there.",
    ]
    (pusher.folder.hub / "step-00000003-left").mkdir(exist_ok=True)  # what a death leaves
    hub.faults = []
    config = pusher.config
    again = Pusher(config, pusher.folder, pusher.write_card, said.append)
    again.begin(6, 3)
    assert again.requested is None  # the strategy is to push what a finished run left
    assert again.finish(6, 3)
    assert_complete(hub, again, 6)
    assert Pusher(config, pusher.folder, pusher.write_card, said.append).finish(6, 3)
    assert hub.titles("tester/x4") == ["Step 6"]


@pytest.mark.parametrize(("strategy", "pushed"), [("end", []), ("best", [3]), ("every_save", [3, 6])])
def test_the_strategy_says_which_saves_are_pushed(
    strategy: str, pushed: list[int], hub: LoopbackHub, push: Push
) -> None:
    hub.add("tester/x4")
    pusher = push(f"hub.strategy={strategy}", "hub.tag_steps=true")
    for step, best in ((3, True), (6, False)):
        pusher.saved(step, best)
        if step in pushed:
            until(lambda step=step: pusher.pushed == step)
        assert len(hub.titles("tester/x4")) == len([earlier for earlier in pushed if earlier <= step])
    assert pusher.finish(6, 3)
    last = 3 if strategy == "best" else 6
    assert_complete(hub, pusher, last)
    tags = hub.repos["tester/x4"].tags
    assert sorted(tags) == [f"step-{step:08d}" for step in sorted({*pushed, last})]
    assert tags[f"step-{last:08d}"] == hub.repos["tester/x4"].main.oid


def test_a_tag_of_an_earlier_run_is_moved(hub: LoopbackHub, push: Push) -> None:
    repo = hub.add("tester/x4")
    repo.tags["step-00000006"] = repo.main.oid
    pusher = push("hub.tag_steps=true")
    pusher.request(6)
    assert pusher.close(60)
    assert repo.tags == {"step-00000006": repo.main.oid}
    assert len(repo.commits) == 2


def test_the_protocol_that_the_client_prefers_is_not_in_the_way(
    hub: LoopbackHub, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xet is on by default; it is not used with a hub that takes every file inline."""
    monkeypatch.delenv("HF_HUB_DISABLE_XET")
    hub.large = ()
    hub.add("tester/x4")
    pusher = push()
    pusher.request(6)
    assert pusher.close(60)
    assert_complete(hub, pusher, 6)


@pytest.mark.usefixtures("hub")
def test_what_cannot_be_staged_is_said(push: Push, said: list[str]) -> None:
    pusher = push()
    shutil.rmtree(pusher.folder.checkpoints / "step-00000006")
    pusher.request(6)
    assert not pusher.close(60)
    assert said[0].startswith("step 6 cannot be pushed to tester/x4: FileNotFoundError: ")
    assert said[0].endswith("; training goes on.")
    assert not list(pusher.folder.hub.iterdir())
