"""Warnings from made-up reports: their conditions, frequency and values."""

import pytest

from trainer.telemetry.health import Figures, Health, collapsing, drifting, saturating, winning


def reported(reports: list[Figures], health: Health | None = None) -> list[tuple[int, str]]:
    """The warnings of a sequence of reports, each with the number of the report, from 1, after which it came."""
    health, found = health or Health(), []
    for number, figures in enumerate(reports, 1):
        health, sentences = health.observed(figures)
        found += [(number, sentence) for sentence in sentences]
    return found


def game(real: float, fake: float) -> Figures:
    return {"discriminator/D(y)_prob": real, "discriminator/D(G(x))_prob": fake}


def pixel(loss: float | None) -> Figures:
    return {"training/loss_pixel": loss}


def saturated(share: float, truth: float) -> Figures:
    return {"training/saturated_share": share, "training/saturated_share_gt": truth}


def colours(drift: float, truth: float) -> Figures:
    return {"validation/colour_drift": drift, "validation/colour_drift_gt": truth}


def test_colours_are_judged_once_warm_up_and_pretraining_are_over() -> None:
    reports = [{"step": float(step), **colours(0.2, 0.01)} for step in range(100, 1100, 100)]
    assert [number for number, _ in reported(reports)] == [3]
    assert [number for number, _ in reported(reports, Health(settled=500))] == [8]
    assert reported(reports, Health(settled=1000)) == []


def test_colours_of_a_network_that_is_below_bicubic_are_not_judged() -> None:
    """It has learnt too little yet: that the weights of losses were wrong, or the rate too high, does not follow."""
    below, above = ({"validation/psnr": psnr, "validation/psnr_bicubic": 26.0} for psnr in (20.0, 27.0))
    drift = {"step": 100.0, **colours(0.2, 0.01)}
    assert reported([{**drift, **below}] * 9) == []
    assert [number for number, _ in reported([{**drift, **below}, *[{**drift, **above}] * 9])] == [4]
    fallen = [{"step": 1.0, **colours(0.0, 0.0), **above}, *[{**drift, **below}] * 9]
    assert [number for number, _ in reported(fallen)] == [4]
    game = {**drift, **below, "validation/psnr": 24.0, "training/adv_loss_weight": 0.1}  # PSNR is traded there
    assert [number for number, _ in reported([game] * 9)] == [3]


def test_a_winning_discriminator_is_told_once_with_its_figures() -> None:
    (number, sentence), *more = reported([game(0.6, 0.4)] * 3 + [game(0.98, 0.01)] * 50)
    assert number == 3 + 5
    assert sentence.startswith(
        "the discriminator is winning: D(y) 0.98, D(G(x)) 0.01 (in 5 reports in a row). What usually helps: a lower "
        "adversarial.optimizer.learning_rate"
    )
    assert "adversarial.adaptive_d" in sentence
    assert not more


def test_a_discriminator_that_says_the_same_of_both_is_told_once() -> None:
    (number, sentence), *more = reported([game(0.523, 0.521)] * 90)
    assert number == 30
    assert sentence.startswith(
        "the discriminator is of no use: D(y) 0.52, D(G(x)) 0.52 (in 30 reports in a row). What usually helps: a "
        "higher adversarial.optimizer.learning_rate"
    )
    assert not more
    assert len(reported([game(0.47, 0.46)] * 90, Health(real_label=0.9))) == 1  # half of what it is taught


@pytest.mark.parametrize(("real", "fake"), [(0.56, 0.5), (0.9, 0.9), (0.2, 0.2), (0.5, 0.4)])
def test_a_discriminator_that_tells_something_is_no_such_case(real: float, fake: float) -> None:
    assert reported([game(real, fake)] * 90) == []


