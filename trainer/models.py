"""Real-ESRGAN's models, by which the loop trains too: `feed_data`, `optimize_parameters`, `nondist_validation`.

The program's own loop trains by them. See `realesrgan/models` of Real-ESRGAN (Wang et al. 2021) for the originals.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from degradations.keyed_random import Keys
from degradations.operations.sharpen import usm_sharpen
from degradations.second_order import SecondOrder
from trainer.base_model import BaseModel
from trainer.building.accelerator import check_accelerator, make_accelerator
from trainer.building.pairs import picture_type
from trainer.checkpoints.names import step_name
from trainer.config.python_options import GAN_MODEL, NET_MODEL, config_of, with_given_networks
from trainer.config.schema import folder_of
from trainer.distributed.batch import BatchPlan
from trainer.distributed.comparison import checksum, same_everywhere
from trainer.images.crops import ImageBatch
from trainer.images.levels import unit
from trainer.mistakes import Mistake
from trainer.networks.given import module_of
from trainer.networks.layers.noise import noise_inputs
from trainer.networks.loading.initial import InitConfig, copy_weights, load_weights
from trainer.pairs.fed import FedData, FedFormat
from trainer.pairs.mixing import mixed
from trainer.pairs.stream import Stream
from trainer.steps import Report, train_step
from trainer.validation.batches import validate_batches


class RealESRNetModel(BaseModel):
    """The generator alone, trained without a discriminator.

    Parameters
    ----------
    opt : an option tree of Real-ESRGAN, a `RunConfig` or its tree, or the path of a YAML file of either
    accelerator : the processes; Accelerate's of this process by default
    init, stream, net_g, net_d, batch : see `BaseModel`

    Raises Mistake, in a sentence, for whatever is wrong with the options.
    """

    model_type = NET_MODEL

    def __init__(
        self,
        opt: Any,
        *,
        accelerator: Accelerator | None = None,
        init: InitConfig | None = None,
        stream: Stream | None = None,
        net_g: nn.Module | None = None,
        net_d: nn.Module | None = None,
        batch: BatchPlan | None = None,
    ) -> None:
        config, notes = config_of(opt, self.model_type)
        config = with_given_networks(config, net_g, net_d)
        if accelerator is None:
            accelerator = make_accelerator(config)
        check_accelerator(accelerator, config)
        super().__init__(config, accelerator, init=init, stream=stream, net_g=net_g, net_d=net_d, batch=batch)
        self.notes = notes + self.notes
        self.form = FedFormat(config.images.bands, picture_type(config), config.scale, config.gt_size)
        """The form of pictures that are fed."""
        self._given: FedData | None = None

    def feed_data(self, data: ImageBatch | Mapping[str, Any]) -> None:
        """Make the training pairs of one micro-batch: sharpened, degraded, exchanged with the pool, and mixed.

        `data` has `gt`: float [b, C, H, W] in [0, 1] (of which 8 bits count) or uint8, at least `gt_size` a side; and,
        if they are not to be drawn, `kernel1`, `kernel2` and `sinc_kernel`, float [b, K, K]. With `lq`, [b, C, H/scale,
        W/scale], the pair is trained on as it is; `lq` alone can be validated. Call it as often as a step has
        micro-batches, once by default. Collective where there is a pool and several processes.

        Raises:
            Mistake: `data` is none of that; nothing was fed.
        """
        if not isinstance(data, ImageBatch):
            given = self.form.checked(data, trains=True)
            self._check_kernels(given)
            self._given = given
            if given.gt is None:
                return
            data, kernels = self._placed(given), given.kernels
        else:
            self._given, kernels = None, None
        pairs = self.maker.make(data, self.state.step, len(self.fed), kernels)
        if self.config.mixing:
            with self.stopwatch.part("mixing"):
                pairs = mixed(pairs, self.config.mixing, self.keys(len(self.fed), len(pairs.lq)))
        self.last = pairs
        self.fed.append(self.last)

    def fill_pool(self, batches: Iterable[ImageBatch | Mapping[str, Any]]) -> None:
        """Fill this rank's shard of the pool with new pairs, as many as it takes, before the first step."""
        if self.pool is None:
            return
        start, count = self.state.stream.position, len(self.pool.rows)
        made, source = 0, iter(batches)
        while made < count:
            batch = next(source, None)
            if batch is None:
                raise Mistake(f"queue_size: the pool takes {count} pairs, and there were only {made} to fill it with.")
            kernels = None
            if not isinstance(batch, ImageBatch):
                given = self.form.checked(batch, trains=True)
                self._check_kernels(given)
                kernels, batch = given.kernels, given.batch(start + self.pool.first + made)
            rows = self.pool.shape.rows(self.maker.fresh(batch, kernels))[: count - made]
            self.pool.put(self.pool.first + made, rows)
            made += len(rows)
        self.pool.missing = 0
        self.state.stream.position = start + self.pool.layout.size

    def optimize_parameters(self, current_iter: int, *, measure_update: bool = False) -> Report:
        """One optimizer step, number `current_iter` from 1, on what was fed: generator, discriminator, then average.

        Returns losses, norms and the discriminator's opinion, scalars on the device, by their names in metrics.jsonl;
        with `measure_update` also how far the step moved the weights. The host does not wait. Collective.

        Raises:
            Mistake: `current_iter` is no step's number, or not all micro-batches of a step were fed.
        """
        if type(current_iter) is not int or current_iter < 1:
            raise Mistake(f"current_iter: got {current_iter!r}; must be a whole number from 1 on.")
        if len(self.fed) != self.batch.accumulation:
            raise Mistake(
                f"optimize_parameters: feed_data was given {len(self.fed)} micro-batches with `gt`; a step has "
                f"{self.batch.accumulation} ({self.batch})."
            )
        pairs, self.fed = self.fed, []
        step = self.state.step = current_iter - 1
        self.set_rates(step)
        report = train_step(self, pairs, measure_update)
        with self.stopwatch.part("EMA"):
            self.state.ema.update()
        if self.state.plateau_means:
            self.state.plateau_means.add(report, self.phase(step).objective)
        self.state.step = current_iter
        self.state.stream.position += self.batch.global_size  # places of shorter batches stay empty
        return report

    def nondist_validation(
        self,
        dataloader: Iterable[Mapping[str, Any]],
        current_iter: int,
        tb_logger: Any = None,
        save_img: bool | str | Path = False,
    ) -> dict[str, float]:
        """Measure the average on pairs as they are, without degradation: the mean metrics, by name.

        `dataloader` gives `lq`, and `gt` to measure by, as `feed_data` takes them, of any size; `lq_path` names saved
        results. `tb_logger` is a `SummaryWriter`. `save_img` is the folder to save results in as PNG, or True for
        `samples/step-...` of the run folder. Every process validates all it is given. Plateau schedules step by it.

        Raises:
            Mistake: something given is not of that form, nothing came, or a result cannot be saved.
        """
        if type(current_iter) is not int or current_iter < 0:
            raise Mistake(f"current_iter: got {current_iter!r}; must be a whole number from 0 on.")
        if not isinstance(dataloader, Iterable):
            raise Mistake(f"dataloader: got {type(dataloader).__name__}; must give batches, one after the other.")
        if not isinstance(save_img, bool | str | Path):
            raise Mistake(f"save_img: got {type(save_img).__name__}; must be true, false, or the path of a folder.")
        folder = folder_of(self.config).samples / step_name(current_iter) if save_img is True else save_img
        fed = (self.form.checked(data, trains=False) for data in dataloader)
        metrics = validate_batches(fed, self._upscaled, self.metrics, Path(folder) if folder else None)
        if metrics:
            self.step_plateaus(metrics)
        if tb_logger is not None:
            for name, value in metrics.items():
                tb_logger.add_scalar(name, value, current_iter)
        return metrics

    def load_network(self, origin: nn.Module | str | Path, name: str = "net_g", *, partial: bool = False) -> list[str]:
        """Load weights of a module, a run, a file or a hub id into `net_g`, which the average follows, or `net_d`.

        Returns sentences on what was taken. Collective. Raises Mistake if they do not fit, or there is no such network.
        """
        learners = {"net_g": self.generator, "net_d": self.discriminator}
        if (learner := learners.get(name) if isinstance(name, str) else None) is None:
            there = ", ".join(key for key, one in learners.items() if one)
            raise Mistake(f"load_network: got {name!r}; {type(self).__name__} has {there}.")
        if not isinstance(origin, nn.Module | str | Path):
            raise Mistake(f"load_network: got {type(origin).__name__}; must be a module, a path, or a name on the hub.")
        if isinstance(origin, nn.Module):
            said = copy_weights(origin, learner.net, f"load_network({name})")
        else:
            role: Any = "generator" if name == "net_g" else "discriminator"
            said = load_weights(learner.net, str(origin), f"load_network({name})", role, partial=partial)
        wanted = "every process must load the same weights."
        same_everywhere(self.accelerator, {f"load_network({name})": checksum(learner.net.parameters()).item()}, wanted)
        learner.restart_average()
        if name == "net_g":
            self.state.ema.copy_params_from_model_to_ema()
        return said

    @torch.no_grad()
    def test(self) -> None:
        """Let the average upscale the `lq` that was fed; the result is `output`, float [b, C, H, W]."""
        if self.lq is None:
            raise Mistake("test: feed_data was given no pictures yet.")
        self.output = self._upscaled(self.lq)

    @property
    def net_g(self) -> nn.Module:
        """The generator that learns."""
        return module_of(self.generator.net)

    @property
    def net_d(self) -> nn.Module | None:
        """The discriminator."""
        return module_of(self.discriminator.net) if self.discriminator else None

    @property
    def net_g_ema(self) -> nn.Module:
        """The generator's moving average, which is validated and used."""
        average: nn.Module = self.state.ema.ema_model
        return average

    @property
    def lq(self) -> Tensor | None:
        """The low-quality pictures that were fed, or made, last: float [b, C, h, w] in [0, 1]."""
        return self._shown("lq")

    @property
    def gt(self) -> Tensor | None:
        """Their ground truth, float [b, C, H, W] in [0, 1]; from the pool the pair that gave place."""
        return self._shown("gt")

    @property
    def gt_usm(self) -> Tensor | None:
        """The same, sharpened by Real-ESRGAN's unsharp mask."""
        gt = self.gt
        return None if gt is None else usm_sharpen(gt)

    def _shown(self, which: str) -> Tensor | None:
        if self._given is not None and self._given.gt is None:
            return unit(self._given.lq) if which == "lq" and self._given.lq is not None else None
        return None if self.last is None else unit(getattr(self.last, which))

    def _placed(self, given: FedData) -> ImageBatch:
        """A fed micro-batch at its positions: this rank's part of the coming step's."""
        longer = self.pool is None and len(given) > self.batch.per_device
        if self.state.step == 0 and not self.fed:
            wanted = "the first batches of all processes must be of one length: their positions follow from it."
            same_everywhere(self.accelerator, {"feed_data: pictures": len(given)}, wanted)
        if (self.state.step == 0 or longer) and not self.fed and self.batch.accumulation == 1:
            self._follow(len(given))
        if self.pool is not None and len(given) != self.batch.per_device:
            raise Mistake(
                f"feed_data: got {len(given)} pictures; with a pool every batch has {self.batch.per_device}: give the "
                "DataLoader drop_last=True, or set queue_size: 0."
            )
        if len(given) > self.batch.per_device:
            raise Mistake(f"feed_data: got {len(given)} pictures; a micro-batch has {self.batch.per_device} at most.")
        rank, before = self.accelerator.process_index, sum(len(pair.positions) for pair in self.fed)
        return given.batch(self.state.stream.position + rank * self.batch.per_process + before)

    def _follow(self, size: int) -> None:
        """Take the length of the first batch that is fed for that of all, where a step has one micro-batch."""
        processes = self.batch.processes
        self.batch = BatchPlan(size * processes, size, processes, accumulation=1)
        if self.pool is not None:
            self.pool.layout = replace(self.pool.layout, per_process=size, per_device=size)

    def _check_kernels(self, given: FedData) -> None:
        if given.kernels and not isinstance(self.config.degradation, SecondOrder):
            raise Mistake(
                f"data[{next(iter(given.kernels))!r}]: degradation.type {self.config.degradation.type} draws its own "
                "blur; kernels can be given to second_order."
            )

    @torch.no_grad()
    def _upscaled(self, lq: Tensor) -> Tensor:
        """The average's result for float [b, C, h, w] in [0, 1], float [b, C, H, W], not clamped."""
        multiple = self.config.generator.input_multiple(self.config.scale)
        if lq.shape[-2] % multiple or lq.shape[-1] % multiple:
            raise Mistake(
                f"data['lq']: got {lq.shape[-2]}x{lq.shape[-1]}; the sides must be multiples of {multiple}, as the "
                "generator takes them."
            )
        lq = lq.to(self.accelerator.device)
        noise = noise_inputs(self.net_g_ema, Keys(self.config.seed, torch.arange(len(lq))))
        with self.accelerator.autocast():
            result: Tensor = self.net_g_ema(lq, *noise).float()
        return result


class RealESRGANModel(RealESRNetModel):
    """Generator and U-Net discriminator: pixel, perceptual and adversarial losses. Parameters as `RealESRNetModel`."""

    model_type = GAN_MODEL
