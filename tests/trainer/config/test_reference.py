"""The reference of the configuration's keys: made from the schema, printed by `--explain`, written as a page."""

from pathlib import Path

import pytest

from trainer.config import write_reference
from trainer.config.loader import leaves, load_config
from trainer.config.reference import FILE, Key, explain, read
from trainer.config.schema import RunConfig
from trainer.mistakes import Mistake
from trainer.run import main

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_reference_and_the_page_are_those_of_the_schema() -> None:
    """`python -m trainer.config.write_reference` makes both anew."""
    assert FILE.read_text() == write_reference.text_of(write_reference.reference())
    assert (ROOT / "configs" / "README.md").read_text() == write_reference.page()


def test_every_key_of_every_shipped_config_is_explained() -> None:
    reference = read()
    paths = {path for config in CONFIGS for path in leaves(load_config(RunConfig, config))}
    free = ("layer_weights.", "composites.", "radiometry", "arguments.", "tracker_options.")  # names of one's own
    for path in sorted(path for path in paths if not any(part in path for part in free)):
        key = path.removesuffix(".type")
        assert any(isinstance(item, Key) and item.path == key for item in reference.found(key)), path


def test_a_key_is_shown_with_its_values_default_and_sentence() -> None:
    assert explain("scale") == (
        "scale: one of 1, 2, 3, 4, 8; default 4\n"
        "    Enlargement per side: the result's height and width over the input's.\n"
    )
    assert explain("hub.repo_id").startswith("hub.repo_id: text; must be given\n    `namespace/name`;")


def test_a_key_is_shown_with_each_type_that_has_it() -> None:
    assert explain("lr_scheduler.gamma") == (
        "with lr_scheduler.type: multistep\n    The rate times `gamma` at each milestone, as torch's MultiStepLR.\n"
        "lr_scheduler.gamma: number; default 0.5\n    The factor of each fall.\n"
    )
    shown = explain("losses.perceptual")
    assert shown.startswith('losses.perceptual: section with type "vgg", "lpips", "dists", or null; default null\n')
    for line in ("with losses.perceptual.type: dists", "losses.perceptual.net: one of ", "losses.perceptual.criterion"):
        assert f"\n{line}" in shown


def test_an_entry_of_a_list_is_found_by_number() -> None:
    wanted = explain("degradation.steps.N.saves")
    assert explain("degradation.steps.3.saves") == explain("degradation.steps.saves") == wanted
    assert "degradation.steps.N.saves: list of two whole numbers; default [1, 1]\n" in wanted


def test_a_section_that_has_a_default_of_its_own_shows_it_at_the_key() -> None:
    said = explain("adversarial.optimizer")
    assert said.startswith("adversarial.optimizer: section; default {}")
    assert "adversarial.optimizer.learning_rate: number; default 0.0001" in said


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("optimizer.lr", "optimizer.lr: no such key; here it is optimizer.learning_rate and adversarial."),
        ("losses.perceptual.stile_weight", "losses.perceptual.stile_weight: no such key; did you mean 'style_weight'?"),
        ("report_steps", "report_steps: no such key; did you mean 'telemetry.report_steps'?"),
        ("seed.x", "seed.x: no such key; seed has none below it."),
        ("optimizer.", "optimizer.: no such key; allowed: type, learning_rate,"),
    ],
)
def test_a_key_that_does_not_exist_gets_the_nearest(key: str, sentence: str) -> None:
    with pytest.raises(Mistake) as caught:
        explain(key)
    assert str(caught.value).startswith(sentence)


def test_a_wrong_key_is_a_mistake_on_rank_0_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--explain", "optimzer"]) == 2
    assert capsys.readouterr().err.startswith("error: optimzer: no such key; did you mean 'optimizer'? allowed: name, ")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["--explain", "optimizer"]) == 0
    assert main(["--explain", "optimzer"]) == 2
    assert capsys.readouterr() == ("", "")


def test_explain_takes_no_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["configs/quickstart.yaml", "--explain"])
    assert end.value.code == 2
    assert "--explain takes one key and no CONFIG, got configs/quickstart.yaml too" in capsys.readouterr().err
