"""The generators: one architecture per file, beside the dataclass that configures it; the union is the registry."""

from trainer.networks.rrdb import RRDBNet, RRDBNetConfig
from trainer.networks.srvgg import SRVGGNetCompact, SRVGGNetCompactConfig

GeneratorConfig = RRDBNetConfig | SRVGGNetCompactConfig
Generator = RRDBNet | SRVGGNetCompact

__all__ = ["Generator", "GeneratorConfig", "RRDBNet", "RRDBNetConfig", "SRVGGNetCompact", "SRVGGNetCompactConfig"]
