"""What a configuration may say, and the exact sentence for what it may not."""

import dataclasses
import json
import os
import re
from operator import attrgetter
from pathlib import Path

import pytest

from trainer.config.loader import differences, dump_config, load_config
from trainer.config.schema import RENAMED_KEYS, RunConfig
from trainer.images.sources import Folder
from trainer.mistakes import Mistake

ROOT = Path(__file__).parents[3]
TINY = ROOT / "tests" / "launch" / "tiny.yaml"
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))

WRONG = {
    "optimzer.learning_rate=1": "optimzer: no such key; did you mean 'optimizer'? allowed: name, output_dir, ",
    "optimizer.learning_rat=1": "optimizer.learning_rat: no such key; did you mean 'learning_rate'? allowed: type, "
    "learning_rate, betas, eps, weight_decay, max_grad_norm",
    "images.source.fils=3": "images.source.fils: no such key; did you mean 'files'? allowed: package, folder, files, "
    "type",
    "losses.pixel.wieght=1": "losses.pixel.wieght: no such key; did you mean 'weight'? allowed: type, weight",
    "generator={type: spandrel, arch: SPANN}": "generator.arch: got \"SPANN\"; did you mean 'SPAN'? allowed: ATD, ",
    "generator.scale=3": "generator.scale: no such key; allowed: type, num_feat, num_conv, act_type, init",
    "generator.type=UNet": "generator.type: got 'UNet'; allowed: RRDBNet, SRVGGNetCompact",
    "images.source.type=pakage": "images.source.type: got 'pakage'; did you mean 'package'? allowed: folder, package, "
    "dataset",
    "images.source={path: x}": "images.source.type: nothing given; allowed: folder, package, dataset",
    "images.pairs=photos": 'images.pairs: got "photos"; must be keys and values, such as images.pairs=\'{type: pairs, '
    "gt: ..., lq: ...}'",
    "generator=null": "generator: got null; must be keys and values, such as generator='{type: RRDBNet}'",
    "images.source={type:folder}": "images.source: got the key 'type:folder'; a blank must stand after a colon, as in "
    "images.source='{type: folder, path: ...}'",
    "batch_size=4": "batch_size: no such key; here it is batch.global_size and batch.per_device",
    "adversarial=true": "adversarial: got true; must be keys and values, such as adversarial='{pretrain_g_only: ...}', "
    "or null; configs/realesrgan_x4plus.yaml has such a section",
    "mixed_precision=fp32": "mixed_precision: got \"fp32\"; must be 'no', 'bf16' or 'fp16'; 'no' is fp32",
    "resume=true": "resume: no such key; running the same command again resumes the run",
    "device=cuda": "device: no such key; PROCESSES=2 ./launch/local.sh sets how many GPUs train, ",
    "epochs=10": "epochs: no such key; max_train_steps counts steps instead",
    "images=/data": "images: got \"/data\"; must be keys and values, such as images='{source: ...}'; "
    "images.source=FOLDER names a folder of pictures",
    "validation=none": "validation: got \"none\"; must be keys and values, such as validation='{source: ...}', or null",
    "max_train_steps=1e5": "max_train_steps: got 100000.0; must be a whole number, as in 100000",
    "ema=null": "ema: got null; must be keys and values, such as ema='{decay: ...}'; ema.decay=0 switches the average "
    "off",
    "generator.num_feat=0": "generator: num_feat: got 0; must be at least 1",
    "adversarial={discriminator: {type: PatchDiscriminator, num_feat: 0}}": "adversarial.discriminator: num_feat: "
    "got 0; must be at least 1",
    "batch=5": "batch: got 5; must be keys and values",
    "validation=[1]": "validation: got [1]; must be keys and values",
    "seed=yes": 'seed: got "yes"; must be a whole number',
    "seed='3'": 'seed: got "3"; must be a whole number',
    "seed=1.5": "seed: got 1.5; must be a whole number",
    "seed=-1": "seed: got -1; must be at least 0 and below 2**63",
    "seed=9223372036854775808": "seed: got 9223372036854775808; must be at least 0 and below 2**63",
    "gt_usm=no": 'gt_usm: got "no"; must be true or false',
    "name=a/b": "name: got 'a/b'; must be a folder's name, of printed characters, which does not begin with '.' or '-'",
    "name=-x": "name: got '-x'; must be a folder's name",
    "name= x": "name: got ' x'; must be a folder's name",
    "name=a\nb": "name: got 'a\\nb'; must be a folder's name",
    "name=" + 300 * "n": f"name: got '{119 * 'n'} ... {19 * 'n'}'; must be at most 200 bytes long",
    "output_dir=a\0b": 'output_dir: got "a\\u0000b"; must be text in UTF-8 without the character 0',
    "output_dir=a\udcff": 'output_dir: got "a\\udcff"; must be text in UTF-8 without the character 0',
    "init.generator=": "init.generator: got nothing; must be a path, or null",
    "max_train_steps=0": "max_train_steps: got 0; must be at least 1",
    "optimizer.learning_rate=fast": 'optimizer.learning_rate: got "fast"; must be a number',
    "optimizer.learning_rate=.nan": "optimizer.learning_rate: got nan; must be a finite number",
    "optimizer.betas=[.nan, 0.9]": "optimizer.betas.0: got nan; must be a finite number",
    "distributed.timeout_minutes=.inf": "distributed.timeout_minutes: got inf; must be a finite number",
    "optimizer.learning_rate=-1": "optimizer: learning_rate must not be negative, got -1.0",
    "optimizer.betas=0.9": "optimizer.betas: got 0.9; must be a list, in brackets",
    "optimizer.betas=[0.9]": "optimizer.betas.1: must be given",
    "optimizer.betas=[0.9, 0.9, 0.9]": "optimizer.betas: got [0.9, 0.9, 0.9]; has too many entries",
    "images.source.files=[a.png, 7]": "images.source.files.1: got 7; must be text, in quotes where it looks like "
    "something else",
    "mixed_precision=fp8": "mixed_precision: got \"fp8\"; must be 'no', 'bf16' or 'fp16'",
    "scale=5": "scale: got 5; must be 1, 2, 3, 4 or 8",
    "batch.per_device=0": "batch: per_device must be at least 1, got 0",
    "batch.per_device=atuo": "batch.per_device: got \"atuo\"; must be a whole number or 'auto'",
    "batch.per_device=2.5": "batch.per_device: got 2.5; must be a whole number or 'auto'",
    "batch.global_size=auto": 'batch.global_size: got "auto"; must be a whole number',
    "lr_scheduler.type=multistep": "lr_scheduler.milestones: must be given",
    "lr_scheduler={type: multistep, milestones: [3, 2]}": "lr_scheduler: milestones must be rising positive steps, "
    "got [3, 2]",
    "degradation.blur_sigma=[3, 1]": "degradation: blur_sigma must be (a, b) with ",
    "ema.decay=1": "ema: decay must be in [0, 1), got 1.0",
    "telemetry.report_to=tensorbord": "telemetry: report_to: got 'tensorbord'; allowed: none, ",
    "scale=3": "gt_size: got 32; must be a multiple of 3 for SRVGGNetCompact x3: 30 or 33 would do",
    "gt_size=64": "gt_size: got 64; must be at most images.crop_size, 48",
    "images.crop_size=50": "images.crop_size: got 50; must be a multiple of 4 for SRVGGNetCompact x4: 48 or 52 would "
    "do",
    "init.discriminator=d.pth": "init.discriminator: there is no adversarial section for it",
    "losses.sam={weight: -1}": "losses.sam: weight: got -1.0; must be at least 0",
    "losses.tv={weight: -1}": "losses.tv: weight: got -1.0; must be at least 0",
    "losses.pixel.weight=-1": "losses.pixel: weight: got -1.0; must be at least 0",
    "losses.perceptual={type: lpips, weight: -1}": "losses.perceptual: weight: got -1.0; must be at least 0",
    "losses.perceptual={type: dists, weight: -1}": "losses.perceptual: weight: got -1.0; must be at least 0",
    "adversarial={loss: {weight: -1}}": "adversarial.loss: weight: got -1.0; must be at least 0",
    "validation.max_side=0": "validation: max_side must be at least 1, got 0",
    "validation.crop_border=-1": "validation: crop_border must be at least 0, got -1",
}
"""Override of a good configuration -> how the one line about it begins."""

