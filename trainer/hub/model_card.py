"""The model card of a run: network, data, metrics and usage, without local paths."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from safetensors import safe_open

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.hub import HubConfig
from trainer.config.loader import dump_tree
from trainer.config.redact import disjoint, freeze_hub_ids, hub_id, is_hub_id, redact_paths
from trainer.config.schema import RunConfig
from trainer.console import say
from trainer.images.sources import Package
from trainer.networks import GeneratorConfig, RRDBNetConfig, SpandrelGeneratorConfig, SRVGGNetCompactConfig
from trainer.networks.loading.state_dicts import WEIGHTS
from trainer.report.page import write_report
from trainer.telemetry.metrics_file import read_reports
from trainer.telemetry.quality import COLOURS, Figure

TRAINING = ("seed", "gt_size", "batch", "queue_size", "mixed_precision", "losses", "optimizer", "lr_scheduler", "ema")
PAGE = (
    "[report.html](report.html) shows the run on one page: curves, settings, and validation pictures with a slider. It "
    "opens in any browser once it is downloaded, and needs no network."
)
PYTHON = """\
from PIL import Image
from trainer import Upscaler

upscaler = Upscaler.from_pretrained("{repo_id}")
upscaler(Image.open("photo.png")).save("large.png")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Content of a card beside the configuration."""

    step: int
    pictures: int
    """Number of training pictures, or of shards of a streamed dataset."""
    parameters: int
    figures: dict[str, float]
    """The last validation, empty without one."""
    sheet: bool
    """True if a sheet of samples is staged."""
    page: bool = False
    """True if the page of the run is staged."""


def write_card(config: RunConfig, folder: RunFolder, place: Path, step: int) -> None:
    """Write the page of the run, up to `step`, and the card of a save that is staged in `place`."""
    assert config.hub
    state = "done" if step >= config.max_train_steps else f"saved at step {step:,}"
    try:
        write_report(folder, place / folder.report.name, step, state)
    except Exception as error:  # a page is not worth a push
        say(f"{folder.report.name} is not pushed with step {step}: {type(error).__name__}: {error}.")
    known = freeze_hub_ids(config, folder.hub_names())
    (place / "README.md").write_text(card(known, config.hub, facts(folder, place, step)), encoding="utf-8")


def facts(folder: RunFolder, place: Path, step: int) -> Facts:
    """Facts from the run folder and the files staged in `place`."""
    with safe_open(place / WEIGHTS, framework="pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 - no mapping
    return Facts(
        step=step,
        pictures=Checkpoints(folder.checkpoints).progress(step)["stream"]["pictures"],
        parameters=sum(math.prod(shape) for shape in shapes),
        figures=last_validation(folder.metrics, step),
        sheet=(place / "samples" / "validation.png").is_file(),
        page=(place / folder.report.name).is_file(),
    )


def last_validation(metrics: Path, step: int) -> dict[str, float]:
    """Metrics of the last validation up to `step`, with that validation's `step`; empty without one."""
    prefix, found = "validation/", {}
    for report in read_reports(metrics):
        values = {key.removeprefix(prefix): value for key, value in report.items() if key.startswith(prefix)}
        if values and report["step"] <= step:
            found = {"step": report["step"], **values}
    return {name: value for name, value in found.items() if value is not None}


