"""The model card: its content, what it leaves out, and front matter that the hub accepts."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from trainer.config.schema import RunConfig, folder_of
from trainer.hub.model_card import Facts, card, facts, last_validation, write_card
from trainer.networks import SRVGGNetCompact

Configure = Callable[..., RunConfig]
HUB = "hub={repo_id: tester/x4}"
PAIRS = "images.pairs={type: pairs, gt: /secret/test/gt, lq: /secret/test/lq}"
PLAIN = Facts(step=6, pictures=2, parameters=4328, figures={}, sheet=False)
SOURCES = {
    "{type: folder, path: /secret/place}": "a private folder of pictures",
    "{type: dataset, path: /secret/place.parquet}": "a private dataset",
    "{type: stream, path: '/secret/*.tar'}": "a private dataset",
    "{type: dataset, path: tester/photographs, split: clean}": "the dataset [tester/photographs](https://huggingface.co/"
    "datasets/tester/photographs) (clean)",
    "{type: stream, path: tester/photographs}": "the dataset [tester/photographs](https://huggingface.co/datasets/"
    "tester/photographs) (train)",
}


def text(config: RunConfig, given: Facts = PLAIN) -> str:
    assert config.hub
    return card(config, config.hub, given)


def test_the_card_of_a_run_has_its_figures_sheet_and_settings(saved: Configure, tmp_path: Path) -> None:
    config = saved(HUB, "hub.license=mit")
    folder = folder_of(config)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "validation.png").touch()
    weights = folder.export / "diffusion_pytorch_model.safetensors"
    (tmp_path / weights.name).hardlink_to(weights)
    write_card(config, folder, tmp_path, 6)

    page = (tmp_path / "report.html").read_text()
    assert str(folder.path.parent) not in page, "no path of this machine"
    assert '<li class="state">done</li>' in page
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.license == "mit"
    assert read.data.library_name == "wildsr"
    assert read.data.model_name == "x4"
    assert read.data.datasets is None
    results = {result.metric_type: result.metric_value for result in read.data.eval_results}
    assert results == {"psnr": 25.5, "ssim": 0.5}
    network = SRVGGNetCompact.from_pretrained(folder.export)
    count = sum(parameter.numel() for parameter in network.parameters())
    for part in (
        "# x4\n",
        f"`SRVGGNetCompact` of {count:,} parameters",
        "after 6 of 6 steps",
        "](samples/validation.png)",
        "[report.html](report.html) shows the run on one page",
        "| bicubic | 25.0000 | 0.4000 |\n| this network | 25.5000 | 0.5000 |",
        "Measured at step 6 on pictures that the Python package skimage ships: Y, 4 px border left out.",
        'Upscaler.from_pretrained("tester/x4")',
        "--model tester/x4 --output large --input photo.png\n",
        "opens in spandrel",
        "2 pictures.",
        "second_blur_prob: 0.8\n",
        "resize_range2: [0.3, 1.2]\n",
        "learning_rate: 0.001",
        "6 steps from random weights.",
        "## Licence\n\nmit.\n",
    ):
        assert part in read.text, part


def test_nothing_is_left_to_fill_in(tiny: Configure) -> None:
    for overrides in ([], ["validation=null"]):
        said = text(tiny(HUB, *overrides))
        assert not re.search(r"TODO|More Information|(?<!arguments: )\{\w*\}|\bNone\b(?! is stated)|<.*>", said)
        blocks = re.findall(r"```yaml\n(.*?)```", said, re.DOTALL)
        assert len(blocks) == 2
        assert all(isinstance(yaml.safe_load(block), dict) for block in blocks)


def test_a_card_without_a_validation_claims_nothing(tiny: Configure) -> None:
    said = text(tiny(HUB, "validation=null"))
    assert "How well" not in said
    assert "model-index" not in said
    assert "validation.png" not in said
    assert "None is stated: ask the author before you use it." in said
    assert "license:" not in said


@pytest.mark.parametrize("source", SOURCES)
def test_data_on_the_hub_are_linked_and_local_data_told_in_words(source: str, tiny: Configure) -> None:
    config = tiny(HUB, f"images.source={source}")
    said = text(config)
    assert f"Trained on {SOURCES[source]}; 2 " in said
    named = ["tester/photographs"] if "tester/" in source else None
    assert ModelCard(said).data.datasets == named


def test_the_metrics_of_a_run_are_in_its_card_with_their_directions(tiny: Configure) -> None:
    figures = {"step": 6.0, "psnr": 25.0, "psnr_bicubic": 24.0, "niqe": 4.5, "niqe_bicubic": 6.25, "colour_drift": 0.1}
    config = tiny(HUB, "validation.metrics=[psnr, niqe]")
    said = text(config, Facts(step=6, pictures=2, parameters=1, figures=figures, sheet=True))
    assert "|  | PSNR, dB ↑ | NIQE ↓ |\n| --- | --: | --: |\n| bicubic | 24.0000 | 6.2500 |" in said
    assert ModelCard(said).data.metrics == ["psnr", "niqe"]
    names = [result.metric_name for result in ModelCard(said).data.eval_results or ()]
    assert names == ["PSNR, dB (Y, 4 px border left out)", "NIQE (4 px border left out)"]


def test_no_local_path_is_in_the_card(tiny: Configure, tmp_path: Path) -> None:
    weights = "losses.perceptual={type: vgg, weight: 1, weights: /secret/vgg.pth}"
    config = tiny(
        HUB,
        "images.source={type: folder, path: /secret/place}",
        "validation.source={type: pairs, gt: /secret/gt, lq: secret/lq}",
        "init.generator=../secret/RealESRGAN_x4plus.pth",
        weights,
    )
    said = text(config, Facts(step=6, pictures=2, parameters=1, figures={"step": 6.0, "psnr": 25.0}, sheet=True))
    assert "secret" not in said
    assert str(tmp_path) not in said
    assert "6 steps from RealESRGAN_x4plus.pth." in said
    assert "weights: vgg.pth" in said
    assert "Measured on private folders of pairs, which it was not trained on." in said


def test_no_more_is_claimed_than_was_trained(tiny: Configure) -> None:
    given = ["images.source=null", PAIRS, "high_order_degradation=false", "queue_size=0"]
    said = text(tiny(HUB, *given, "ema.decay=0"))
    assert "A network that makes photographs 4 times larger per side, as given pairs taught it. It is" in said
    assert "These are its weights after" in said
    assert "real-esrgan" not in said
    said = text(tiny(HUB, "scale=1"))
    assert "A network that restores photographs and undoes noise, blur and compression, whose strength" in said
    assert "These are its smoothed weights after" in said
    assert ModelCard(said).data.tags == ["super-resolution", "image-restoration", "real-esrgan", "SRVGGNetCompact"]
    said = text(tiny(HUB, "degradation={type: pipeline, steps: [{type: fit}]}"))
    assert "per side and undoes the degradation below, whose strength it is not told" in said
    assert "real-esrgan" not in said


def test_what_may_be_a_path_of_the_machine_that_trained_is_not_in_the_card(saved: Configure, tmp_path: Path) -> None:
    """On any machine: the run records at its start which names are hub ids."""
    config = saved(HUB, "images.source={type: dataset, path: secret/tiles}", "init.generator=tester/base")
    folder = folder_of(config)
    weights = folder.export / "diffusion_pytorch_model.safetensors"
    (tmp_path / weights.name).hardlink_to(weights)
    for found, base in (((), None), (("tester/base",), "tester/base")):
        folder.begin(0, 1, found)
        write_card(config, folder, tmp_path, 6)
        read = ModelCard.load(tmp_path / "README.md")
        assert "secret" not in read.text
        assert "Trained on a private dataset; 2 pictures." in read.text
        assert f"6 steps from {base or 'base'}." in read.text
        assert (read.data.base_model, read.data.datasets) == (base, None)


def test_weights_from_the_hub_are_named_as_the_base(tiny: Configure) -> None:
    said = text(tiny(HUB, "init.generator=tester/base"))
    assert ModelCard(said).data.base_model == "tester/base"
    assert "6 steps from tester/base." in said


@pytest.mark.parametrize("among", ["source", "pairs"])
def test_figures_on_what_it_was_trained_on_are_not_called_held_out(among: str, tiny: Configure) -> None:
    pictures = Facts(step=6, pictures=2, parameters=1, figures={"step": 6.0, "psnr": 25.0}, sheet=True)
    ours = {"source": ["images.source={type: folder, path: /secret}"], "pairs": [PAIRS, "images.pair_prob=0.5"]}[among]
    for path, is_held_out in (("/other", True), ("/secret/test", False)):
        said = text(tiny(HUB, *ours, f"validation.source={{type: folder, path: {path}}}"), pictures)
        assert ("which it was not trained on" in said) == is_held_out
        assert ("Held-out" in said) == is_held_out
        assert ("held-out" in said) == is_held_out
        assert "Measured on a private folder of pictures" in said


def test_the_last_validation_is_that_of_the_step_or_before(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert last_validation(metrics, 6) == {}
    rows = ['{"step": 3, "validation/psnr": 20.5, "validation/ssim": null}', '{"step": 4, "training/loss": 1}',
            '{"step": 6, "validation/psnr": 21.5}', '{"step": 9, "validation/psn']  # fmt: skip
    metrics.write_text("\n".join(rows))
    assert last_validation(metrics, 5) == {"step": 3, "psnr": 20.5}
    assert last_validation(metrics, 9) == {"step": 6, "psnr": 21.5}
    assert last_validation(metrics, 2) == {}


def test_facts_are_those_of_the_staged_weights(saved: Configure) -> None:
    folder = folder_of(saved(HUB))
    found = facts(folder, folder.export, 3)
    assert (found.step, found.pictures, found.sheet, found.figures["psnr"]) == (3, 2, False, 26.5)


@pytest.mark.parametrize(("scale", "multiple"), [(4, 1), (2, 2), (1, 4)])
def test_what_the_sides_of_an_input_must_divide_by_is_said(tiny: Configure, scale: int, multiple: int) -> None:
    said = text(tiny(HUB, "generator={type: RRDBNet, num_block: 1}", f"scale={scale}", "gt_size=32"))
    assert (f"The sides of the network's input are multiples of {multiple}: the above pads" in said) == (multiple > 1)
