"""The two founding documents, sentence by sentence: the tests that hold each, and those that no other file has.

The first is Real-ESRGAN's page on its models, the second opensr-srgan's training guide.
"""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch

from degradations.keyed_random import Keys, Purpose
from degradations.operations.blur import blur
from degradations.operations.noise import quantise
from degradations.second_order import SecondOrder
from trainer.adversarial.phases import SOLO, Phase
from trainer.building.accelerator import make_accelerator
from trainer.config.loader import load_config, read_tree, validated
from trainer.config.schema import RunConfig
from trainer.foreign_options.realesrgan import translate
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.losses import LossesConfig, PerceptualLoss
from trainer.losses.adversarial import AdversarialLoss
from trainer.losses.pixel import PixelLoss
from trainer.losses.spectral import SpectralAngle
from trainer.losses.variation import TotalVariation
from trainer.networks import ShuffleRRDBNetConfig
from trainer.objective import Objective, Targets, weighted_sum
from trainer.optim.lr_schedules import Constant

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
MODELS, STEPS, RUNS = "trainer/test_models.py", "trainer/test_steps.py", "trainer/test_whole_runs.py"
HERE, PHASES = "trainer/test_founding_documents.py", "trainer/adversarial/test_phases.py"
LEARNER, PLATEAU, CRITERIA, OPENSR = (
    "trainer/optim/test_learner.py",
    "trainer/optim/test_lr_plateau.py",
    "trainer/losses/test_losses_adversarial.py",
    "trainer/foreign_options/test_import_opensr.py",
)
OPTIONS, UPSTREAM = "trainer/foreign_options/test_import_options.py", "trainer/test_upstream_step.py"

