"""Initial weights: all places they may come from, and the messages if they do not fit."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from trainer.building.accelerator import make_accelerator
from trainer.building.learners import make_learners, make_networks
from trainer.checkpoints.store import Checkpoints
from trainer.config.schema import RunConfig
from trainer.dry_run import dry_run
from trainer.lifecycle.assemble import assemble, check
from trainer.loop import fit
from trainer.mistakes import Failure, Mistake
from trainer.networks import (
    ImportedGeneratorConfig,
    RRDBNetConfig,
    ShuffleRRDBNet,
    UNetDiscriminatorSN,
    UNetDiscriminatorSNConfig,
)
from trainer.networks.loading.generators import open_generator
from trainer.networks.loading.initial import load_weights
from trainer.networks.srvgg import SRVGGNetCompact, SRVGGNetCompactConfig

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "weights"


def net(seed: int, num_feat: int = 8) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompactConfig(init="torch", num_feat=num_feat, num_conv=1).build(4, 3)


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
    assert len(said) == 1
    assert said[0].startswith(f"init.generator: 8 of 8 tensors from {origin}")
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


def saved(theirs: nn.Module, file: Path, **more: torch.Tensor) -> str:
    torch.save({"params": theirs.state_dict() | more}, file)
    return str(file)


def test_ends_that_do_not_fit_are_named_one_by_one(tmp_path: Path) -> None:
    """x2 from x4, whose first convolution reads fewer channels; more bands; another scale of a pixel-shuffle
    network."""
    x4, x2 = (RRDBNetConfig(num_feat=4, num_block=1, num_grow_ch=2).build(scale, 3) for scale in (4, 2))
    file, count = saved(x4, tmp_path / "x4.pth"), len(x2.state_dict())
    assert load_weights(x2, file, "k") == [
        f"k: {count - 1} of {count} tensors from {file}, 1 of whose {count} are not used",
        "k: random weights stay in conv_first.weight ([4, 12, 3, 3], there [4, 3, 3, 3])",
    ]
    assert torch.equal(x2.conv_body.weight, x4.conv_body.weight)
    bands = SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=1).build(4, bands=4)
    said = load_weights(bands, saved(net(1), tmp_path / "rgb.pth"), "k")[1]
    assert [part.split(" ")[0] for part in said.split("stay in ")[1].split("), ")] == [
        "body.0.weight",
        "body.4.weight",
        "body.4.bias",
    ]
    shuffled = ShuffleRRDBNet(4, n_channels=4, n_blocks=1, growth_channels=2)
    file = saved(shuffled, tmp_path / "shuffled.pth")
    said = load_weights(ShuffleRRDBNet(2, n_channels=4, n_blocks=1, growth_channels=2), file, "k")[-1]
    assert said == "k: the network has no upsampler.3.weight, upsampler.3.bias, upsampler.5.weight"


SECTION = "{type: SRVGGNetCompact, num_feat: 8, num_conv: 1} with scale: 4"


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ({"num_conv": 2}, "6 of 11 tensors"),  # the file is shallower
        ({"num_conv": 0}, "3 of 5 tensors"),  # the file is deeper
        ({"num_feat": 4}, "1 of 8 tensors"),  # and of another width: only the bias of the head fits
    ],
)
def test_a_body_that_does_not_fit_is_a_mistake_unless_it_is_asked_for(
    tmp_path: Path, sizes: dict[str, int], counts: str
) -> None:
    """All five tensors of a shallow network may be in a file of eight; still they are another network's."""
    ours = SRVGGNetCompactConfig(init="torch", **({"num_feat": 8, "num_conv": 1} | sizes)).build(4, 3)  # type: ignore[arg-type]
    file = saved(net(1), tmp_path / "theirs.pth")
    before = [value.clone() for value in ours.state_dict().values()]
    with pytest.raises(Mistake) as mistake:
        load_weights(ours, file, "init.generator")
    assert str(mistake.value).startswith(f"init.generator: only {counts} from {file}, ")
    assert str(mistake.value).endswith(f"; the file is of generator: {SECTION}; init.partial: true takes what fits.")
    assert all(torch.equal(*pair) for pair in zip(before, ours.state_dict().values(), strict=True))
    said = load_weights(ours, file, "init.generator", partial=True)
    assert said[0].startswith(f"init.generator: {counts} from {file}, ")