def metadata(config: RunConfig, hub: HubConfig, figures: dict[str, float]) -> str:
    """The card's front matter, which the hub parses and validates: YAML between dashes."""
    sources = [source for source in (config.images.source, config.images.pairs) if source]
    start = config.init.generator
    which = ["real-esrgan"] if config.images.source and config.degradation.type == "second_order" else []
    measured_on = "held-out-pictures" if is_held_out(config) else "pictures"
    results = [
        EvalResult(
            task_type="image-to-image",
            task_name="super-resolution",
            dataset_type=hub_id(config.validation.source) or measured_on,
            dataset_name=hub_id(config.validation.source) or describe_source(config.validation.source),
            metric_type=name,
            metric_name=f"{figure.label} ({metric_settings(config, name)})",
            metric_value=round(figures[name], 4),
        )
        for name, figure in quality(config, figures).items()
        if config.validation
    ]
    data = ModelCardData(
        license=hub.license,
        library_name="wildsr",
        pipeline_tag="image-to-image",
        tags=["super-resolution", "image-restoration", *which, kind_of(config.generator)],
        datasets=sorted({name for source in sources if (name := hub_id(source))}) or None,
        base_model=start if start and is_hub_id(start) else None,
        metrics=list(quality(config, figures)) or None,
        model_name=hub.repo_id.split("/")[1],
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def card(config: RunConfig, hub: HubConfig, facts: Facts) -> str:
    """The whole card, as Markdown."""
    sections = [
        f"# {hub.repo_id.split('/')[1]}\n\n{summary(config, facts)}",
        sheet_of_samples(config) if facts.sheet else "",
        PAGE if facts.page else "",
        f"## How well it does\n\n{metrics_table(config, facts.figures)}" if quality(config, facts.figures) else "",
        f"## How to use it\n\n{usage(config, hub.repo_id)}",
        f"## Data\n\n{data(config, facts)}",
        f"## Degradation\n\n{degradation(config)}",
        f"## Training\n\n{training(config, facts)}",
        f"## Licence\n\n{f'{hub.license}.' if hub.license else 'None is stated: ask the author before you use it.'}",
    ]
    return metadata(config, hub, facts.figures) + "\n" + "\n\n".join(filter(None, sections)) + "\n"


def sheet_of_samples(config: RunConfig) -> str:
    """The sheet of samples, with a caption."""
    truth = config.validation is None or config.validation.has_gt
    seen = "bicubic upsampling, this network, the ground truth" if truth else "bicubic upsampling, this network"
    alternative = "Bicubic, this network and the ground truth" if truth else "Bicubic and this network"
    pictures = "Held-out pictures" if is_held_out(config) else "Pictures"
    return f"![{alternative}](samples/validation.png)\n\n*{pictures}: {seen}.*"


def summary(config: RunConfig, facts: Facts) -> str:
    """Network, training and weights, in three sentences."""
    kind = "photographs" if config.images.radiometry is None else f"pictures of {config.images.bands} bands"
    enlarges = f"makes {kind} {config.scale} times larger per side" if config.scale > 1 else f"restores {kind}"
    adversarial = " and a discriminator" if config.adversarial else ""
    smoothed = "smoothed " if config.ema.decay else ""
    return (
        f"A network that {enlarges}{removed_degradations(config)}. It is a `{kind_of(config.generator)}` of "
        f"{facts.parameters:,} parameters, trained with wildsr by the losses{adversarial} below. "
        f"These are its {smoothed}weights after "
        f"{facts.step:,} of {config.max_train_steps:,} steps."
    )


def removed_degradations(config: RunConfig) -> str:
    """The degradations that the network removes: those of its training inputs."""
    if config.images.source is None:
        return ", as given pairs taught it"
    removed = "noise, blur and compression" if config.degradation.type == "second_order" else "the degradation below"
    return f" and undoes {removed}, whose strength it is not told (blind super-resolution)"


def metrics_table(config: RunConfig, figures: dict[str, float]) -> str:
    """Table of the last validation beside bicubic upsampling."""
    named = quality(config, figures)
    names = [name for name in named if f"{name}_bicubic" in figures]
    rows = [["", *(named[name].heading for name in names)], ["---", *("--:" for _ in names)]]
    for label, suffix in (("bicubic", "_bicubic"), ("this network", "")):
        rows.append([label, *(f"{figures[name + suffix]:.4f}" for name in names)])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    assert config.validation
    source = describe_source(config.validation.source)
    where = f"Measured at step {figures['step']:,.0f} on {source}: {metric_settings(config)}."
    return f"{lines}\n\n{where}"


def quality(config: RunConfig, figures: Mapping[str, float]) -> dict[str, Figure]:
    """The figures of a validation that show quality, by name."""
    known = config.validation.figures if config.validation else {}
    return {name: figure for name, figure in known.items() if name in figures and name not in COLOURS}


def metric_settings(config: RunConfig, name: str = "psnr") -> str:
    """Settings of a metric: channel or mean over bands, and the border left out."""
    assert config.validation
    border = config.validation.border(config.scale)
    if name not in ("psnr", "ssim", "sam", "ergas"):
        return f"{border} px border left out"
    if config.images.radiometry:
        return f"mean over the bands, {border} px border left out"
    return f"{(config.validation.channel or 'y').upper()}, {border} px border left out"


def usage(config: RunConfig, repo_id: str) -> str:
    """Usage: a command line, and Python for photographs."""
    levels = config.images.radiometry
    picture = f"scene.tif --black {levels.black:g} --white {levels.white:g}" if levels else "photo.png"
    command = f"python -m trainer.upscale --model {repo_id} --output large --input {picture}"
    text = f"With wildsr installed:\n\n```\n{command}\n```"
    if not levels:
        text += f"\n\n```python\n{PYTHON.format(repo_id=repo_id)}```"
    if (multiple := config.generator.input_multiple(config.scale)) > 1:
        text += (
            f"\n\nThe sides of the network's input are multiples of {multiple}: the above pads a picture and crops the "
            f"result, as an ONNX file of `python -m trainer.export` does within."
        )
    if loads_in_spandrel(config.generator):
        text += "\n\nThe `.safetensors` file also opens in spandrel, and so in chaiNNer and ComfyUI."
    return text


def loads_in_spandrel(generator: GeneratorConfig) -> bool:
    """True if spandrel can infer the sizes of this network from its tensors."""
    if isinstance(generator, RRDBNetConfig):
        return generator.num_grow_ch == 32
    if isinstance(generator, SpandrelGeneratorConfig):
        return True
    return isinstance(generator, SRVGGNetCompactConfig) and generator.act_type == "prelu"


def kind_of(generator: GeneratorConfig) -> str:
    """The name of an architecture."""
    return generator.arch if isinstance(generator, SpandrelGeneratorConfig) else generator.type


def data(config: RunConfig, facts: Facts) -> str:
    """Training and validation data, in sentences."""
    images, parts = config.images, []
    if images.source:
        parts.append(describe_source(images.source))
    if images.pairs:
        parts.append(f"given pairs ({describe_source(images.pairs)})")
    unit = "shards" if images.source and images.source.type == "stream" else "pictures"
    unit = "pictures and pairs" if images.source and images.pairs else "pairs" if images.pairs else unit
    lines = [f"Trained on {' and '.join(parts)}; {facts.pictures:,} {unit}."]
    if config.validation:
        apart = ", which it was not trained on" if is_held_out(config) else ""
        how = "Measured" if config.validation.has_gt else "Tried"
        lines.append(f"{how} on {describe_source(config.validation.source)}{apart}.")
    return "\n".join(lines)


def is_held_out(config: RunConfig) -> bool:
    """True if there is a validation, on pictures that are certainly not in the training data."""
    if config.validation is None:
        return False
    trained_on = (source for source in (config.images.source, config.images.pairs) if source)
    return all(disjoint(config.validation.source, source) for source in trained_on)


def describe_source(source: Any) -> str:
    """Description of a source of pictures: datasets on the hub and packages by name, local ones without their path."""
    if name := hub_id(source):
        return f"the dataset [{name}](https://huggingface.co/datasets/{name}) ({source.split})"
    if isinstance(source, Package):
        return f"pictures that the Python package {source.package} ships"
    kinds = {
        "folder": "a private folder of pictures",
        "lq": "a private folder of low-quality pictures",
        "pairs": "private folders of pairs",
    }
    return kinds.get(source.type, "a private dataset")


def degradation(config: RunConfig) -> str:
    """The degradation that made the low-quality inputs, as YAML."""
    if config.images.source is None:
        return "None: all pairs were given."
    before = "Inputs are made from sharpened pictures. " if config.gt_usm or config.degrade_gt_usm else ""
    yaml = dump_tree(redact_paths(asdict(config.degradation)), compact=True)
    return f"{before}The names are Real-ESRGAN's where it has them.\n\n```yaml\n{yaml}```"


def training(config: RunConfig, facts: Facts) -> str:
    """The training's settings, as YAML."""
    tree = asdict(config)
    chosen = {key: tree[key] for key in TRAINING} | {"generator": tree["generator"], "adversarial": tree["adversarial"]}
    start = f"from {redact_paths(config.init.generator)}" if config.init.generator else "from random weights"
    return f"{facts.step:,} steps {start}.\n\n```yaml\n{dump_tree(redact_paths(chosen), compact=True)}```"
