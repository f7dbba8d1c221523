"""Health of a run: warnings in plain words, from the metrics of its reports.

Pure functions: nothing here touches the training. A sign must be bad for several reports before it is told, and must be
clearly gone before it is told again. A resumed run reads its own records first, so it knows what was told already.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median

Figures = Mapping[str, float | None]
"""A report: figures by their names in metrics.jsonl; None where one was not finite."""
GAME_COST = 3.0
"""PSNR in dB that an adversarial loss may trade for detail: Real-ESRGAN ends a little below bicubic."""


def below_bicubic(figures: Figures) -> float:
    """The PSNR, in dB, that a validation lacks to bicubic's; with an adversarial loss 0 up to `GAME_COST`."""
    psnr, plain = figures.get("validation/psnr"), figures.get("validation/psnr_bicubic")
    if psnr is None or plain is None:
        return 0.0
    gap = plain - psnr
    return gap if gap > (GAME_COST if figures.get("training/adv_loss_weight") else 0.0) else 0.0


RELIEF = 0.8  # of what is bad: less ends an episode
WINDOW = 5  # reports over whose median the pixel loss is judged, for one batch may be hard


@dataclass(frozen=True, slots=True)
class Symptom:
    """The severity of one problem, by one report."""

    name: str
    severity: float
    """From 1 on it is bad."""
    patience: int
    """Reports in a row, among those that show it, after which it is told."""
    finding: str
    """The metrics in words."""
    remedy: str
    """The usual remedies, in words."""


@dataclass(frozen=True, slots=True)
class Streak:
    """Reports in a row with a symptom."""

    reports: int = 0
    reported: bool = False

    def after(self, symptom: Symptom) -> "Streak":
        """The streak updated with one report."""
        if symptom.severity >= 1:
            return Streak(self.reports + 1, self.reported or self.reports + 1 >= symptom.patience)
        return replace(self, reports=0) if symptom.severity >= RELIEF else Streak()


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the monitor after the reports so far.

    Parameters
    ----------
    real_label : what the discriminator is taught to say of real pictures; None where what it says is no probability
    settled : the step after which colours are judged: in a warm-up or a pretraining they are not there yet, nor in a
        run whose results were never as good as bicubic's
    """

    real_label: float | None = 1.0
    settled: int = 0
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    reached: bool = False
    """A validation was not below bicubic."""
    losses: tuple[float, ...] = ()
    """The last pixel losses."""
    lowest: float = math.inf
    """The lowest of their medians."""

    def observed(self, figures: Figures) -> tuple["Health", list[str]]:
        """The state after one more report, and the warnings that are due now."""
        after = self._with_loss(figures.get("training/loss_pixel"))
        if figures.get("validation/colour_drift") is not None and not below_bicubic(figures):
            after = replace(after, reached=True)
        streaks, sentences = dict(self.streaks), []
        for symptom in after.symptoms(figures):
            before = streaks.get(symptom.name, Streak())
            streaks[symptom.name] = now = before.after(symptom)
            if now.reported and not before.reported:
                sentences.append(
                    f"{symptom.finding} (in {now.reports} reports in a row). What usually helps: {symptom.remedy}."
                )
        return replace(after, streaks=streaks), sentences

    def symptoms(self, figures: Figures) -> Iterator[Symptom]:
        """The symptoms that this report shows."""
        real, fake = figures.get("discriminator/D(y)_prob"), figures.get("discriminator/D(G(x))_prob")
        if self.real_label is not None and real is not None and fake is not None:
            yield winning(real, fake, self.real_label)
            yield undecided(real, fake, self.real_label)
        if len(self.losses) == WINDOW:
            yield collapsing(median(self.losses), self.lowest)
        share, truth = figures.get("training/saturated_share"), figures.get("training/saturated_share_gt")
        if share is not None and truth is not None:
            yield saturating(share, truth)
        drift, truth = figures.get("validation/colour_drift"), figures.get("validation/colour_drift_gt")
        settled = self.reached and (figures.get("step") or math.inf) > self.settled
        if settled and drift is not None and truth is not None:
            yield drifting(drift, truth)

    def _with_loss(self, loss: float | None) -> "Health":
        if loss is None:
            return self
        losses = (*self.losses, loss)[-WINDOW:]
        full = len(losses) == WINDOW
        return replace(self, losses=losses, lowest=min(self.lowest, median(losses)) if full else self.lowest)


def winning(real: float, fake: float, label: float) -> Symptom:
    """The discriminator tells the two apart nearly always; `label` is what it is taught to say of real pictures."""
    return Symptom(
        "discriminator",
        (real - fake) / (0.9 * label),
        5,
        f"the discriminator is winning: D(y) {real:.2f}, D(G(x)) {fake:.2f}",
        "a lower adversarial.optimizer.learning_rate (half of the generator's), adversarial.loss.label_smoothing=0.1, "
        "adversarial.r1, adversarial.adaptive_d, or a longer pretraining of the generator",
    )


def undecided(real: float, fake: float, label: float) -> Symptom:
    """The discriminator says the same of both, half of what it is taught to say of real pictures: it learns nothing."""
    apart = max(abs(real - fake), abs(real + fake - label) / 4)
    return Symptom(
        "undecided",
        (0.1 - apart) / 0.08,
        30,
        f"the discriminator is of no use: D(y) {real:.2f}, D(G(x)) {fake:.2f}",
        "a higher adversarial.optimizer.learning_rate, a smaller adversarial.r1.gamma, a warm-up that ends sooner, or "
        "another adversarial.discriminator",
    )


def collapsing(loss: float, lowest: float) -> Symptom:
    """The results have left the ground truth far behind: `loss` against the lowest that there was."""
    ratio = loss / lowest if lowest else 1.0
    return Symptom(
        "generator",
        ratio / 3,
        3,
        f"the generator is collapsing: its pixel loss is {loss:.4g}, {ratio:.1f} times the lowest so far, {lowest:.4g}",
        "to go back to an earlier checkpoint with a lower optimizer.learning_rate, optimizer.max_grad_norm=1.0 or, in "
        "a game, a lower adversarial.loss.weight",
    )


def saturating(share: float, truth: float) -> Symptom:
    """More of the results is black or white than of the ground truth; shares of pixels and bands in [0, 1]."""
    return Symptom(
        "saturation",
        (share - truth) / 0.2,
        10,
        f"the results saturate: {100 * share:.0f} % of their values lie at or beyond black or white, "
        f"{100 * truth:.0f} % of the ground truth's",
        "a lower optimizer.learning_rate, optimizer.max_grad_norm=1.0, a larger losses.pixel.weight or, in a game, a "
        "lower adversarial.loss.weight",
    )


def drifting(drift: float, truth: float) -> Symptom:
    """Results have another colour than their inputs, more than the ground truth has; in shares of the range."""
    return Symptom(
        "colours",
        (drift - truth) / 0.03,
        3,
        f"the colours drift: results are off their inputs by {255 * drift:.1f}/255 on average, the ground truth by "
        f"{255 * truth:.1f}/255",
        "a larger losses.pixel.weight, a lower optimizer.learning_rate, an earlier checkpoint or, in a game, a lower "
        "adversarial.loss.weight",
    )