REFUSED_OVERRIDES = {
    "seed": "the argument 'seed' should read key.path=value without blanks around =, and in quotes where the value has "
    "blanks.",
    "=3": "the argument '=3' should read key.path=value.",
    "seed={a": "the value of 'seed={a' cannot be read: ",
    "seed.x=3": "'seed.x=3': there is no 'x' in 3.",
    "images.source.files.7=a.png": "'images.source.files.7=a.png': there is no '7' in ['astronaut.png', 'coffee.png'].",
}

REFUSED_FILES = {
    "": "{path} must hold keys and values, got None.",
    "- a\n- b\n": "{path} must hold keys and values, got ['a', 'b'].",
    "name: x\nscale:4\nseed: 3\n": "{path}: line 2 is 'scale:4'; a blank must stand after the colon.",
    "images:\n  source: /p\n  crop_size:48\n  use_rot: true\n": "{path}: line 3 is 'crop_size:48'; a blank must stand "
    "after the colon.",
    "images:\n\tcrop_size: 48\n": "{path}: line 2 begins with a tab; YAML wants blanks.",
    "a: [1\n": "{path}: is not YAML: while parsing a flow sequence",
    "? [a]\n: 3\n": "{path}: is not YAML: while constructing a mapping",
    "seed: 1\nname: a\nseed: 2\n": "{path}: key 'seed' stands on line 1 and again on line 3.",
    "images:\n  crop_size: 48\n  crop_size: 48\n": "{path}: key 'crop_size' stands on line 2 and again on line 3.",
}


