"""Weights to begin with: every place they may come from, and what is said where they do not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from trainer.assemble import assemble, check
from trainer.checkpoint import Checkpoints
from trainer.config import RunConfig
from trainer.loop import fit
from trainer.makers import make_players
from trainer.mistakes import Mistake
from trainer.networks import UNetDiscriminatorSN, UNetDiscriminatorSNConfig
from trainer.networks.srvgg import SRVGGNetCompact, SRVGGNetCompactConfig
from trainer.ranks import make_accelerator
from trainer.weights import load_weights

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "weights"


def net(seed: int, num_feat: int = 8) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompactConfig(num_feat=num_feat, num_conv=1).build(4, 3)


def equal(one: SRVGGNetCompact, other: SRVGGNetCompact) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("place", ["export", "run", "checkpoint", "safetensors", "plain", "params", "params_ema"])
def test_weights_come_from_anywhere(tmp_path: Path, place: str) -> None:
    theirs, ours = net(1), net(2)
    state = theirs.state_dict()
    origin = tmp_path / "file.pth"
    if place == "export":
        theirs.save_pretrained(origin := tmp_path / "export")
    elif place == "run":
        theirs.save_pretrained((origin := tmp_path) / "export")
    elif place == "checkpoint":
        safetensors.torch.save_file(state, (origin := tmp_path) / "generator_ema.safetensors")
    elif place == "safetensors":
        safetensors.torch.save_file(state, origin := tmp_path / "file.safetensors")
    else:
        torch.save(state if place == "plain" else {place: state, "iter": 5}, origin)
    said = load_weights(ours, str(origin), "init.generator")
    assert said.startswith(f"init.generator: 8 of 8 tensors from {origin}")
    assert equal(theirs, ours)


def test_the_average_is_taken_before_the_live_weights(tmp_path: Path) -> None:
    torch.save({"params": net(1).state_dict(), "params_ema": net(3).state_dict()}, tmp_path / "both.pth")
    load_weights(ours := net(2), str(tmp_path / "both.pth"), "init.generator")
    assert equal(ours, net(3))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "ema_model.", "module._orig_mod."])
def test_what_trainers_wrap_networks_in_is_taken_off(tmp_path: Path, prefix: str) -> None:
    theirs, ours = net(1), net(2)
    torch.save({prefix + name: value for name, value in theirs.state_dict().items()}, tmp_path / "wrapped.pth")
    load_weights(ours, str(tmp_path / "wrapped.pth"), "init.generator")
    assert equal(theirs, ours)


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    state = net(1).state_dict()
    state["body.0.weight"] = torch.zeros(8, 12, 3, 3)  # as from x4 to x2, whose first convolution is wider
    torch.save(state, tmp_path / "wider.pth")
    assert load_weights(net(2), str(tmp_path / "wider.pth"), "k") == f"k: 7 of 8 tensors from {tmp_path / 'wider.pth'}"


def test_nothing_that_fits_is_a_mistake(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        Mistake, match=r"init\.generator: none of the 1 tensors in .*other\.pth fits the network's 8; it"
    ):
        load_weights(net(2), str(tmp_path / "other.pth"), "init.generator")


def test_places_without_weights_are_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Mistake, match=r"init\.generator: absent\.pth does not exist\."):
        load_weights(net(2), "absent.pth", "init.generator")
    with pytest.raises(Mistake, match="holds no run, no export and no checkpoint"):
        load_weights(net(2), str(tmp_path), "init.generator")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(Mistake, match=r"text\.pth cannot be read as weights"):
        load_weights(net(2), str(tmp_path / "text.pth"), "init.generator")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.pth", b"no weights", "PyTorch did not write it"),
        ("short.pth", b"M", "PyTorch did not write it"),
        ("empty.safetensors", b"", "it is empty"),
        ("page.pth", b"<!DOCTYPE html>\n", "it is text: a web page, or a pointer of git-lfs in place of the file"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "it is text: a web page, or a"),
        ("cut.pth", 700, "it is damaged or cut short"),
        ("cut.safetensors", 100, "it is damaged, cut short or no safetensors file (Error while deserializing header"),
        ("whole.pth", None, "it holds torch.nn.modules.linear.Linear, which could run programs and is not opened; "),
    ],
)
def test_files_that_hold_no_weights_are_told_by_what_is_in_them(
    tmp_path: Path, name: str, content: bytes | int | None, reason: str
) -> None:
    """`content` is the file's, or how much is left of one with weights; None pickles a whole module."""
    file = tmp_path / name
    if content is None:
        torch.save(nn.Linear(1, 1), file)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        state = {"weight": torch.zeros(100)}
        (safetensors.torch.save_file if file.suffix == ".safetensors" else torch.save)(state, file)
        file.write_bytes(file.read_bytes()[:content])
    with pytest.raises(Mistake) as mistake:
        load_weights(net(2), str(file), "init.generator")
    assert str(mistake.value).startswith(f"init.generator: {file} cannot be read as weights: {reason}")
    assert "\n" not in str(mistake.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the released weights are not on this machine")
def test_a_released_file_loads() -> None:
    whole = SRVGGNetCompactConfig().build(4, 3)
    said = load_weights(whole, str(SHARED / "realesr-animevideov3.fromncnn.pth"), "init.generator")
    assert said.startswith(f"init.generator: {len(whole.state_dict())} of {len(whole.state_dict())} tensors")


def discriminator(seed: int) -> UNetDiscriminatorSN:
    torch.manual_seed(seed)
    return UNetDiscriminatorSNConfig(num_feat=4).build(32, bands=3)


def run_with(folder: Path, step: int, **parts: nn.Module) -> Path:
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.begin(step)
    checkpoints.write(step, 0, {name: part.state_dict() for name, part in parts.items()})
    return checkpoints.complete(step, ranks=1)


@pytest.mark.parametrize("place", ["run", "checkpoint", "file"])
def test_a_run_folder_gives_the_discriminator_of_its_newest_checkpoint(tmp_path: Path, place: str) -> None:
    net(1).save_pretrained(tmp_path / "export")  # the run's generator, which it must not be taken for
    run_with(tmp_path, 1, generator_ema=net(1), discriminator=discriminator(5))
    newest = run_with(tmp_path, 2, generator_ema=net(1), discriminator=discriminator(6))
    file = newest / "discriminator.safetensors"
    origin = {"run": tmp_path, "checkpoint": newest, "file": file}[place]
    ours = discriminator(7)
    said = load_weights(ours, str(origin), "init.discriminator", "discriminator")
    wanted = discriminator(6).state_dict()
    assert said == f"init.discriminator: {len(wanted)} of {len(wanted)} tensors from {file}"
    assert all(torch.equal(value, wanted[name]) for name, value in ours.state_dict().items())


def test_a_run_without_a_discriminator_is_a_mistake(tmp_path: Path) -> None:
    run_with(tmp_path, 1, generator_ema=net(1))
    with pytest.raises(Mistake, match=r"init\.discriminator: the folder .* no checkpoint with a discriminator\."):
        load_weights(discriminator(7), str(tmp_path), "init.discriminator", "discriminator")


@pytest.mark.parametrize("wrapper", ["", "module.", "netD."])
def test_a_released_discriminator_loads(tmp_path: Path, wrapper: str) -> None:
    """As BasicSR saves it, under torch's spectral norm, whose names ours bears."""
    state = {wrapper + name: value for name, value in discriminator(5).state_dict().items()}
    assert {f"{wrapper}conv1.weight_orig", f"{wrapper}conv1.weight_u", f"{wrapper}conv1.weight_v"} <= state.keys()
    torch.save({"params": state}, tmp_path / "netD.pth")
    load_weights(ours := discriminator(6), str(tmp_path / "netD.pth"), "init.discriminator", "discriminator")
    assert torch.equal(ours.conv1.weight_u, discriminator(5).conv1.weight_u)


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_starts_from_both_networks_of_another(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    game = "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}"
    first = run_with(tmp_path / "old", 3, generator_ema=net(1), discriminator=discriminator(5))
    config = tiny(game, f"init.generator={first}", f"init.discriminator={tmp_path / 'old'}")
    generator, critic, said = make_players(config, make_accelerator(config))
    assert critic is not None
    assert torch.equal(generator.module.body[0].weight, net(1).body[0].weight)
    assert torch.equal(critic.module.conv0.weight, discriminator(5).conv0.weight)
    assert [sentence.split(":")[0] for sentence in said] == ["init.generator", "init.discriminator"]


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_that_resumes_needs_what_it_began_from_no_more(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    file = tmp_path / "first.safetensors"
    safetensors.torch.save_file(net(1).state_dict(), file)

    def config(steps: int) -> RunConfig:
        small = ("validation=null", "queue_size=0", "telemetry.report_to=none")
        return tiny(*small, f"init.generator={file}", f"max_train_steps={steps}")

    x = assemble(config(1), make_accelerator(config(1)))
    assert x.notes[-1].startswith(f"init.generator: 8 of 8 tensors from {file}")
    fit(x)
    file.unlink()
    assert check(config(2), 1) == ["max_train_steps is now 2 (was 1)"]
    x = assemble(config(2), make_accelerator(config(2)))
    fit(x)
    assert x.state.step == 2

    for step in (1, 2):  # no checkpoint is intact: the run would begin anew
        (x.saver.checkpoints.path(step) / "progress.pt").unlink()
    with pytest.raises(Mistake, match=rf"init\.generator: {file} does not exist\."):
        check(config(2), 1)
