"""`python -m trainer.export`: contents of its files, programs that open them, and files that are refused."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from trainer.building.accelerator import make_accelerator
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.loader import dump_config
from trainer.config.schema import RunConfig
from trainer.export import onnx_file
from trainer.export.__main__ import main
from trainer.export.openmodeldb import entry
from trainer.export.release import stem_of
from trainer.export.source import Source, open_source
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.networks import RRDBNet, SRResNet, SRVGGNetCompact
from trainer.networks.loading.generators import open_generator

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data" / "weights"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Tiny = Callable[..., RunConfig]


def compact(seed: int = 0, **sizes: Any) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompact(**{"scale": 4, "num_feat": 8, "num_conv": 1, **sizes}).eval()


def parts(step: int) -> dict[str, Any]:
    """The parts of a checkpoint that an export needs, and those that every checkpoint has."""
    weights = compact(step).state_dict()
    return {"generator": weights, "generator_ema": weights, "progress": {"step": step}}


@pytest.fixture
def run(tiny: Tiny) -> Path:
    """A run folder with two checkpoints, trained on a folder with a private name."""
    config = tiny("images.source={type: folder, path: /home/somebody/photographs}", "name=My_run")
    folder = Path(config.output_dir) / config.name
    checkpoints = Checkpoints(folder / "checkpoints")
    for step in (3, 6):
        checkpoints.begin(step)
        checkpoints.write(step, 0, parts(step))
        checkpoints.complete(step, ranks=1)
    compact(6).save_pretrained(folder / "export")
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


def test_no_local_path_is_in_the_metadata(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Including local paths with the form of a hub id."""
    monkeypatch.chdir(tmp_path)
    config = tiny(
        "images.source={type: folder, path: secret/place}",
        "images.pairs={type: pairs, gt: secret/good, lq: ../secret/poor}",
        "images.pair_prob=0.5",
        "validation.source={type: dataset, path: secret/deep/tiles.parquet}",
        "init.generator=secret/first.pth",
        "losses.perceptual={type: vgg, weight: 1}",
        "output_dir=secret/outputs",
    )
    facts = Source(compact(), "net", "2026-01-01", config, 6).facts()
    assert "secret" not in str(facts)
    told = json.loads(facts["run"])
    assert told["images"]["source"]["path"] == "place"
    assert (told["images"]["pairs"]["gt"], told["images"]["pairs"]["lq"]) == ("good", "poor")
    assert (told["init"]["generator"], told["output_dir"]) == ("first.pth", "outputs")
    assert told["losses"]["perceptual"]["weights"] == "timm/vgg19.tv_in1k"
    made = entry(Source(compact(), "net", "2026-01-01", config, 6), [], None, None)
    assert made is not None
    assert made["dataset"] == "place"


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_written_under_upstreams_names(run: Path, dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--to", "safetensors,pth,diffusers", "--dtype", dtype]) == 0
    stem = "4x-My-run" + {"float32": "", "float16": "-fp16", "bfloat16": "-bf16"}[dtype]
    folder = run / "release"
    names = {f"{stem}.safetensors", f"{stem}.pth", stem, f"{stem}.json"}
    assert {path.name for path in folder.iterdir()} == names
    wanted = {name: value.to(DTYPES[dtype]) for name, value in compact(6).state_dict().items()}
    pth = torch.load(folder / f"{stem}.pth", weights_only=True)
    assert pth.keys() == {"params_ema"}
    found = {
        "safetensors": safetensors.torch.load_file(folder / f"{stem}.safetensors"),
        "pth": pth["params_ema"],
        "diffusers": safetensors.torch.load_file(folder / stem / "diffusion_pytorch_model.safetensors"),
    }
    for kind, state in found.items():
        assert state.keys() == wanted.keys(), kind
        for name, value in state.items():
            assert value.is_contiguous()
            assert value.dtype == DTYPES[dtype]
            assert torch.equal(value, wanted[name]), (kind, name)
    assert {file.stat().st_mode & 0o777 for file in folder.rglob("*") if file.is_file()} == {0o644}
    said = capsys.readouterr().out
    assert len(re.findall(rf"{dtype}; within [\d.e+-]+ of torch \(\de-0\d is allowed\)", said)) == 3


def test_the_metadata_tells_the_network_and_how_it_was_trained(run: Path) -> None:
    assert main([str(run)]) == 0
    with safetensors.safe_open(run / "release" / "4x-My-run.safetensors", framework="pt") as opened:
        facts = opened.metadata()
    assert (facts["format"], facts["architecture"], facts["scale"], facts["step"]) == (
        "pt",
        "SRVGGNetCompact",
        "4",
        "6",
    )
    assert json.loads(facts["config"])["num_feat"] == 8
    told = json.loads(facts["run"])
    assert (told["gt_size"], told["batch"]["global_size"]) == (32, 4)
    assert told["images"]["source"]["path"] == "photographs"
    assert "/home/" not in str(facts)  # whoever gets the file need not know whose folder that was


def test_each_export_opens_again_as_what_it_was(run: Path) -> None:
    main([str(run), "--to", "safetensors,pth,diffusers"])
    stem, wanted = run / "release" / "4x-My-run", compact(6)
    again = SRVGGNetCompact.from_pretrained(stem)
    opened = [open_generator(f"{stem}{suffix}", "--model") for suffix in (".safetensors", ".pth", "")]
    picture = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        for net in (again, *opened):
            assert torch.equal(net(picture), wanted(picture))


def test_what_shapes_do_not_tell_comes_back_from_the_metadata(tmp_path: Path) -> None:
    SRResNet(2, n_channels=6, n_blocks=1, res_scale=0.7).save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--out", str(tmp_path / "out")]) == 0
    assert open_generator(str(tmp_path / "out" / "2x-net.safetensors"), "--model").config.res_scale == 0.7


def test_a_checkpoint_of_a_run_may_be_named(run: Path) -> None:
    assert main([str(run / "checkpoints" / "step-00000003"), "--out", str(run / "older")]) == 0
    assert open_source(str(run / "checkpoints" / "step-00000003")).step == 3
    found = safetensors.torch.load_file(run / "older" / "4x-My-run.safetensors")
    assert all(torch.equal(value, found[name]) for name, value in compact(3).state_dict().items())


def test_the_export_of_a_run_is_the_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "export")
    for origin in (str(run / "export"), "."):
        assert main([origin]) == 0
        opened = open_source(origin)
        assert (opened.name, opened.step, opened.facts()["step"]) == ("My_run", 6, "6")
    assert {file.name for file in (run / "release").iterdir()} == {"4x-My-run.safetensors", "4x-My-run.json"}
    compact(7).save_pretrained(run / "export")  # its checkpoint is there no more
    facts = open_source(str(run / "export")).facts()
    assert (facts["name"], "step" in facts, json.loads(facts["run"])["gt_size"]) == ("My_run", False, 32)
    assert main([str(run / "export"), "--out", str(run / "newer")]) == 0
    assert "trainingIterations" not in json.loads((run / "newer" / "4x-My-run.json").read_text())