def test_an_imported_network_of_another_scale_counts_as_another_one(tmp_path: Path) -> None:
    """Nothing declares which of its layers follow from scale and bands."""
    module = ImportedGeneratorConfig(
        path="trainer.networks.srvgg.SRVGGNetCompact", arguments={"num_feat": 8, "num_conv": 1}, scales=(2, 4),
        scale_argument="scale", bands_arguments=("num_in_ch", "num_out_ch"),
    )  # fmt: skip
    file = saved(module.build(2, 3), tmp_path / "x2.pth")
    with pytest.raises(Mistake) as mistake:
        load_weights(module.build(4, 3), file, "init.generator")
    assert str(mistake.value) == (
        f"init.generator: only 6 of 8 tensors from {file}, 2 of whose 8 are not used: they differ in body.4.weight, "
        "and which layers of a network of type module follow its scale and bands is not known; init.partial: true "
        "takes what fits."
    )
    assert load_weights(module.build(4, 3), file, "init.generator", partial=True)


def test_tensors_of_another_network_in_the_file_are_named_and_no_mistake(tmp_path: Path) -> None:
    """A Lightning checkpoint holds the discriminator beside the generator."""
    file = saved(net(1), tmp_path / "both.pth", **{"discriminator.conv.weight": torch.zeros(1)})
    assert load_weights(ours := net(2), file, "k") == [
        f"k: 8 of 8 tensors from {file}, 1 of whose 9 are not used",
        "k: the network has no discriminator.conv.weight",
    ]
    assert equal(ours, net(1))


def test_what_a_long_list_does_not_name_it_counts(tmp_path: Path) -> None:
    more = {f"other.{number}": torch.zeros(1) for number in range(8)}
    said = load_weights(net(2), saved(net(1), tmp_path / "more.pth", **more), "k")
    assert said[-1] == "k: the network has no other.0, other.1, other.2, other.3, other.4 and 3 more"