def load(*overrides: str) -> RunConfig:
    return load_config(RunConfig, TINY, overrides)


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_value_gets_one_line_with_its_key(override: str) -> None:
    with pytest.raises(Mistake) as caught:
        load(override)
    head, line = str(caught.value).split("\n")
    assert head == f"{TINY}: 1 thing is wrong:"
    assert line.startswith("  " + WRONG[override])


@pytest.mark.parametrize("override", REFUSED_OVERRIDES)
def test_an_override_that_cannot_be_applied_is_named(override: str) -> None:
    with pytest.raises(Mistake) as caught:
        load(override)
    assert str(caught.value).startswith(REFUSED_OVERRIDES[override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", REFUSED_FILES)
def test_a_file_that_is_no_configuration_is_named(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Mistake) as caught:
        load_config(RunConfig, path)
    assert str(caught.value).startswith(REFUSED_FILES[text].format(path=path))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"absent\.yaml cannot be read: No such file or directory\.$"):
        load_config(RunConfig, tmp_path / "absent.yaml")
    (tmp_path / "other.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(Mistake, match=r"other\.yaml is not text in UTF-8\.$"):
        load_config(RunConfig, tmp_path / "other.yaml")


def sentences(*overrides: str) -> list[str]:
    """What is wrong with the tiny configuration after `overrides`."""
    with pytest.raises(Mistake) as caught:
        load(*overrides)
    return [line.strip() for line in str(caught.value).split("\n")[1:]]


def test_a_plateau_needs_a_validation() -> None:
    plateau = "{type: plateau, metric: validation/psnr}"
    assert sentences("validation=null", f"lr_scheduler={plateau}", f"adversarial={{lr_scheduler: {plateau}}}") == [
        f"{key}: a plateau is seen at validations, and there is no validation section"
        for key in ("lr_scheduler", "adversarial.lr_scheduler")
    ]
    load("lr_scheduler={type: plateau, metric: training/loss_pixel}")
    for metric in ("validation/sam", "psnr"):
        (sentence,) = sentences(f"lr_scheduler={{type: plateau, metric: {metric}}}")
        assert sentence.startswith(f"lr_scheduler.metric: got {metric}; a validation reports validation/psnr, ")
    (sentence,) = sentences("lr_scheduler={type: plateau, metric: discriminator/loss_fake}")  # there is no game
    assert sentence.startswith("lr_scheduler.metric: got discriminator/loss_fake; the training reports training/loss, ")
    plateau = "{type: plateau, metric: training/loss_adversary}"
    (sentence,) = sentences(f"adversarial={{lr_scheduler: {plateau}}}")
    assert sentence.startswith("adversarial.lr_scheduler.metric: got training/loss_adversary; the training reports ")


def test_what_needs_more_bands_or_three_is_refused_before_training() -> None:
    def of(bands: list[int]) -> tuple[str, ...]:
        folder = json.dumps({"type": "folder", "path": "x", "radiometry": {"bands": bands, "white": 10000}})
        composites = "validation.composites={shown: [0, 0, 0]}"
        return f"images.source={folder}", f"validation.source={folder}", composites

    assert sentences(*of([1]), "losses.sam={weight: 0.1}") == [
        "losses.sam: must be null for pictures of one band, which have no spectrum"
    ]
    assert sentences(*of([1, 2, 3, 4]), "degradation.jpeg=realesrgan") == [
        "degradation.jpeg: got 'realesrgan', which takes 3 bands and not 4; use 'libjpeg'"
    ]
    load(*of([1, 2]), "losses.sam={weight: 0.1}")
    assert sentences(*of([1, 2]), "validation.composites={}") == [
        "validation.composites: must say which of the 2 bands to show as red, green and blue"
    ]


def test_all_errors_come_at_once() -> None:
    with pytest.raises(Mistake) as caught:
        load("optimzer=1", "seed=x", "scale=9", "generator.type=UNet", "batch.per_device=0")
    head, *lines = str(caught.value).split("\n")
    assert head.endswith(": 5 things are wrong:")
    assert {line.split(":")[0].strip() for line in lines} == {"optimzer", "seed", "scale", "generator.type", "batch"}


def test_names_of_other_programs_are_told_where_they_are_here() -> None:
    with pytest.raises(Mistake) as caught:
        load("g_warmup_steps=5", "lr_scheduler.g_warmup_type=cosine", "adversarial={gradient_clip_val: 1.0}")
    assert sorted(str(caught.value).split("\n")[1:]) == [
        "  adversarial.gradient_clip_val: no such key; here it is optimizer.max_grad_norm and "
        "adversarial.optimizer.max_grad_norm",
        "  g_warmup_steps: no such key; here it is lr_scheduler.lr_warmup_steps",
        "  lr_scheduler.g_warmup_type: no such key; here it is lr_scheduler.lr_warmup_type",
    ]


@pytest.mark.parametrize("name", RENAMED_KEYS)
def test_where_they_are_said_to_be_is_a_key(name: str) -> None:
    plateau = {"type": "plateau", "metric": "validation/psnr", "mode": "max"}
    game = {"lr_scheduler": plateau, "r1": {}, "adaptive_d": {}}
    losses = {"sam": {"weight": 0.1}, "tv": {"weight": 0.1}, "perceptual": {"type": "vgg"}}
    images = {"source": {"type": "folder", "path": "a"}, "pairs": {"type": "pairs", "gt": "b", "lq": "c"}}
    sections = {"lr_scheduler": plateau, "adversarial": game, "losses": losses, "images": {**images, "pair_prob": 0.5}}
    config = load(*(f"{key}={json.dumps(value)}" for key, value in sections.items()))
    for path in RENAMED_KEYS[name].split(",")[0].split(" and "):
        attrgetter(path)(config)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Mistake) as caught:
        load_config(RunConfig, written(tmp_path, "seed: 1\n"))
    assert str(caught.value).split("\n")[1:] == [
        "  name: must be given",
        "  max_train_steps: must be given",
        "  images: must be given; images.source=FOLDER names a folder of pictures",
    ]


def test_a_scale_that_a_network_cannot_do_is_refused() -> None:
    with pytest.raises(Mistake, match=r"\n  scale: got 3; generator\.type RRDBNet can do 1, 2, 4$"):
        load("scale=3", "generator={type: RRDBNet, num_block: 1}")


def test_a_network_behind_a_pixel_unshuffle_needs_inputs_that_divide() -> None:
    rrdb = "generator={type: RRDBNet, num_block: 1}"
    load("scale=2", "gt_size=36", rrdb)
    with pytest.raises(Mistake, match=r"gt_size: got 34; must be a multiple of 4 for RRDBNet x2: 32 or 36 would do"):
        load("scale=2", "gt_size=34", rrdb)


def test_yaml_is_read_without_its_traps() -> None:
    """YAML 1.1 takes 1e-4 for text, and no for false."""
    assert load("optimizer.learning_rate=1e-4").optimizer.learning_rate == 1e-4
    assert load("optimizer.learning_rate=1").optimizer.learning_rate == 1.0
    assert load("name=no").name == "no"
    assert load("name=2026-11-21").name == "2026-11-21"


TEXTS = ("/d/set #2", "x: y", "0012", "1e-4", "~", "!tag", "'q'", '"q', " a\tb ", "[1", "{a", "null ", "*x", "a=b", "")


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_what_was_typed(text: str) -> None:
    """Hydra's users train on /d/set where they typed "/d/set #2"."""
    assert load(f"images.source.package={text}").images.source.package == text
    assert load(f"images.source.files.1={text}").images.source.files[1] == text
    if text and not text.startswith("~"):
        assert load(f"init.generator={text}").init.generator == text
        assert load("images.source={type: folder, path: x}", f"images.source.path={text}").images.source.path == text
        if not text.startswith("{"):
            assert load(f"images.source={text}").images.source == Folder(path=text)


def test_null_is_nothing_only_where_a_key_may_be_null() -> None:
    assert load("init.generator=x", "init.generator=null").init.generator is None
    assert load("init.generator=./null").init.generator == "./null"
    assert load("images.source.package=null").images.source.package == "null"
    with pytest.raises(Mistake, match=r"'adversarial\.loss\.type=x': adversarial is null; give the whole section, adv"):
        load("adversarial=null", "adversarial.loss.type=x")


def test_a_folder_stands_for_a_section_in_a_file_and_in_an_override(tmp_path: Path) -> None:
    chelsea = "\n    type: package\n    package: skimage\n    folder: data\n    files: [chelsea.png]"
    text = TINY.read_text()
    assert chelsea in text
    config = load_config(RunConfig, written(tmp_path, text.replace(chelsea, " ~/cats")))
    assert config.validation.source == Folder(path=str(Path.home() / "cats"))
    assert load("images.source=~/d d").images.source == Folder(path=f"{Path.home()}/d d")
    assert load("validation.source=photos").validation.source == Folder(path="photos")


def test_the_home_folder_is_found_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = load("output_dir=~/runs", "init.generator=~", "images.source={type: folder, path: ~/p}", "name=~x")
    assert (config.output_dir, config.init.generator) == ("/home/me/runs", "/home/me")
    assert config.images.source.path == "/home/me/p"
    assert config.name == "~x"
    assert load("output_dir=~nobody-here/x").output_dir == "~nobody-here/x"
    pairs = load("validation.source={type: pairs, gt: ~/a, lq: b~/c}").validation.source
    assert (pairs.gt, pairs.lq) == ("/home/me/a", "b~/c")


BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(8 * [f'*{chr(97 + n)}'])}]\n" for n in range(8)
)
UNBOUNDED = {
    "aliases": (BOMB, r"by line \d it comes to more than 20000 values"),
    "merges": ("a: &a {x: 1}\nb: {<<: *a}\n<<: [*a, *a]\nname: {<<: *none}\n", "found undefined alias"),
    "maps": ("".join(f"{n * ' '}a:\n" for n in range(600)), "line 33 is nested more than 32 deep"),
    "lists": ("a: " + 5000 * "[" + 5000 * "]", "line 1 is nested more than 32 deep"),
    "itself": ("a: &a [1, *a]\n", r"line 1: '\*a' stands within what it refers to"),
    "a number": ("seed: " + 5000 * "9", r"line 1: 9+ \.\.\. 9+ cannot be read as int"),
    "a day": ("name: !!timestamp 2001-99-99\n", "line 1 is of the type !!timestamp, which is not known here"),
    "a tag": ("name: !thing x\n", "line 1 is of the type !thing, which is not known here"),
    "no integer": ("seed: !!int x\n", "line 1: x cannot be read as int"),
    "much": ("# " + 2**20 * "x", "it is larger than 1 MiB, which no config is"),
    "many": ("a: [" + 30000 * "1," + "]", "by line 1 it comes to more than 20000 values"),
}


