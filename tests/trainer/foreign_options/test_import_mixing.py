"""Translation of the mixture of augmentations of traiNNer-redux and neosr."""

from typing import Any

import pytest

from tests.trainer.foreign_options.test_import_options import EVERY_FILE, imported, options
from trainer.foreign_options.realesrgan import translate
from trainer.mistakes import Mistake
from trainer.pairs.mixing import CutBlurConfig, CutMixConfig, MixingConfig, MixUpConfig

NAMES = ["none", "mixup", "cutmix", "resizemix", "cutblur"]


def with_moa(**more: Any) -> dict[str, Any]:
    given = {"moa_augs": NAMES, "moa_probs": [0.8, 0.2, 0.4, 0.2, 0.4], "moa_debug": False, "moa_debug_limit": 100}
    return options(lambda tree: tree["train"].update(given | more))


def test_weights_become_probabilities() -> None:
    config, named = imported(with_moa(use_moa=True))
    assert config.mixing == MixingConfig(
        mixup=MixUpConfig(prob=0.1), cutmix=CutMixConfig(prob=0.2), cutblur=CutBlurConfig(prob=0.2)
    )
    changed = {"train.moa_augs", "train.moa_probs", "train.moa_debug", "train.moa_debug_limit"}
    assert {*named} - {*EVERY_FILE} == changed


def test_a_mixture_that_is_switched_off_is_none() -> None:
    config, named = imported(with_moa(use_moa=False))
    assert config.mixing is None
    assert {*named} == {*EVERY_FILE}


def test_a_mixture_of_nothing_is_noted() -> None:
    config, named = imported(options(lambda tree: tree["train"].update(use_moa=True)))
    assert config.mixing is None
    assert "train.use_moa" in named


def test_neosr_has_it_in_the_data_set() -> None:
    given = {"augmentation": ["none", "cutblur"], "aug_prob": [1, 3]}
    config, _ = imported(options(lambda tree: tree["datasets"]["train"].update(given)))
    assert config.mixing == MixingConfig(cutblur=CutBlurConfig(prob=0.75))


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0, 0, 0, 0, 0], [1, 1, 1, 1, "x"], None])
def test_weights_that_do_not_fit_are_refused(weights: Any) -> None:
    with pytest.raises(Mistake, match=r"train\.moa_probs: got .*; must be"):
        translate(with_moa(use_moa=True, moa_probs=weights), gpus=1)