@pytest.mark.parametrize(
    ("value", "dtype"), [(torch.nan, torch.float32), (torch.inf, torch.float16), (1e300, torch.float64)]
)
def test_a_number_that_is_not_finite_is_a_mistake_that_names_its_tensor(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    theirs = net(1).to(dtype)
    theirs.body[2].bias.data[3] = value
    file = saved(theirs, tmp_path / "lost.pth")
    for opened in (lambda: load_weights(net(2), file, "k"), lambda: open_generator(file, "k")):
        with pytest.raises(Mistake, match=rf"^k: {file} has numbers in body\.2\.bias that are not finite"):
            opened()


def test_weights_of_a_known_network_say_which_section_would_take_them(tmp_path: Path) -> None:
    """From the shapes, else from the configuration; another package's class is not imported to find out."""
    rrdb = RRDBNetConfig(num_feat=6, num_block=1, num_grow_ch=2).build(2, 3)
    with pytest.raises(Mistake, match=r"fits the network's 8; .*; the file is of generator: \{type: RRDBNet, "
                       r"num_feat: 6, num_block: 1, num_grow_ch: 2\} with scale: 2\.$"):  # fmt: skip
        load_weights(net(2), saved(rrdb, tmp_path / "rrdb.pth"), "k")
    safetensors.torch.save_file({"w": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text('{"_class_name": "ImportedNetwork", "path": "evil.Net", "scale": 3}')
    with pytest.raises(Mistake, match=r"the file is of generator: \{type: module, path: evil\.Net\}\.$"):
        load_weights(net(2), str(tmp_path), "k")


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
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(Mistake, match=r"init\.generator: .*pipe\.pth is a FIFO; wanted a file or a folder\."):
        load_weights(net(2), str(tmp_path / "pipe.pth"), "init.generator")
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
        ("newer.pth", 4, "its pickle is of a newer protocol; save it by torch.save's own"),
        ("whole.pth", None, "it holds torch.nn.modules.linear.Linear, which could run programs and is not opened; "),
    ],
)
def test_files_that_hold_no_weights_are_told_by_what_is_in_them(
    tmp_path: Path, name: str, content: bytes | int | None, reason: str
) -> None:
    """`content` is the file's, or the share that is left of one with weights; None pickles a module; 4 is a
    protocol."""
    file = tmp_path / name
    if content == 4:
        torch.save({"weight": torch.zeros(1)}, file, pickle_protocol=4)
    elif content is None:
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
    whole = SRVGGNetCompactConfig(init="torch").build(4, 3)
    said = load_weights(whole, str(SHARED / "realesr-animevideov3.fromncnn.pth"), "init.generator")
    assert said[0].startswith(f"init.generator: {len(whole.state_dict())} of {len(whole.state_dict())} tensors")


def discriminator(seed: int) -> UNetDiscriminatorSN:
    torch.manual_seed(seed)
    return UNetDiscriminatorSNConfig(num_feat=4).build(32, bands=3)


def run_with(folder: Path, step: int, **parts: nn.Module) -> Path:
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.begin(step)
    needed = {"generator": {"weight": torch.zeros(1)}, "generator_ema": {}, "progress": {"step": step}}
    checkpoints.write(step, 0, needed | {name: part.state_dict() for name, part in parts.items()})
    return checkpoints.complete(step, ranks=1)


@pytest.mark.parametrize("place", ["run", "checkpoint", "file"])
def test_a_run_folder_gives_the_discriminator_of_its_newest_checkpoint(tmp_path: Path, place: str) -> None:
    net(1).save_pretrained(tmp_path / "export")  # the run's generator, which must not be loaded instead
    run_with(tmp_path, 1, generator_ema=net(1), discriminator=discriminator(5))
    newest = run_with(tmp_path, 2, generator_ema=net(1), discriminator=discriminator(6))
    file = newest / "discriminator.safetensors"
    origin = {"run": tmp_path, "checkpoint": newest, "file": file}[place]
    ours = discriminator(7)
    said = load_weights(ours, str(origin), "init.discriminator", "discriminator")
    wanted = discriminator(6).state_dict()
    assert said == [f"init.discriminator: {len(wanted)} of {len(wanted)} tensors from {file}"]
    assert all(torch.equal(value, wanted[name]) for name, value in ours.state_dict().items())


def test_a_run_without_a_discriminator_is_a_mistake(tmp_path: Path) -> None:
    run_with(tmp_path, 1, generator_ema=net(1))
    with pytest.raises(Mistake, match=r"init\.discriminator: the folder .* no checkpoint with a discriminator\."):
        load_weights(discriminator(7), str(tmp_path), "init.discriminator", "discriminator")


@pytest.mark.parametrize("wrapper", ["", "module.", "netD."])
def test_a_released_discriminator_loads(tmp_path: Path, wrapper: str) -> None:
    """BasicSR saves it under torch's spectral norm, which has the same names as ours."""
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
    generator, critic, said = make_learners(config, make_accelerator(config), config.init)
    assert critic is not None
    assert torch.equal(generator.net.body[0].weight, net(1).body[0].weight)
    assert torch.equal(critic.net.conv0.weight, discriminator(5).conv0.weight)
    assert [sentence.split(":")[0] for sentence in said] == ["init.generator", "init.discriminator"]


def test_the_body_of_a_discriminator_counts_too(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    wider = UNetDiscriminatorSNConfig(num_feat=8).build(32, bands=3)
    game = "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}"
    config = tiny(game, f"init.discriminator={saved(wider, tmp_path / 'netD.pth')}")
    with pytest.raises(Mistake, match=r"^init\.discriminator: only .* differ in the body too, first in conv1\."):
        make_networks(config, config.init)
    *_, said = make_networks(config, replace(config.init, partial=True))
    assert said[0].startswith("init.discriminator: 1 of ")  # the bias of the last layer


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
    assert check(config(2), 1) == ["resuming with another setting: max_train_steps is now 2 (was 1)"]
    x = assemble(config(2), make_accelerator(config(2)))
    fit(x)
    assert x.state.step == 2

    for step in (1, 2):  # no checkpoint is intact: the run would start from scratch
        (x.saver.checkpoints.path(step) / "progress.pt").unlink()
    with pytest.raises(Mistake, match=rf"init\.generator: {file} does not exist\."):
        check(config(2), 1)


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_dry_run_and_a_check_say_what_was_loaded(
    tiny: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=1).build(2, 3), tmp_path / "x2.pth")
    config = tiny(f"init.generator={file}", "validation=null", "queue_size=0", "telemetry.report_to=none")
    sentence = "init.generator: random weights stay in body.4.weight ([48, 8, 3, 3], there [12, 8, 3, 3]), body.4.bias"
    assert any(note.startswith(sentence) for note in check(config, 1))
    dry_run(assemble(config, make_accelerator(config)))
    assert sentence in capsys.readouterr().out


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_dry_run_whose_loss_is_no_number_is_a_failure(tiny: Callable[..., RunConfig]) -> None:
    config = tiny("validation=null", "queue_size=0", "telemetry.report_to=none")
    x = assemble(config, make_accelerator(config))
    x.model.generator.net.body[0].bias.data.fill_(torch.nan)
    with pytest.raises(Failure, match=r"^dry run: training/loss is no finite number at step 0: look at init, and at"):
        dry_run(x)