@pytest.mark.parametrize("what", UNBOUNDED)
def test_a_file_without_bounds_is_one_sentence(what: str, tmp_path: Path) -> None:
    text, sentence = UNBOUNDED[what]
    with pytest.raises(Mistake, match=sentence) as caught:
        load_config(RunConfig, written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    if what != "much" and "\n" not in text and ": " in text:
        with pytest.raises(Mistake, match=sentence):
            load("degradation=" + text.partition(": ")[2])


def test_a_key_without_end_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^the key of 'a\.a\..*' is nested more than 32 deep\.$"):
        load("a." * 3000 + "a=1")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Mistake, match=r"pipe: it is no file\.$"):
        load_config(RunConfig, tmp_path / "pipe")


def test_what_an_alias_repeats_is_set_in_one_place_alone(tmp_path: Path) -> None:
    text = TINY.read_text().replace("\noptimizer:", "\noptimizer: &o") + "\nadversarial: {optimizer: *o}\n"
    config = load_config(RunConfig, written(tmp_path, text), ["optimizer.learning_rate=5e-4"])
    assert (config.optimizer.learning_rate, config.adversarial.optimizer.learning_rate) == (5e-4, 1e-3)


def test_what_yaml_1_1_takes_for_another_number_is_text() -> None:
    for text in ("010", "1:30", "0b11"):
        assert sentences(f"seed={text}") == [f'seed: got "{text}"; must be a whole number']
    assert load("seed=0x10").seed == 16
    assert load("optimizer.eps=.5e-3").optimizer.eps == 5e-4


