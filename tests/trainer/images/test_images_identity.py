"""Pictures are identified by their content, wherever they lie; what has changed is reported."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from accelerate import Accelerator
from PIL import Image

from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.experiment import Experiment
from trainer.images.hub_dataset import HubDataset
from trainer.images.mixture import Mixture
from trainer.images.pairs import PairFolders
from trainer.images.sources import Folder
from trainer.images.streaming.dataset import StreamedDataset
from trainer.images.validation import open_validation
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.open_images import names_of_old
from trainer.lifecycle.start import check_best, check_stream
from trainer.loop import fit
from trainer.mistakes import Mistake
from trainer.optim.lr_plateau import Plateau, PlateauState
from trainer.state import IN_PRETRAINING, Best

Tiny = Callable[..., RunConfig]


def fill(root: Path, colour: str = "red", count: int = 3, side: int = 48) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.effect_mandelbrot((side, side), (-2 + number / 5, -1, 1, 1), 50).save(root / f"{number}.png")
    Image.new("RGB", (side, side), colour).save(root / "plain.png")
    return root


def identities(root: Path) -> list[Any]:
    """Identities by all kinds of sources that read files below one folder."""
    photographs, parquet = str(root / "photos"), str(root / "data" / "a.parquet")
    return [
        Folder(path=photographs).open().identity,
        PairFolders(gt=photographs, lq=str(root / "data" / "lq")).open().identity,
        HubDataset(path=parquet).open().identity,
        StreamedDataset(path=parquet).open().identity,
    ]


def test_a_moved_source_is_the_same_and_a_changed_one_is_not(tmp_path: Path) -> None:
    first = tmp_path / "here"
    fill(first / "photos")
    shutil.copytree(first / "photos", first / "data" / "lq")
    rows = [{"bytes": path.read_bytes(), "path": None} for path in sorted((first / "photos").iterdir())]
    datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image()).to_parquet(
        first / "data" / "a.parquet"
    )
    before = identities(first)
    shutil.copytree(first, tmp_path / "deep" / "there")
    (tmp_path / "link").symlink_to(first)
    for other in (tmp_path / "deep" / "there", tmp_path / "link", first / ".." / "here"):
        assert [replace(known, times="") for known in identities(other)] == [
            replace(known, times="") for known in before
        ]
    fill(first / "photos", "blue", side=47)
    rows[3]["bytes"] = (first / "photos" / "plain.png").read_bytes()
    datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image()).to_parquet(
        first / "data" / "a.parquet"
    )
    for old, new in zip(before, identities(first), strict=True):
        assert old.pictures == new.pictures
        assert old.content != new.content


def test_either_side_of_pairs_counts(tmp_path: Path) -> None:
    for name in ("gt", "lq", "clean"):
        fill(tmp_path / name, side=32 if name == "gt" else 16)
    source = PairFolders(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))

    def now() -> tuple[str, str]:
        return source.open().identity.content, open_validation(source, 2, None).content

    known = [now()]
    for name, side in (("lq", 16), ("gt", 32)):
        Image.effect_noise((side, side), 40).convert("RGB").save(tmp_path / name / "plain.png")
        known.append(now())
    assert len({files for files, _ in known}) == len({shown for _, shown in known}) == 3
    mixture = Mixture(Folder(path=str(tmp_path / "clean")).open(), source.open(), 2, 16, 0.5)
    assert mixture.identity.pictures == len(mixture) == 8
    assert mixture.identity.content != replace(mixture, clean=None).identity.content


def experiment(tiny: Tiny, accelerator: Accelerator, photos: Path, *overrides: str) -> tuple[Experiment, list[str]]:
    x = assemble(tiny(f"images.source={{type: folder, path: '{photos}'}}", *overrides), accelerator)
    said: list[str] = []
    x.telemetry.say = said.append  # type: ignore[method-assign]
    return x, said


def test_what_a_resumed_run_says_of_its_pictures(tiny: Tiny, accelerator: Accelerator, tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos")
    x, said = experiment(tiny, accelerator, photos)
    saved = asdict(x.state.stream)
    check_stream(x, saved)
    assert said == []

    old = {key: saved[key] for key in ("pictures", "position", "lengths")}
    check_stream(x, {**old, "names": names_of_old(x.source)})
    assert said.pop() == (
        f"images.source: folder '{photos}' is known to this checkpoint by the names of its pictures alone; sizes count "
        "from here on"
    )
    os.utime(photos / "0.png", (1, 1))
    x, said = experiment(tiny, accelerator, photos)
    check_stream(x, saved)
    assert said.pop() == (
        f"images.source: folder '{photos}' has files with other times of change than before, with the same names and "
        "sizes: it is taken for the same"
    )
    fill(photos, "blue", side=47)
    x, said = experiment(tiny, accelerator, photos)
    told = f"images.source: folder '{photos}' is not what this run was trained on (4 pictures of the same names, but "
    with pytest.raises(Mistake) as caught:
        check_stream(x, saved)
    assert str(caught.value).startswith(told)
    with pytest.raises(Mistake, match=r"\(4 pictures, but with other names\)"):
        check_stream(x, {**old, "names": "moved"})
    x, said = experiment(tiny, accelerator, photos, "checkpoints.accept_changes=true")
    check_stream(x, saved)
    assert said.pop().endswith("the stream is another one from here on, as accepted.")


def test_a_run_goes_on_where_its_pictures_were_moved_and_its_validation_changed(
    tiny: Tiny,
    fresh_accelerate: None,  # noqa: ARG001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One run in three parts: pictures moved, pictures to validate on replaced under their names by worse ones."""
    photos, held = fill(tmp_path / "photos"), fill(tmp_path / "held", count=1)

    def part(steps: int, photos: Path) -> Experiment:
        config = tiny(
            f"images.source={{type: folder, path: '{photos}'}}",
            f"validation.source={{type: folder, path: '{held}'}}",
            f"max_train_steps={steps}",
            "validation.draws=1",
            "queue_size=0",
            "telemetry.report_to=none",
        )
        x = assemble(config, make_accelerator(config))
        fit(x)
        return x

    first = part(3, photos)
    assert first.state.best is not None
    assert first.state.best.step == 3
    first.state.best.value = 99.0  # a figure that no later validation reaches
    first.saver.saved = None
    shutil.rmtree(first.folder.checkpoints / "step-00000003")
    first.saver.save()
    photos.rename(tmp_path / "moved")
    second = part(6, tmp_path / "moved")
    assert "images.source.path is now" in capsys.readouterr().out
    assert second.state.best is not None
    assert second.state.best.value == 99.0, "the same pictures: the best is still the best"
    Image.effect_noise((48, 48), 90).save(held / "0.png")
    third = part(9, tmp_path / "moved")
    said = capsys.readouterr().out
    assert "are not those by which the best so far was found (psnr 99.0000 at step 3): a new best begins" in said
    assert third.state.best is not None
    assert third.state.best.step == 9
    assert (third.folder.checkpoints / "step-00000009").is_dir()


