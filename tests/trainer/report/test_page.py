"""The page of a run, from folders of runs of every kind and at any stage."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.checkpoints.run_folder import RunFolder
from trainer.config.loader import dump_config
from trainer.config.schema import RunConfig
from trainer.images.validation import LowQuality
from trainer.report import pictures
from trainer.report.__main__ import main
from trainer.report.curves import charts, thinned
from trainer.report.page import write_report
from trainer.report.svg import Axis, number
from trainer.validation.views import Views, save_views

Tiny = Callable[..., RunConfig]
VOID = {"meta", "link", "img", "input", "br", "hr"}
HOSTILE = '<script>alert("&")</script>.png'
GAME = {"discriminator/D(y)_prob": 0.7, "discriminator/D(G(x))_prob": 0.2, "discriminator/learning_rate": 1e-4}


class Strict(HTMLParser):
    """Reads a page; an element that is not closed where it should be is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.words += data

    def lines(self) -> dict[str, list[list[Any]]]:
        """The points of every line of every chart, by name."""
        data = [json.loads(script) for script in self.scripts if script.startswith("{")]
        return {line["name"]: line["points"] for chart in data for line in chart["lines"]}


def make(config: RunConfig, *reports: dict[str, Any]) -> RunFolder:
    """The folder of a run of this configuration with these reports."""
    folder = RunFolder(Path(config.output_dir) / config.name)
    folder.samples.mkdir(parents=True)
    folder.config.write_text(dump_config(config))
    folder.metrics.write_text("".join(json.dumps(report) + "\n" for report in reports))
    return folder


def validated(step: int, psnr: float, **more: Any) -> dict[str, Any]:
    figures = {"validation/psnr": psnr, "validation/psnr_bicubic": 25.0}
    return {"step": step, **figures, "validation/ssim": 0.7, "validation/ssim_bicubic": 0.6, **more}


def read(folder: RunFolder) -> Strict:
    """The page of a folder, read strictly: nothing in it asks a network or another file for anything."""
    text = write_report(folder).read_text()
    page = Strict(text)
    assert not re.search(r"https?://", text)
    for tag, attributes in page.found:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("data:", "#")), (tag, attributes)
    return page


def with_views(folder: RunFolder, step: int, name: str = "a.png", side: int = 16) -> None:
    views = {"lq": torch.zeros(3, side // 4, side // 4, dtype=torch.uint8)}
    views |= {view: torch.full((3, side, side), 9, dtype=torch.uint8) for view in ("bicubic", "result", "gt")}
    save_views(Views("00-0", name, "JPEG 40", {"psnr": 26.5, "psnr_bicubic": 25.0}, views), folder.views, step)


def test_its_curves_and_figures_are_those_of_metrics_jsonl(tiny: Tiny) -> None:
    lines = [{"step": step, "training/loss": 1 / step, **GAME} for step in range(1, 6)]
    lines[2]["training/loss"] = None
    folder = make(tiny(), *lines, validated(6, 26.5), validated(7, 26.25, warnings=["the colours drift: <b>"]))
    page = read(folder)
    assert page.lines()["loss"] == [[report["step"], report["training/loss"]] for report in lines]
    assert page.lines()["this network"] == [[6, 0.7], [7, 0.7]]
    assert page.lines()["D(y), of ground truth"] == [[step, 0.7] for step in range(1, 6)]
    words = " ".join(page.words.split())
    assert "bicubic25.000.6000best, at step 626.50 +1.500.7000 +0.1000last, at step 726.25 +1.25" in words
    assert "Step 7: the colours drift: <b>" in words
    assert "step 7 of 6" in words
    assert "1 figures were not finite" in words


def test_a_step_that_was_reported_twice_counts_once(tiny: Tiny) -> None:
    reports = [{"step": step, "training/loss": loss} for step, loss in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 2.0))]
    assert read(make(tiny(), *reports)).lines()["loss"] == [[1, 5.0], [2, 2.0]]


def test_hostile_names_are_text(tiny: Tiny) -> None:
    folder = make(tiny("name=a&b"), validated(3, 26.0, **{"training/loss_</script><script>": 1.0}))
    with_views(folder, 3, HOSTILE)
    page = read(folder)
    assert HOSTILE in page.words
    assert len(page.scripts) == 4, "of three charts, and the page's own"
    assert not any("alert" in script for script in page.scripts)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("validation=null",), "This run has no validation: nothing is measured."),
        ((), "No validation yet."),
    ],
)
def test_a_run_without_figures_has_a_page(overrides: tuple[str, ...], sentence: str, tiny: Tiny) -> None:
    page = read(make(tiny(*overrides)))
    assert sentence in page.words
    assert "No report yet." in page.words