def test_a_configuration_that_is_built_in_python_is_told_of_a_wrong_type() -> None:
    config = load()
    for change, sentence in (
        ({"seed": "x"}, "seed: got 'x'; must be a whole number"),
        ({"name": None}, "name: got None; must be text"),
        ({"scale": True}, "scale: got True; must be 1 or 2 or 3 or 4 or 8"),
        ({"batch": {"global_size": 4}}, "batch: got {'global_size': 4}; must be BatchConfig"),
    ):
        with pytest.raises((ValueError, TypeError), match=re.escape(sentence)):
            dataclasses.replace(config, **change)
    assert dataclasses.replace(config, max_hours=1).max_hours == 1


def test_overrides_reach_into_lists_and_optional_parts() -> None:
    config = load("images.source.files.1=rocket.jpg", "validation=null")
    assert config.images.source.open().files == ("astronaut.png", "rocket.jpg")
    assert config.validation is None
    assert load("ema={decay: 0.5}", "ema.warmup_power=1.0").ema.decay == 0.5


@pytest.mark.parametrize("path", [TINY, *SHIPPED], ids=lambda path: path.stem)
def test_what_is_dumped_loads_again_to_the_same(path: Path, tmp_path: Path) -> None:
    config = load_config(RunConfig, path)
    text = dump_config(config)
    again = load_config(RunConfig, written(tmp_path, text))
    assert again == config
    assert dump_config(again) == text
    assert differences(config, again) == {}