SENTENCES = {
    # Real-ESRGAN
    "queue_size (int, default: 180): size of the training pair pool": [
        f"{HERE}::test_the_pool_has_180_pairs_a_gpu_by_default",
        f"{OPTIONS}::test_realesrgan_x4", f"{MODELS}::test_options_without_a_number_of_gpus_are_those_of_each_process"],
    "high_order_degradation (bool): enable two-order degradation synthesis": [
        f"{MODELS}::test_given_pairs_are_trained_on_as_they_are",
        "degradations/test_realesrgan.py::test_feed_data_is_reproduced"],
    "scale, gt_size": [f"{MODELS}::test_pictures_that_are_fed_have_the_documents_names"],
    "l1_gt_usm, percep_gt_usm, gan_gt_usm": [
        f"{STEPS}::test_a_loss_aims_at_the_sharpened_truth_if_told_to",
        f"{STEPS}::test_each_term_aims_at_its_own_truth",
        f"{STEPS}::test_the_discriminator_is_shown_the_truth_that_its_loss_aims_at"],
    "feed_data: gt, kernel1, kernel2, sinc_kernel, lq": [
        f"{MODELS}::test_kernels_that_are_given_take_the_place_of_drawn_ones",
        f"{MODELS}::test_pictures_that_are_fed_have_the_documents_names"],
    "optimize_parameters: generator, discriminator, EMA": [f"{UPSTREAM}::test_realesrgan_takes_upstreams_step"],
    "nondist_validation: without synthetic degradation": [
        f"{MODELS}::test_nondist_validation_measures_the_average_on_pairs_as_they_are"],
    "first and second degradation: blur, resize, noise, JPEG; optional blur, resize, noise, JPEG + sinc": [
        f"{HERE}::test_the_pipeline_is_the_documents_steps_with_either_end",
        "degradations/test_realesrgan.py::test_feed_data_is_reproduced",
        "degradations/test_second_order.py::test_each_order_has_options_of_its_own",
        f"{MODELS}::test_a_second_blur_that_is_not_drawn_is_not_made_by_a_given_kernel_either"],
    "random resize (up/down/keep), Gaussian or Poisson noise": [
        "degradations/test_operations.py::test_scales_follow_the_options",
        "degradations/test_operations.py::test_noise_draws_follow_the_options",
        "degradations/test_operations.py::test_resize_equals_upstream"],
    "blur kernels": ["degradations/test_kernels.py::test_families_equal_upstream"],
    "JPEG compression": ["degradations/test_jpeg.py::test_equal_to_pillow_at_every_quality"],
    "_dequeue_and_enqueue(): the training pair pool": [
        "trainer/pairs/test_pool.py::test_no_pair_is_lost_and_none_is_trained_on_twice",
        f"{MODELS}::test_a_pool_that_nobody_filled_fills_with_what_is_fed_first"],
    "RealESRNetModel: gt_usm sharpens GT directly": [f"{UPSTREAM}::test_realesrnet_takes_upstreams_step"],
    "the usage example, load_network": [f"{MODELS}::test_the_documents_example_runs_as_it_stands"],
    # opensr-srgan
    "a weighted sum of L1, perceptual, adversarial, SAM and TV": [
        f"{HERE}::test_the_generators_loss_is_the_weighted_sum_of_its_terms"],
    "the EMA's formula; the EMA is validated": [
        f"{RUNS}::test_the_average_begins_where_it_should_and_follows_its_decay",
        f"{HERE}::test_every_validation_is_of_the_average_and_leaves_pictures"],
    "the learning rate slowly rises from 0; linear or cosine; 0 steps turn it off": [
        "trainer/optim/test_lr_schedules.py::test_the_warm_up_rises_to_the_full_rate",
        f"{HERE}::test_a_warm_up_of_0_steps_is_none"],
    "pretraining: plain L1 alone, training/pretrain_phase, the discriminator sits idle": [
        f"{PHASES}::test_pretraining_lasts_exactly_its_steps",
        f"{STEPS}::test_the_discriminator_sits_idle_during_pretraining",
        f"{STEPS}::test_pretraining_minimises_what_it_is_told_to"],
    "once pretraining ends, the configured mix is used": [
        f"{HERE}::test_the_generators_loss_is_the_weighted_sum_of_its_terms"],
    "the adversarial weight rises from 0, and is logged": [
        f"{PHASES}::test_the_ramp_rises_from_nothing_to_all", f"{RUNS}::test_rates_phases_and_the_ramp"],
    "plateaus: patience, factor and metric, for G and D each": [
        f"{PLATEAU}::test_the_rate_falls_when_torchs_scheduler_lets_it",
        f"{RUNS}::test_rates_on_a_plateau_fall_by_the_validations_that_count"],
    "cooldown and min_lr": [f"{PLATEAU}::test_the_rate_falls_when_torchs_scheduler_lets_it"],
    "TTUR: the discriminator defaults to a slower learning rate": [
        f"{HERE}::test_the_discriminator_is_slower_by_default_whatever_else_is_set"],
    "Adam with betas (0.0, 0.99) and eps 1e-7": [
        f"{HERE}::test_the_guides_recipe", f"{OPENSR}::test_defaults_are_those_of_opensr_srgan"],
    "weight decay on convolutional and dense kernels alone": [
        f"{LEARNER}::test_decay_is_for_kernels_alone",
        f"{LEARNER}::test_what_is_no_kernel_is_not_decayed_whatever_its_dimensions"],
    "gradient_clip_val: global norm clipping": [
        f"{LEARNER}::test_the_gradient_is_clipped_and_its_norm_reported_before_that"],
    "Generator.use_icnr": [
        "trainer/networks/test_networks_generators.py::test_every_head_starts_under_icnr_unless_told_otherwise"],
    "optim_d_lr <= 0.5 * optim_g_lr; fixed_idx: [0, 1, 2]": [f"{HERE}::test_the_guides_recipe"],
    "VGG uses the bands of fixed_idx": [
        "trainer/losses/test_losses_perceptual.py::test_bands_are_chosen_and_never_guessed"],
    "D(y) and D(G(x)) are monitored, as probabilities": [
        f"{STEPS}::test_the_discriminator_sits_idle_during_pretraining",
        f"{CRITERIA}::test_probabilities_are_what_each_loss_taught",
        f"{CRITERIA}::test_the_best_discriminators_probability_is_the_share_of_real_pictures"],
    "example images are logged at every validation": [
        f"{HERE}::test_every_validation_is_of_the_average_and_leaves_pictures"],
}  # fmt: skip


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_has_its_tests(sentence: str) -> None:
    for name in SENTENCES[sentence]:
        file, _, test = name.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert test in functions, name


@pytest.mark.parametrize("gpus", [1, 4])
def test_the_pool_has_180_pairs_a_gpu_by_default(gpus: int) -> None:
    options = read_tree(TESTS / "trainer" / "foreign_options" / "realesrgan_options.yml")
    del options["queue_size"]
    ours, _ = translate({**options, "num_gpu": gpus}, gpus=gpus)
    assert validated(RunConfig, ours, "the translation").queue_size == 180 * gpus


