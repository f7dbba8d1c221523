"""The noise of a stochastic generator, keyed as every other draw: the same on any ranks and after a restart."""

from torch import Tensor, nn

from degradations.keyed_random import Keys, normals
from trainer.networks.srresnet import StochasticSRResNet

PURPOSE = 96  # of the noise among a sample's keyed draws; `trainer.images.positions` counts from 64


def standard_noise(keys: Keys, noise_dim: int) -> Tensor:
    """The noise of each sample, standard normal float32 [B, noise_dim] on the keys' device.

    The position is that of a place in a step's global batch, step * B + place, even if a pool has mixed the pairs.
    """
    return normals(keys, PURPOSE, noise_dim)


def noise_inputs(generator: nn.Module, keys: Keys) -> tuple[Tensor, ...]:
    """Inputs of `generator`, a bare module, beside the pictures: the noise of `keys` if it is stochastic, else none.

    Drawn where the keys are: on the CPU the numbers are the same for any device that they go to.
    """
    if not isinstance(generator, StochasticSRResNet):
        return ()
    return (standard_noise(keys, generator.noise_dim).to(generator.device, non_blocking=True),)