@pytest.mark.parametrize("name", ["1e-4", "no", "true", "null", "2026-11-21", "0x10", "é: #1", "12_000"])
def test_a_name_that_looks_like_something_else_survives_the_dump(name: str, tmp_path: Path) -> None:
    config = load(f"name={name}")
    assert config.name == name
    assert load_config(RunConfig, written(tmp_path, dump_config(config))) == config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_configs_from_upstream_keep_its_average_and_start(path: Path) -> None:
    config = load_config(RunConfig, path)
    assert (config.ema.warmup_power == 0) == path.stem.startswith(("realesr", "finetune"))
    if config.generator.type == "SRVGGNetCompact":
        assert config.generator.init == ("torch" if path.stem.startswith("realesr") else "residual")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_command_at_the_head_of_a_config_is_one(path: Path) -> None:
    head = path.read_text().partition("\nname:")[0].replace("\\\n#", "")
    commands = [line.removeprefix("#").split() for line in head.splitlines() if "configs/" in line and "=" in line]
    for command in commands:
        config, *overrides = (word for word in command if word.startswith("configs/") or "=" in word)
        load_config(RunConfig, ROOT / config, overrides)


def test_differences_are_dotted_keys_with_both_values() -> None:
    changed = load("seed=4", "optimizer.betas=[0.5, 0.99]", "validation=null", "lr_scheduler={type: linear}")
    found = differences(load(), changed)
    assert found["seed"] == (3, 4)
    assert found["optimizer.betas"] == ([0.9, 0.99], [0.5, 0.99])
    assert found["lr_scheduler.type"] == ("constant", "linear")
    assert found["lr_scheduler.min_factor"] == (None, 0.0)
    assert found["validation.draws"] == (3, None)
    assert not [key for key in found if key.startswith("images")]