def test_what_watches_a_validation_forgets_with_the_best(tiny: Tiny, accelerator: Accelerator) -> None:
    x = assemble(tiny("lr_scheduler={type: plateau, metric: validation/psnr, mode: max}"), accelerator)
    assert x.validator is not None
    x.model.generator.plateau = PlateauState(best=30.0, waited=4, multiple=0.25, watched="psnr")
    x.state.best = Best("psnr", 30.0, 3, x.validator.fingerprint("psnr"))
    check_best(x)
    assert x.model.generator.plateau.best == 30.0
    x.state.best = Best("psnr", 30.0, 3, x.validator.fingerprint("psnr") + IN_PRETRAINING)
    check_best(x)
    assert x.state.best is not None
    x.state.best = Best("psnr", 30.0, 3, "another set")
    check_best(x)
    assert x.state.best is None
    assert x.model.generator.plateau == PlateauState(best=None, waited=0, multiple=0.25, watched="psnr")
    x.model.generator.plateau = PlateauState(best=1.0)
    assert isinstance(x.model.generator.schedule, Plateau)
    x.model.generator.schedule = replace(x.model.generator.schedule, metric="training/loss")
    x.state.best = Best("psnr", 30.0, 3, "another set")
    check_best(x)
    assert x.model.generator.plateau.best == 1.0


def test_figures_depend_on_what_is_measured_and_how(tiny: Tiny, accelerator: Accelerator) -> None:
    validator = assemble(tiny(), accelerator).validator
    assert validator is not None
    others = [
        replace(validator, images=replace(validator.images, content="x")),
        replace(validator, config=replace(validator.config, seed=5)),
        replace(validator, config=replace(validator.config, crop_border=1)),
        replace(validator, config=replace(validator.config, channel="rgb")),
        replace(validator, synthesis=replace(validator.synthesis, gt_usm=False)),
        replace(validator, synthesis=replace(validator.synthesis, degradation="another")),  # type: ignore[arg-type]
    ]
    assert len({one.fingerprint("psnr") for one in (validator, *others)}) == 7
    same = replace(validator, config=replace(validator.config, num_samples=9, validation_steps=50))
    assert same.fingerprint("psnr") == validator.fingerprint("psnr") != validator.fingerprint("ssim")
