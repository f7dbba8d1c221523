"""Steps of an experiment's model at rates that a test has set, fed as the loop feeds them."""

from trainer.experiment import Experiment
from trainer.pairs.synthesis import PairBatch
from trainer.steps import Report, train_step


class Driver:
    """Takes steps from where the experiment stands."""

    def __init__(self, x: Experiment) -> None:
        self.x, self.feed = x, x.open_feed()

    def pairs(self) -> list[PairBatch]:
        """The micro-batches of the coming step."""
        model = self.x.model
        for pictures in self.feed.take_step():
            model.feed_data(pictures)
        pairs, model.fed = model.fed, []
        return pairs

    def step(self, pairs: list[PairBatch] | None = None) -> Report:
        """One step of both networks and the average; what it reports."""
        due = self.x.intervals.due(self.x.state.step + 1)
        pairs = self.pairs() if pairs is None else pairs
        report = train_step(self.x.model, pairs, measure_update=due.report)
        self.advance()
        return report

    def advance(self) -> None:
        """Count a step that was taken."""
        state = self.x.state
        state.ema.update()
        state.step += 1
        state.stream.position += self.x.model.batch.global_size
