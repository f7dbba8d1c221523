"""The networks: one architecture per file, beside the dataclass that configures it; the unions are the registry."""

from trainer.networks.given import GivenDiscriminatorConfig, GivenGeneratorConfig, GivenNetwork
from trainer.networks.imported import ImportedDiscriminatorConfig, ImportedGeneratorConfig, ImportedNetwork
from trainer.networks.patch_discriminator import PatchDiscriminator, PatchDiscriminatorConfig
from trainer.networks.rrdb import RRDBNet, RRDBNetConfig
from trainer.networks.shuffle_rrdb import ShuffleRRDBNet, ShuffleRRDBNetConfig
from trainer.networks.srgan_discriminator import SRGANDiscriminator, SRGANDiscriminatorConfig
from trainer.networks.srresnet import SRResNet, SRResNetConfig, StochasticSRResNet, StochasticSRResNetConfig
from trainer.networks.srvgg import SRVGGNetCompact, SRVGGNetCompactConfig
from trainer.networks.unet_discriminator import UNetDiscriminatorSN, UNetDiscriminatorSNConfig
from trainer.networks.vgg_discriminator import VGGStyleDiscriminator, VGGStyleDiscriminatorConfig
from trainer.networks.zoo.generator import SpandrelGeneratorConfig, SpandrelNetwork

GeneratorConfig = (
    RRDBNetConfig
    | SRVGGNetCompactConfig
    | SRResNetConfig
    | ShuffleRRDBNetConfig
    | StochasticSRResNetConfig
    | SpandrelGeneratorConfig
    | ImportedGeneratorConfig
    | GivenGeneratorConfig
)
Generator = (
    RRDBNet
    | SRVGGNetCompact
    | SRResNet
    | ShuffleRRDBNet
    | StochasticSRResNet
    | SpandrelNetwork
    | ImportedNetwork
    | GivenNetwork
)

DiscriminatorConfig = (
    UNetDiscriminatorSNConfig
    | PatchDiscriminatorConfig
    | SRGANDiscriminatorConfig
    | VGGStyleDiscriminatorConfig
    | ImportedDiscriminatorConfig
    | GivenDiscriminatorConfig
)
Discriminator = (
    UNetDiscriminatorSN
    | PatchDiscriminator
    | SRGANDiscriminator
    | VGGStyleDiscriminator
    | ImportedNetwork
    | GivenNetwork
)

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "GivenDiscriminatorConfig",
    "GivenGeneratorConfig",
    "GivenNetwork",
    "ImportedDiscriminatorConfig",
    "ImportedGeneratorConfig",
    "ImportedNetwork",
    "PatchDiscriminator",
    "PatchDiscriminatorConfig",
    "RRDBNet",
    "RRDBNetConfig",
    "SRGANDiscriminator",
    "SRGANDiscriminatorConfig",
    "SRResNet",
    "SRResNetConfig",
    "SRVGGNetCompact",
    "SRVGGNetCompactConfig",
    "ShuffleRRDBNet",
    "ShuffleRRDBNetConfig",
    "SpandrelGeneratorConfig",
    "SpandrelNetwork",
    "StochasticSRResNet",
    "StochasticSRResNetConfig",
    "UNetDiscriminatorSN",
    "UNetDiscriminatorSNConfig",
    "VGGStyleDiscriminator",
    "VGGStyleDiscriminatorConfig",
]