def test_it_is_told_again_only_after_it_was_clearly_over() -> None:
    bad, less, over = game(0.98, 0.01), game(0.9, 0.1), game(0.8, 0.2)  # severities 1.08, 0.89 and 0.67
    assert [number for number, _ in reported([bad] * 5 + [less] * 5 + [bad] * 9)] == [5]
    assert [number for number, _ in reported([bad] * 5 + [over] + [bad] * 9)] == [5, 11]


def test_one_good_report_begins_the_count_anew() -> None:
    assert reported(([game(0.98, 0.01)] * 4 + [game(0.9, 0.1)]) * 9) == []


def test_smoothed_labels_are_won_at_their_own_level() -> None:
    reports = [game(0.88, 0.02)] * 9
    assert reported(reports, Health(real_label=1.0)) == []
    assert len(reported(reports, Health(real_label=0.9))) == 1


def test_what_is_no_probability_is_not_judged() -> None:
    assert reported([game(1.0, 0.0)] * 9, Health(real_label=None)) == []


def test_a_pixel_loss_far_above_its_best_is_a_collapse() -> None:
    falling = [pixel(0.1 - 0.01 * number) for number in range(6)]  # 0.10 ... 0.05; medians of five: 0.08 and 0.07
    (number, sentence), *more = reported(falling + [pixel(0.24)] * 20)
    # The median of five is 0.24 from the third on, and so three times in a row at the fifth.
    assert number == 6 + 5
    assert sentence.startswith("the generator is collapsing: its pixel loss is 0.24, 3.4 times the lowest so far, 0.07")
    assert not more


def test_a_few_hard_batches_are_no_collapse() -> None:
    assert reported(([pixel(0.05)] * 3 + [pixel(0.5)] * 2) * 9) == []


def test_figures_that_are_missing_or_not_finite_are_passed_over() -> None:
    assert reported([{}, pixel(None), game(None, None), {"validation/psnr": 30.0}] * 9) == []  # type: ignore[arg-type]


def test_saturation_is_measured_against_the_ground_truth() -> None:
    assert reported([saturated(0.6, 0.5)] * 30) == []  # drawings on white
    ((number, sentence),) = reported([saturated(0.31, 0.05)] * 30)
    assert number == 10
    assert "31 % of their values lie at or beyond black or white, 5 % of the ground truth's" in sentence


def test_drift_is_judged_by_validations_whatever_the_reports_between() -> None:
    between: list[Figures] = [pixel(0.05)] * 4
    reports = [*between, colours(0.1, 0.02)] * 4
    ((number, sentence),) = reported(reports)
    assert number == 15  # the third validation
    assert "results are off their inputs by 25.5/255 on average, the ground truth by 5.1/255" in sentence
    assert reported([*between, colours(0.1, 0.08)] * 9) == []


def test_episodes_are_apart() -> None:
    both = {**game(1.0, 0.0), **saturated(0.9, 0.0)}
    assert [number for number, _ in reported([both] * 20)] == [5, 10]


def test_history_can_be_taken_up_in_the_middle() -> None:
    """As in a resumed run: warnings already given are restored from its records, without repeating them."""
    reports = [game(0.98, 0.01)] * 12 + [game(0.5, 0.5)] + [game(0.98, 0.01)] * 12
    whole = reported(reports)
    for cut in range(len(reports)):
        health = Health()
        for figures in reports[:cut]:
            health, _ = health.observed(figures)
        assert [(cut + n, words) for n, words in reported(reports[cut:], health)] == [w for w in whole if w[0] > cut]


@pytest.mark.parametrize(
    ("symptom", "severity"),
    [
        (winning(0.9, 0.0, 1.0), 1.0),
        (winning(0.5, 0.5, 1.0), 0.0),
        (collapsing(0.3, 0.1), 1.0),
        (collapsing(0.0, 0.0), 1 / 3),
        (saturating(0.3, 0.1), 1.0),
        (drifting(0.05, 0.02), 1.0),
    ],
)
def test_where_each_becomes_bad(symptom: object, severity: float) -> None:
    assert symptom.severity == pytest.approx(severity)  # type: ignore[attr-defined]
