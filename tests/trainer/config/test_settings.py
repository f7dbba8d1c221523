"""Settings with their defaults: which differ, at any depth."""

from collections.abc import Callable
from dataclasses import asdict

from trainer.config.schema import RunConfig
from trainer.config.settings import hyper_parameters, settings

Tiny = Callable[..., RunConfig]


def test_each_setting_has_its_default_and_sentence(tiny: Tiny) -> None:
    found = {one.path: one for one in settings(asdict(tiny("adversarial={}")))}
    rate, weight = found["optimizer.learning_rate"], found["losses.pixel.weight"]
    assert (rate.value, rate.default, rate.differs) == (1e-3, "0.0002", True)
    assert not weight.differs
    assert found["generator.type"].default == "RRDBNet"
    assert not found["adversarial.discriminator.type"].differs
    assert found["name"].default == "must be given"
    assert all(one.sentence for one in found.values())


def test_sections_in_lists_and_keys_of_another_version() -> None:
    steps = [{"type": "blur", "prob": 0.5}, {"type": "fit"}]
    tree = {"degradation": {"type": "pipeline", "steps": steps}, "of_another_version": 3}
    found = {one.path: one for one in settings(tree)}
    assert found["degradation.steps.0.prob"].differs
    assert found["degradation.type"].default == "second_order"
    assert found["of_another_version"].sentence == ""


def test_hyper_parameters_are_what_differs(tiny: Tiny) -> None:
    assert hyper_parameters(asdict(tiny("gt_size=256", "images.crop_size=400"))).get("gt_size") is None
    found = hyper_parameters(asdict(tiny("optimizer.betas=[0.5, 0.9]")))
    assert found["optimizer.learning_rate"] == 1e-3
    assert found["optimizer.betas"] == "[0.5, 0.9]"
    assert not {"name", "output_dir"} & found.keys()
