"""All that is wrong before a training is said at once, whichever part of its start meets it first."""

from pathlib import Path

import pytest

from tests.faults.forked import TINY
from trainer.building.accelerator import make_accelerator
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.lifecycle.assemble import assemble, check
from trainer.mistakes import Mistakes

WRONG = {
    "telemetry.report_to=wandb": "telemetry.report_to: got wandb, whose package is not installed",
    "images.source=/no/pictures": "images.source.path: folder '/no/pictures' does not exist",
    "validation.source={type: folder, path: /no/tests}": "validation.source.path: folder '/no/tests' does not exist",
    "init.generator=no.pth": "init.generator: no.pth does not exist.",
    "init.discriminator=no.pth": "init.discriminator: no.pth does not exist.",
    "losses.perceptual={type: vgg, weights: no.pth}": "losses.perceptual.weights: no.pth does not exist.",
    "hub.repo_id=me/x": "hub.repo_id: me/x cannot be pushed to: there is no token",
}


@pytest.mark.parametrize("checked", [True, False], ids=["check", "start"])
def test_everything_that_is_missing_is_said_at_once(
    checked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    judge = "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}"
    config = load_config(RunConfig, TINY, [f"output_dir={tmp_path}", judge, *WRONG])
    with pytest.raises(Mistakes) as found:
        check(config, 1) if checked else assemble(config, make_accelerator(config))
    assert len(found.value.sentences) == len(WRONG)
    for sentence in WRONG.values():
        assert sum(one.startswith(sentence) for one in found.value.sentences) == 1, sentence
