"""The metrics of a run's validation, with the networks that some of them need."""

from accelerate import Accelerator

from trainer.building.learners import network_facts
from trainer.config.schema import RunConfig
from trainer.distributed.comparison import same_everywhere
from trainer.distributed.ranks import START_GRACE, once_per_machine
from trainer.validation.metrics import Metrics, MultibandMetrics, PhotoMetrics

KEY = "validation.metrics"


def fetch_metrics(config: RunConfig) -> None:
    """Find the weights of the metrics, downloading them if necessary; Mistake where they are absent."""
    for number, metric in enumerate(config.validation.chosen if config.validation else ()):
        metric.fetch(f"{KEY}.{number}")


def make_metrics(config: RunConfig, accelerator: Accelerator) -> Metrics:
    """The metrics of the configured validation, on the device; of BasicSR's where there is none: PSNR and SSIM of luma.

    Weights are fetched once on each machine and read by all. Collective.
    """
    settings, scale = config.validation, config.scale
    if settings is None:
        bands = config.images.bands
        return Metrics(MultibandMetrics(scale, scale, bands) if config.images.radiometry else PhotoMetrics(scale, "y"))
    if any(metric.FETCHES for metric in settings.chosen):
        once_per_machine(accelerator, lambda: fetch_metrics(config), f"fetching the weights of {KEY}")
    built = [metric.build(f"{KEY}.{number}") for number, metric in enumerate(settings.chosen)]
    others = tuple(metric for metric in built if metric is not None)
    for metric in others:
        if metric.network is not None:
            metric.network.to(accelerator.device)
            facts = network_facts(f"{KEY}: {metric.names[0]}", metric.network, weights=True)
            same_everywhere(accelerator, facts, "every machine needs the same weights.", grace=START_GRACE)
    return settings.metrics_for(scale, others)