def test_the_pipeline_is_the_documents_steps_with_either_end() -> None:
    """The steps in the document's order; half of the samples end in JPEG, half in the sinc filter."""
    degradation = SecondOrder(second_blur_prob=1.0, final_sinc_prob=1.0)
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    recipe = degradation.draw(Keys(3, torch.arange(8)), 64, 64, 4)
    got = degradation.apply(images, recipe)
    _, resize1, noise1, jpeg1 = degradation.first()
    _, resize2, noise2, jpeg2, _ = degradation.second()
    assert set(recipe.jpeg_last.tolist()) == {True, False}
    for number in range(8):
        one = recipe.select(number)
        out = blur([images[number]], one.blur1)
        out = resize1.apply(out, one.resize1)
        out = noise1.apply(out, one.noise1, one.keys, Purpose.NOISE_1_FIELD)
        out = jpeg1.apply(out, one.jpeg1)
        out = blur(out, one.blur2)
        out = resize2.apply(out, one.resize2)
        out = noise2.apply(out, one.noise2, one.keys, Purpose.NOISE_2_FIELD)
        if one.jpeg_last[0]:
            out = jpeg2.apply(blur(resize2.apply(out, one.resize3), one.sinc), one.jpeg2)
        else:
            out = blur(resize2.apply(jpeg2.apply(out, one.jpeg2), one.resize3), one.sinc)
        torch.testing.assert_close(got[number], quantise(out[0]), rtol=0, atol=1e-6)


def test_the_generators_loss_is_the_weighted_sum_of_its_terms() -> None:
    losses = LossesConfig(
        pixel=PixelLoss(weight=2.0), perceptual=PerceptualLoss(weight=3.0), sam=SpectralAngle(weight=5.0),
        tv=TotalVariation(weight=7.0),
    )  # fmt: skip
    objective = Objective(losses, lambda *_: {"perceptual": torch.tensor(0.25)}, AdversarialLoss(weight=11.0), True)
    result, truth = torch.rand(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    phase = Phase(pretrain=False, train_generator=True, train_discriminator=True, adversarial=0.5)
    terms = objective.generator(result, Targets(truth, truth, truth), phase, lambda shown: shown.mean((1, 2, 3)))
    assert {name: term.weight for name, term in terms.items()} == {
        "pixel": 2.0, "perceptual": 3.0, "sam": 5.0, "tv": 7.0, "adversarial": 5.5,
    }  # fmt: skip
    assert weighted_sum(terms).item() == pytest.approx(sum(t.weight * t.value.item() for t in terms.values()), rel=1e-6)
    assert "adversarial" not in objective.generator(result, Targets(truth, truth, truth), SOLO, None)
    pretraining = Phase(pretrain=True, train_generator=True, train_discriminator=False, adversarial=0.0)
    assert list(objective.generator(result, Targets(truth, truth, truth), pretraining, None)) == ["pixel"]


def test_the_discriminator_is_slower_by_default_whatever_else_is_set(tiny: Callable[..., RunConfig]) -> None:
    for setting in ("adversarial={}", "adversarial={optimizer: {eps: 1e-7}}"):
        config = tiny(setting, "optimizer={type: adam}", "batch.global_size=4")
        assert config.adversarial is not None
        assert config.adversarial.optimizer.learning_rate == 1e-4
        assert config.optimizer.learning_rate == 2e-4
        assert config.adversarial.optimizer.eps == (1e-7 if "eps" in setting else 1e-8)


@pytest.mark.parametrize("name", ["srgan_rs_10m", "srgan_rs_20m"])
def test_the_guides_recipe(name: str) -> None:
    config = load_config(RunConfig, ROOT / "configs" / f"{name}.yaml")
    assert config.adversarial is not None
    for optimizer in (config.optimizer, config.adversarial.optimizer):
        assert (optimizer.betas, optimizer.eps) == ((0.0, 0.99), 1e-7)
    assert config.adversarial.optimizer.learning_rate <= 0.5 * config.optimizer.learning_rate
    if name == "srgan_rs_10m":  # "10m defaults"
        assert isinstance(config.generator, ShuffleRRDBNetConfig)
        assert config.generator.use_icnr
        assert config.losses.perceptual is not None
        assert config.losses.perceptual.fixed_idx == (0, 1, 2)
        assert config.images.bands == 4


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_warm_up_of_0_steps_is_none(kind: Literal["linear", "cosine"]) -> None:
    schedule = Constant(lr_warmup_steps=0, lr_warmup_type=kind)
    assert [schedule.multiple(step, 4) for step in range(4)] == [1.0] * 4


@pytest.mark.usefixtures("fresh_accelerate")
def test_every_validation_is_of_the_average_and_leaves_pictures(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(
        "validation.validation_steps=2", "telemetry.report_to=none", "queue_size=0", "validation.draws=1",
        "ema={decay: 0.9}", "optimizer.learning_rate=1e-2",
    )  # fmt: skip
    run = assemble(config, make_accelerator(config))
    fit(run)
    sheets = sorted(file.name for file in run.folder.samples.glob("*.png"))
    assert sheets == [f"step-{step:08d}.png" for step in (2, 4, 6)]
    last = json.loads(run.folder.metrics.read_text().splitlines()[-1])
    assert run.validator is not None
    average, live = (run.validator(net, 6).metrics for net in (run.state.ema.ema_model, run.model.generator.net))
    assert last["validation/psnr"] == average["validation/psnr"] != live["validation/psnr"]