def test_names_that_the_run_did_not_find_on_the_hub_are_local(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("images.source={type: dataset, path: secret/train}", "init.generator=someone/net")
    checkpoints, folder = Checkpoints(tmp_path / "tiny" / "checkpoints"), RunFolder(tmp_path / "tiny")
    checkpoints.begin(3)
    checkpoints.write(3, 0, parts(3))
    checkpoints.complete(3, ranks=1)
    folder.config.write_text(dump_config(config))
    folder.begin(0, 1, {"someone/net"})
    facts = open_source(str(folder.path)).facts()
    assert "secret" not in str(facts)
    assert json.loads(facts["run"])["init"]["generator"] == "someone/net"


def test_exports_into_one_folder_are_not_in_each_others_way(run: Path) -> None:
    (run / "release" / ".partial").mkdir(parents=True)
    before = run / "release" / ".partial" / "4x-My-run.safetensors"
    before.write_text("half of it")
    assert main([str(run)]) == 0
    assert before.read_text() == "half of it"


def test_a_damaged_checkpoint_that_is_asked_for_is_not_exported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = run / "checkpoints" / "step-00000003" / "generator_ema.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert main([str(weights.parent)]) == 2
    assert "step-00000003 is damaged: generator_ema.safetensors is not what was written." in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_exported(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "step-00000006" / "generator_ema.safetensors").write_bytes(b"")
    assert main([str(run)]) == 0
    assert "step-00000006 is damaged and passed over: generator_ema.safetensors has 0 bytes" in capsys.readouterr().err
    with safetensors.safe_open(run / "release" / "4x-My-run.safetensors", framework="pt") as opened:
        assert opened.metadata()["step"] == "3"


def test_a_newer_export_replaces_an_older_one(run: Path) -> None:
    for step in (3, 6):
        origin = str(run / "checkpoints" / f"step-{step:08d}")
        assert main([origin, "--to", "diffusers,safetensors", "--out", str(run / "release")]) == 0
    for file in ("4x-My-run.safetensors", "4x-My-run/diffusion_pytorch_model.safetensors"):
        found = safetensors.torch.load_file(run / "release" / file)
        assert all(torch.equal(value, found[name]) for name, value in compact(6).state_dict().items())


def test_nothing_but_an_export_is_replaced(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The target of a run's diffusers export may be the run's own folder."""
    folder = run.rename(run.with_name("4x-My-run"))
    (tmp_path / "other" / "4x-My-run").mkdir(parents=True)
    (tmp_path / "other" / "4x-My-run" / "thesis.tex").touch()
    compact().save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--to", "pth", "--out", str(tmp_path)]) == 0
    pth = tmp_path / "4x-net.pth"
    before = {path: path.stat().st_mtime_ns for path in (*folder.rglob("*"), *(tmp_path / "other").rglob("*"), pth)}
    for origin, kind, out, reason in (
        (folder, "safetensors,diffusers", tmp_path, "4x-My-run would replace what is exported; give another folder."),
        (folder, "diffusers", tmp_path / "other", "4x-My-run is there and no export, for it holds thesis.tex; give "),
        (pth, "pth", tmp_path, "4x-net.pth would replace what is exported; give another folder."),
    ):
        assert main([str(origin), "--to", kind, "--out", str(out)]) == 2
        assert capsys.readouterr().err.startswith(f"error: --out: {out}/{reason}")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    "net",
    [
        *(RRDBNet(scale, num_feat=8, num_block=2) for scale in (1, 2, 4)),
        *(compact(scale=scale) for scale in (1, 2, 3, 4)),
    ],
    ids=lambda net: f"{type(net).__name__}-x{net.config.scale}",
)
@torch.no_grad()
def test_spandrel_opens_both_files(tmp_path: Path, spandrel: Any, net: Any) -> None:
    net.save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--to", "safetensors,pth", "--out", str(tmp_path)]) == 0
    picture = torch.rand(1, 3, 12, 20)
    for suffix in ("safetensors", "pth"):
        file = tmp_path / f"{net.config.scale}x-net.{suffix}"
        opened = spandrel.ModelLoader(device="cpu").load_from_file(file)
        assert (opened.scale, opened.input_channels, opened.output_channels) == (net.config.scale, 3, 3)
        assert torch.allclose(opened(picture), net.eval()(picture).clamp(0, 1), atol=1e-6)


def test_the_entry_is_what_openmodeldb_asks_for(run: Path) -> None:
    assert main([str(run), "--to", "pth,safetensors", "--author", "somebody", "--license", "CC-BY-4.0"]) == 0
    found = json.loads((run / "release" / "4x-My-run.json").read_text())
    assert found.pop("description") == "A ×4 SRVGGNetCompact trained on synthetic degradations, by wildsr."
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.pop("date"))
    for resource in found.pop("resources"):
        file = run / "release" / f"4x-My-run.{resource['type']}"
        assert resource["size"] == file.stat().st_size
        assert re.fullmatch("[0-9a-f]{64}", resource["sha256"])
        assert (resource["platform"], resource["urls"]) == ("pytorch", [])
    assert found == {
        "name": "My_run",
        "author": "somebody",
        "license": "CC-BY-4.0",
        "tags": ["general-upscaler"],
        "architecture": "compact",
        "size": ["8nf", "1nc"],
        "scale": 4,
        "inputChannels": 3,
        "outputChannels": 3,
        "trainingIterations": 6,
        "trainingBatchSize": 4,
        "trainingHRSize": 32,
        "trainingOTF": True,
        "dataset": "photographs",
        "images": [],
    }


def test_what_openmodeldb_does_not_know_gets_no_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SRResNet(2, n_channels=6, n_blocks=1).save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--out", str(tmp_path / "out")]) == 0
    assert "no entry for OpenModelDB: it does not know SRResNet" in capsys.readouterr().out
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".safetensors"}
    assert entry(Source(compact(num_in_ch=6, num_out_ch=6), "n", "2026-01-01"), [], None, None) is None


@pytest.mark.parametrize("name", ["a run, of_mine!", "4x-RealESRGAN_x4plus", "..x"])
def test_models_are_named_as_openmodeldb_wants_it(name: str) -> None:
    stem = stem_of(Source(compact(), name, "2026-01-01"))
    assert re.fullmatch(r"4x-[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*", stem)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{net}", "--to", "ncnn", "--out", "o"], "--to: got ncnn; wanted some of safetensors, pth, diffusers, onnx"),
        (["{net}", "--to", ",", "--out", "o"], "--to: got nothing; wanted some of"),
        (["{net}"], "--out: must be given, as {net} is no run folder."),
        (["absent.pth", "--out", "o"], "RUN: absent.pth does not exist."),
        (["{young}"], "RUN: the run in {young} has no complete checkpoint yet."),
        (["{net}", "--out", "{net}/config.json"], "--out: {net}/config.json is a file; wanted a folder."),
        (["{net}", "--to", "onnx", "--dtype", "bfloat16"], "--dtype: onnx can be float32 or float16"),
    ],
)
def test_mistakes_exit_with_2_and_one_sentence(
    tmp_path: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    if "bfloat16" in arguments:
        pytest.importorskip("onnxscript")
    compact().save_pretrained(tmp_path / "net")
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "config.yaml").write_text(dump_config(tiny()))
    places = {"net": tmp_path / "net", "young": tmp_path / "young"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {sentence.format(**places)}")
    assert len(told.splitlines()) == 1


def test_packages_that_are_absent_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_file, "PACKAGES", ("no_such_package",))
    compact().save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--to", "onnx", "--out", str(tmp_path)]) == 2
    assert (
        "--to: onnx needs no_such_package, not installed here; pip install 'wildsr[export]' adds"
        in capsys.readouterr().err
    )


def test_help_waits_for_nothing_heavy() -> None:
    program = "import sys; from trainer.export.__main__ import parse; parse(['x']); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize("released", ["own", "shared"])
@torch.no_grad()
def test_fine_tuning_at_no_rate_leaves_a_released_network_as_it_was(tmp_path: Path, tiny: Tiny, released: str) -> None:
    file, sizes = tmp_path / "released.pth", (8, 1)
    if released == "shared":
        file, sizes = SHARED / "realesr-animevideov3.fromncnn.pth", (64, 16)
        if not file.is_file():
            pytest.skip("the released weights are not on this machine")
    else:
        torch.save({"params_ema": compact(5).state_dict()}, file)
    config = tiny(
        f"init.generator={file}",
        f"generator.num_feat={sizes[0]}",
        f"generator.num_conv={sizes[1]}",
        "optimizer.learning_rate=1e-9",
        "max_train_steps=3",
        "queue_size=4",
        "validation=null",
        "telemetry.report_to=none",
    )
    with torch.enable_grad():
        fit(assemble(config, make_accelerator(config)))
    picture = torch.rand(1, 3, 16, 16)
    before = open_generator(str(file), "--model")(picture)
    after = open_generator(str(tmp_path / config.name), "--model")(picture)
    assert (after - before).abs().max() < 1 / 255 / 100
    assert not torch.equal(after, before)  # it has learned, a little
