"""Wrong inputs get one sentence on stderr and status 2; `--print` and `--check` print."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launcher import ROOT, RUN, TINY, environment
from PIL import Image

from trainer import import_options, push
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.export import __main__ as export
from trainer.run import main
from trainer.upscale import __main__ as upscale

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(override, ...)`: the tiny run by the program's own `main`; its status, stdout and stderr."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(ROOT)

    def go(*overrides: str) -> tuple[int, str, str]:
        status = main([str(TINY), f"output_dir={tmp_path / 'outputs'}", *overrides])
        return status, *capsys.readouterr()

    return go


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(120):
        Image.effect_mandelbrot((48, 48), (-2 + number / 100, -1, 1, 1), 20).save(folder / f"{number:03d}.png")
    return folder


SMALL = ("max_train_steps=70", "telemetry.report_steps=5", "gt_size=16", "images.crop_size=16", "gt_usm=false")
"""More than two epochs of 120 pictures, in little time."""


def folder_source(path: Path) -> str:
    return f"images.source={{type: folder, path: '{path}'}}"


WRONG = {
    "an unknown key": ("optimzer=1", "1 thing is wrong:\n  optimzer: no such key; did you mean 'optimizer'?"),
    "a wrong type": ("seed=many", '1 thing is wrong:\n  seed: got "many"; must be a whole number'),
    "a scale that does not divide": ("gt_size=30", "gt_size: got 30; must be a multiple of 4 for SRVGGNetCompact x4"),
    "a folder that is missing": (
        "images.source={type: folder, path: nowhere}",
        "images.source.path: folder 'nowhere' does not exist (seen from ",
    ),
    "a package that is missing": ("images.source.package=nowhere", "images.source.package: 'nowhere' is not installed"),
    "a picture that is missing": (
        "images.source.files=[no.png]",
        "images.source.files: package 'skimage' has no no.png",
    ),
    "a dataset on the hub without a network": (
        "images.source={type: dataset, path: nobody/nothing}",
        "images.source.path: dataset 'nobody/nothing' cannot be loaded: ",
    ),
    "a folder that is taken for a dataset": (
        "images.source={type: dataset, path: datasets/rs_20m}",
        "images.source.path: 'datasets/rs_20m' does not exist (seen from ",
    ),
    "a stream of it": (
        "images.source={type: stream, path: tests/absent}",
        "images.source.path: 'tests/absent' does not exist (seen from ",
    ),
    "pictures to validate on that are cut too small": (
        "validation.max_side=16",
        "chelsea.png has a side below 19 once cut to max_side, 16, too small to validate on.",
    ),
    "pairs to validate on that are missing": (
        "validation.source={type: pairs, gt: nowhere, lq: nowhere}",
        "validation.source.gt: folder 'nowhere' does not exist",
    ),
}


BEFORE_THE_FIRST_STEP = {
    "init.generator=absent.pth": "init.generator: absent.pth does not exist.",
    "generator={type: module, path: no.Net, scales: [4]}": "generator: path: no cannot be imported: ",
    "losses.perceptual={type: vgg, weights: absent.pth}": "losses.perceptual.weights: absent.pth does not exist.",
}
"""Settings that must not end a job after hours in a queue."""


@pytest.mark.parametrize("what", WRONG)
def test_the_sentence_for(what: str, run: Run, tmp_path: Path) -> None:
    override, sentence = WRONG[what]
    status, _, stderr = run(override)
    assert status == 2
    assert stderr.startswith("error: ")
    assert sentence in stderr
    assert stderr.count("\n") <= 2
    assert not (tmp_path / "outputs").exists()


def test_an_empty_folder_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, stderr = run(folder_source(tmp_path / "empty"))
    assert status == 2
    assert stderr.startswith(f"error: images.source.path: folder '{tmp_path / 'empty'}' is empty; wanted pictures (")


def test_a_folder_without_a_picture_that_decodes_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"broken")
    status, _, stderr = run(folder_source(tmp_path / "bad"))
    assert status == 2
    assert "none of the 1 pictures of folder " in stderr
    assert "a.png: not a picture in a format that is read." in stderr


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file"])
def test_an_output_folder_that_cannot_be_written_is_found_before_training(place: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "file") if place == "a file" else place
    status, stdout, stderr = run(f"output_dir={output}")
    assert (status, stdout) == (2, "")
    assert stderr.startswith(f"error: the run folder {output}/tiny cannot be written: ")
    assert stderr.count("\n") == 1


def test_a_run_ends_says_so_and_keeps_its_folder_to_itself(run: Run, tmp_path: Path) -> None:
    """One run folder, met by every kind of later run."""
    status, said, stderr = run("max_train_steps=2")
    assert (status, stderr) == (0, "")
    folder = tmp_path / "outputs" / "tiny"
    done, use = said.splitlines()[-2:]
    assert "done at step 2; best psnr " in done
    assert f"Newest sheet: {folder / 'samples' / 'step-00000002.png'}." in done
    assert use == f"To use it: python -m trainer.upscale --model {folder} --input PICTURES --output large"
    before = snapshot(folder)

    status, said, _ = run("max_train_steps=2")
    assert status == 0
    assert said.startswith(f"{folder} is done at step 2: raise max_train_steps to go on, or start anew with --fresh.")
    assert said.splitlines()[1:] == [use]

    for stranger in (["seed=4", "max_train_steps=2"], ["seed=4"]):
        status, _, stderr = run(*stranger)
        assert status == 2, stranger
        assert stderr.startswith(f"error: {folder} holds a run of another configuration:\n  seed: the run has 3, this ")
        assert "--fresh" in stderr
    assert snapshot(folder) == before

    status, said, _ = run("max_train_steps=4")
    assert status == 0
    assert "resumes at step 2 of 4" in said
    assert (folder / "DONE").read_text() == "4\n"

    status, said, _ = run("max_train_steps=6", "validation.best_metric=ssim")
    assert status == 0
    assert "; best ssim 0." in said  # a PSNR is no figure to compare it with

    before = snapshot(folder)
    assert run("images.source=nowhere", "--fresh")[0] == 2
    assert snapshot(folder) == before  # what cannot begin moves nothing aside

    status, said, _ = run("max_train_steps=2", "seed=4", "--fresh")
    assert status == 0
    assert "starts at step 0" in said
    assert (folder / "DONE").read_text() == "2\n"
    (aside,) = folder.parent.glob("tiny.until-*")
    assert f"the earlier run is now {aside}" in said
    assert (aside / "DONE").read_text() == "6\n"
    assert (aside / "checkpoints" / "step-00000004").is_dir()


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: when it was written, and what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_print_shows_what_loads_again_to_the_same(run: Run, tmp_path: Path) -> None:
    status, said, _ = run("--print", "optimizer.learning_rate=3e-5")
    assert status == 0
    (tmp_path / "printed.yaml").write_text(said)
    printed = load_config(RunConfig, tmp_path / "printed.yaml")
    assert printed == load_config(
        RunConfig, TINY, [f"output_dir={tmp_path / 'outputs'}", "optimizer.learning_rate=3e-5"]
    )


def test_a_dry_run_tries_everything_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    status, said, stderr = run("--dry-run")
    assert (status, stderr) == (0, "")
    for part in (
        "4 = 1 process x 2 per device x 2 accumulation",
        "one step: ",
        "validation of a picture per process: ",
        "peak memory: ",
        "MiB",
    ):
        assert part in said
    assert said.endswith("dry run: nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_takes_a_step_of_each_phase(run: Run) -> None:
    game = "{discriminator: {type: UNetDiscriminatorSN, num_feat: 4}, pretrain_g_only: true, g_pretrain_steps: 4}"
    status, said, stderr = run("--dry-run", f"adversarial={game}", "adversarial.net_d_iters=2")
    assert (status, stderr) == (0, "")
    steps = [line for line in said.splitlines() if line.startswith("one step")]
    assert [line.split(":")[0] for line in steps] == [
        "one step (pretraining)",
        "one step (the discriminator learns)",
        "one step (both learn)",
    ]
    assert ["discriminator/loss " in line for line in steps] == [False, True, True]
    assert ["loss_adversarial " in line for line in steps] == [False, False, True]


def test_a_check_for_some_processes_trains_nothing(run: Run, tmp_path: Path) -> None:
    assert run("--check", "2") == (0, f"{tmp_path / 'outputs' / 'tiny'}\n", "")
    status, _, stderr = run("--check", "3")
    assert status == 2
    assert "global_size 4 does not divide by 3 processes" in stderr
    assert run("--fit", "2") == (0, "2\n", "")
    status, number, stderr = run("--fit", "3")
    assert (status, number) == (0, "2\n")
    assert stderr == "batch.global_size: 4 does not divide by 3 processes, so 2 of them train; 3 or 6 would.\n"
    for override, sentence in BEFORE_THE_FIRST_STEP.items():
        status, _, stderr = run("--check", "2", override)
        assert status == 2
        assert stderr.startswith(f"error: {sentence}")
    with pytest.raises(SystemExit, match="2"):
        run("--check", "0")
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_missing_is_told_at_once(run: Run) -> None:
    missing = {
        "images.source": ("nowhere", "images.source.path: folder 'nowhere' does not exist"),
        "validation.source": ("nor/here", "validation.source.path: folder 'nor/here' does not exist"),
        "init.generator": ("outputs/absent", "init.generator: outputs/absent does not exist."),
        "batch.global_size": ("5", "batch: global_size 5 does not divide by 2 processes"),
        "losses.perceptual": (
            "{type: vgg, weights: datasets/vgg.x}",
            "losses.perceptual.weights: datasets/vgg.x does not",
        ),
        "telemetry.report_to": ("trackio", "telemetry.report_to: got trackio, whose package is not installed"),
    }
    status, stdout, stderr = run("--check", "2", *(f"{key}={value}" for key, (value, _) in missing.items()))
    assert (status, stdout) == (2, "")
    head, *lines = stderr.splitlines()
    assert head == "error: 6 things are wrong:"
    assert all(any(line.strip().startswith(sentence) for line in lines) for _, sentence in missing.values()), stderr
    assert len(lines) == 6
    status, _, stderr = run("--dry-run", "images.source=nowhere", "validation.source=nor/here")
    assert stderr.startswith("error: 2 things are wrong:\n  images.source.path: folder 'nowhere' does not exist (seen ")


def test_a_check_says_what_a_start_would(run: Run) -> None:
    status, said, _ = run("--check", "1", "mixed_precision=bf16")
    assert status == 0
    is_slow = "mixed_precision: bf16 is many times slower than no on a CPU" in said
    assert is_slow is not torch.cpu._is_avx512_bf16_supported()


def test_settings_with_dashes_and_no_config_are_told_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        ([str(TINY), "--max_train_steps", "5"], "unknown option --max_train_steps; settings are given without dashes, "
         "as in max_train_steps=5"),
        ([str(TINY), "--max-train-steps=5"], "as in max_train_steps=5"),
        ([str(TINY), "--resume"], "unknown option --resume; running the same command again resumes the run"),
        (["--dry-run"], "CONFIG must be given; there are configs/finetune_pairs.yaml, "),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert sentence in capsys.readouterr().err
    assert main(["configs/absent.yaml"]) == 2
    assert "the config configs/absent.yaml does not exist (seen from " in (said := capsys.readouterr().err)
    assert "configs/quickstart.yaml" in said
    assert main(["configs/quickstrat.yml"]) == 2
    assert "; did you mean configs/quickstart.yaml? there are " in capsys.readouterr().err
    assert main([str(ROOT / "tests")]) == 2
    assert f"is a folder; a config is a YAML file, and `./launch/local.sh {ROOT / 'tests'}` " in capsys.readouterr().err


def test_the_home_folder_is_found_in_options_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert upscale.parse(["--model=~/m", "--input=~/i", "--output=~/o"]).__dict__.items() >= {
        ("model", "/home/me/m"), ("output", Path("/home/me/o"))
    }  # fmt: skip
    assert export.parse(["~/run", "--out=~/o"]).out == "/home/me/o"
    assert push.parse(["~/run"]).run == Path("/home/me/run")
    assert import_options.parse(["~/a.yml", "--out=~/b.yaml"]).out == Path("/home/me/b.yaml")


def test_bf16_trains(run: Run) -> None:
    status, said, _ = run("mixed_precision=bf16", "max_train_steps=2")
    assert status == 0
    assert "precision bf16" in said
    assert "loss_pixel nan" not in said


def test_a_bad_picture_among_120_is_named_once_and_the_run_goes_on(run: Run, photos: Path) -> None:
    bad = photos / "030.png"
    bad.write_bytes(b"broken")
    status, said, stderr = run(folder_source(photos), *SMALL)
    assert (status, stderr) == (0, "")
    sentence = f"cannot be read, another picture takes its place: {bad}: not a picture in a format that is read"
    assert said.count(sentence) == 1  # though 280 samples are more than two epochs
    assert said.count("cannot be read") == 1


def test_three_bad_pictures_among_120_stop_the_run(run: Run, photos: Path) -> None:
    for number in (30, 31, 99):
        (photos / f"{number:03d}.png").write_bytes(b"broken")
    status, said, stderr = run(folder_source(photos), *SMALL)
    assert status == 2
    assert said.count("cannot be read, another picture takes its place") in (2, 3)
    assert " of 120 pictures (" in stderr
    assert stderr.count("\n") == 1


def by_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), *arguments], capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=60
    )


@pytest.mark.launch
def test_the_programs_own_status_is_2_and_its_stderr_one_sentence(tmp_path: Path) -> None:
    done = by_python(str(TINY), f"output_dir={tmp_path}", "optimizer.learning_rat=1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {TINY}: 1 thing is wrong:\n  optimizer.learning_rat: no such key; did you mean 'learning_rate'? "
        "allowed: type, learning_rate, betas, eps, weight_decay, max_grad_norm, arguments\n"
    )


@pytest.mark.launch
@pytest.mark.parametrize("beginning", ["from trainer.model import TrainerModel\n", "__version__ = '0.0.36'\n"])
def test_another_package_of_this_name_over_ours_is_said_in_a_sentence(tmp_path: Path, beginning: str) -> None:
    """As PyPI's `trainer`, installed after a wheel of this one: its `__init__.py` replaces ours, the rest stays."""
    package = tmp_path / "trainer"
    package.mkdir()
    (package / "run.py").write_text(RUN.read_text())
    (package / "__init__.py").write_text(beginning)
    script = tmp_path / "wildsr.py"
    script.write_text((ROOT / "wildsr.py").read_text())
    for program in (package / "run.py", script):
        done = subprocess.run([sys.executable, str(program), "--help"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        sentence = f"error: the package 'trainer' in {tmp_path} is another one, such as PyPI's 'trainer'"
        assert done.stderr.startswith(sentence)
        assert done.stderr.count("\n") == 1


@pytest.mark.launch
@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("--help", "accelerate launch trainer/run.py configs/quickstart.yaml"),
        ("--explain", "optimizer.learning_rate: number; default 0.0002\n    The full rate, before the schedule.\n"),
    ],
)
def test_help_and_explain_answer_at_once_and_without_torch(option: str, shown: str) -> None:
    """CPU time is measured, so a busy machine does not fail the test; and no import of torch could succeed here."""
    before = os.times()
    done = by_python(option)
    after = os.times()
    assert done.returncode == 0
    assert shown in done.stdout
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1
    program = f"import sys, runpy; sys.modules['torch'] = None; sys.argv = ['run.py', '{option}']; runpy.run_path({str(RUN)!r}, run_name='__main__')"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment()).returncode == 0