def test_low_quality_pictures_alone_are_shown_and_not_measured(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny()
    assert config.validation
    source = LowQuality(type="lq", path=str(tmp_path / "private" / "poor"))
    config = replace(config, validation=replace(config.validation, source=source))
    folder = make(config, {"step": 3, "validation/colour_drift": 0.1})
    with_views(folder, 3)
    page = read(folder)
    assert "Validation has no ground truth" in page.words
    assert "a.png" in page.words
    assert "private" not in page.words
    assert '"poor"' in page.words


def test_bands_and_their_metrics(tiny: Tiny) -> None:
    bands = {f"validation/psnr_band{band}": 30.0 + band for band in range(1, 13)}
    angles = {
        "validation/sam": 3.5,
        "validation/sam_bicubic": 4.0,
        "validation/ergas": 2.0,
        "validation/ergas_bicubic": 1.5,
    }
    page = read(make(tiny(), validated(3, 26.0, **bands, **angles)))
    assert page.lines()["band 12"] == [[3, 42.0]]
    assert "3.50 -0.50" in page.words
    better = [attributes["class"] for tag, attributes in page.found if tag == "small" and "class" in attributes]
    assert better == ["better", "better", "better", "other"]


def test_every_figure_has_its_direction_and_every_best_that_is_kept_its_row(tiny: Tiny) -> None:
    def judged(step: int, psnr: float, lpips: float, own: float) -> dict[str, Any]:
        more = {"validation/lpips": lpips, "validation/lpips_bicubic": 0.4, "validation/own": own}
        return validated(step, psnr, **more, **{"validation/own_bicubic": 5.0})

    module = "{type: module, path: a.B, name: own, lower_is_better: false}"
    game = "adversarial={pretrain_g_only: true, g_pretrain_steps: 2}"
    config = tiny(f"validation.metrics=[psnr, ssim, lpips, {module}]", game, "checkpoints.keep_best=[psnr, own]")
    page = read(
        make(config, judged(2, 29, 0.2, 9), judged(3, 27, 0.5, 6), judged(4, 26, 0.3, 4), judged(5, 25, 0.6, 7))
    )
    words = " ".join(page.words.split())
    assert "PSNR, dB ↑SSIM ↑LPIPS ↓own ↑bicubic25.000.60000.40005.0000best, at step 426.00 +1.00" in words
    assert "0.3000 -0.10004.0000 -1.0000best by PSNR, at step 327.00 +2.00" in words
    assert "best by own, at step 525.00 +0.00" in words
    assert "The best is chosen by LPIPS of the averaged network." in words
    quality = [chart.title for chart in charts([judged(3, 27, 0.5, 6)])["Quality"]]
    assert quality == ["PSNR, dB (higher is better)", "SSIM (higher is better)", "LPIPS (lower is better)", "own"]


def test_no_path_of_this_machine_is_in_it(tiny: Tiny, tmp_path: Path) -> None:
    source = f"images.source={{type: folder, path: {tmp_path}/own/photos}}"
    text = write_report(make(tiny(source), validated(3, 26.0))).read_text()
    assert str(tmp_path) not in text
    assert tmp_path.parent.name not in text
    assert "images.source.path: <b>&quot;photos&quot;" in text


def test_the_pictures_of_the_newest_and_best_validation_and_no_more_than_fit(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tiny(), validated(3, 27.0), validated(6, 26.0))
    with_views(folder, 3)
    with_views(folder, 6)
    with_views(folder, 9)  # from before a resume: no report of it is left
    page = read(folder)
    names = [attributes["alt"] for tag, attributes in page.found if tag == "img"]
    assert names == [
        f"a.png: {view}" for view in ("input", "bicubic", "result, step 6", "ground truth", "result, best, step 3")
    ]
    monkeypatch.setattr(pictures, "BYTES", 100)
    page = read(folder)
    assert "Left out, for the size of the page: 1 more in samples/views." in page.words
    assert not [tag for tag, _ in page.found if tag == "img"]


def test_of_many_points_the_extremes_stay() -> None:
    line: list[tuple[int, float | None]] = [(step, float(step % 7)) for step in range(10_000)]
    line[4567] = 4567, 99.0
    line[5000] = 5000, None
    kept = thinned(line)
    assert len(kept) <= 600
    assert {line[0], line[-1], line[4567]} <= set(kept) <= set(line)
    assert thinned(line[:10]) == line[:10]
    gaps = [(step, None if step % 7 == 0 else 1.0) for step in range(5000)]
    broken = thinned(gaps)
    assert len(broken) <= 600
    assert sum(figure is None for _, figure in broken) > 190  # one for each stretch: the line is broken everywhere


def test_axes_have_round_numbers() -> None:
    assert Axis(0.0, 10.0, 0, 100).ticks() == [0, 5, 10]
    assert Axis(1e-5, 1e-1, 0, 100, logarithmic=True).ticks() == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert [number(value) for value in (0.0, 1e-7, 25.4297, 123456.0, 2e9)] == ["0", "1e-7", "25.43", "123,456", "2e9"]
    assert charts([{"step": 1, "own/figure": 2.0, "training/digest": 5}])["Other figures"][0].title == "own/figure"
    terms = charts([{"step": 1, "training/loss_ms_ssim": 0.5, "training/loss_feature_matching": 0.1}])["Losses"]
    assert [chart.title for chart in terms] == ["MS-SSIM loss", "Feature matching loss"]


def test_the_command_line(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tiny(), validated(3, 26.0))
    assert main([str(folder.path)]) == 0
    assert capsys.readouterr().out.startswith(f"{folder.report}, 0.")
    assert main([str(folder.path), "--out", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").stat().st_size == folder.report.stat().st_size
    capsys.readouterr()
    wrong = {
        (str(tmp_path / "absent"),): "absent is no folder: wanted the folder of a run, such as outputs/quickstart.",
        (str(tmp_path),): "is no run folder: it has no config.yaml.",
        (
            str(folder.path),
            "--out",
            str(tmp_path),
        ): f"is a folder; wanted the name of a file, such as {tmp_path}/report",
        (str(folder.path), "--out", str(tmp_path / "no" / "a.html")): "cannot be read or written: No such file",
    }
    for arguments, sentence in wrong.items():
        assert main(list(arguments)) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1


def test_its_help_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; import trainer.report.__main__ as page\n"
        "try: page.main(['--help'])\nexcept SystemExit as end: assert end.code == 0"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "usage: python -m trainer.report" in done.stdout
