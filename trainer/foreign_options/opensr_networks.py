"""Translation of opensr-srgan's networks."""

from typing import Any

from trainer.foreign_options.tree import Options, Tree
from trainer.mistakes import Mistake

GENERATORS = {
    **dict.fromkeys(("srresnet", "sr_resnet"), "SRResNet"),
    **dict.fromkeys(("esrgan", "rrdbnet", "rrdb_net"), "ShuffleRRDBNet"),
    **dict.fromkeys(("stochastic_gan", "stochastic", "stochasticgan"), "StochasticSRResNet"),
    **dict.fromkeys(("cgan", "conditional_cgan", "conditional_gan"), "StochasticSRResNet"),
}
BLOCKS = ("standard", "res", "rcab", "rrdb", "lka")
DISCRIMINATORS = {"standard": "SRGANDiscriminator", "patchgan": "PatchDiscriminator", "esrgan": "VGGStyleDiscriminator"}
KERNELS = {"large_kernel_size": 9, "small_kernel_size": 3}


def generator(options: Options, bands: int) -> Tree:
    """The `generator` section; Mistake for an unknown network."""
    net = "Generator"
    options.expect(f"{net}.out_channels", bands)
    kind = _word(options.get(f"{net}.model_type", "srresnet"))
    block = _word(options.get(f"{net}.block_type", "standard"))
    if kind in BLOCKS:  # which may stand for SRResNet made of them
        kind, block = "srresnet", kind
    if kind not in GENERATORS:
        raise Mistake(f"{net}.model_type: got {kind}; wanted one of {', '.join(GENERATORS)}.")
    ours = GENERATORS[kind]
    sizes = {"n_channels": 64, "n_blocks": 23 if ours == "ShuffleRRDBNet" else 16}
    made = {"type": ours, **{key: options.integer(f"{net}.{key}", size) for key, size in sizes.items()}}
    made["use_icnr"] = options.get(f"{net}.use_icnr", True)
    if ours == "ShuffleRRDBNet":
        options.note(f"{net}.model_type", f"got {kind}; here its dense blocks are ESRGAN's, each with a residual")
        options.expect(f"{net}.res_scale", 0.2)
        _ignored(options, net, ("block_type", "large_kernel_size", "small_kernel_size", "noise_dim"))
        return made | {"growth_channels": options.integer(f"{net}.growth_channels", 32)}
    made |= {key: options.integer(f"{net}.{key}", size) for key, size in KERNELS.items()}
    if ours == "StochasticSRResNet":
        _ignored(options, net, ("block_type", "growth_channels"))
        noise = options.integer(f"{net}.noise_dim", 128)
        return made | {"noise_dim": noise, "res_scale": options.number(f"{net}.res_scale", 0.2)}
    _ignored(options, net, ("growth_channels", "noise_dim", "res_scale"))  # it is always 0.2
    if block not in BLOCKS:
        raise Mistake(f"{net}.block_type: got {block}; wanted one of {', '.join(BLOCKS)}.")
    if block == "standard":
        options.note(f"{net}.block_type", "got standard; res is taken, which has no BatchNorm and no Tanh at the end")
    return made | {"block_type": "res" if block == "standard" else block}


def discriminator(options: Options) -> Tree:
    """The `discriminator` section; Mistake for an unknown network."""
    net = "Discriminator"
    kind = _word(options.get(f"{net}.model_type", "standard"))
    if kind not in DISCRIMINATORS:
        raise Mistake(f"{net}.model_type: got {kind}; wanted one of {', '.join(DISCRIMINATORS)}.")
    made: Tree = {"type": DISCRIMINATORS[kind]}
    if kind == "esrgan":
        options.skip(f"{net}.linear_size", "BasicSR's network is taken, whose dense layers have 100")
        _ignored(options, net, ("n_blocks", "use_spectral_norm"))
        return made | {"num_feat": options.integer(f"{net}.base_channels", 64)}
    _ignored(options, net, ("base_channels", "linear_size"))
    made["n_blocks"] = options.integer(f"{net}.n_blocks", 8 if kind == "standard" else 3)
    if kind == "patchgan":
        _ignored(options, net, ("use_spectral_norm",))
        return made
    options.note(f"{net}.model_type", "got standard; it has InstanceNorm here, and norm: batch has BatchNorm")
    return made | {"use_spectral_norm": options.get(f"{net}.use_spectral_norm", True)}


def _word(value: Any) -> str:
    """A network's name in the normal form that opensr-srgan compares: lower case, with underscores."""
    return str(value).strip().lower().replace(" ", "_").replace("-", "_")


def _ignored(options: Options, net: str, keys: tuple[str, ...]) -> None:
    """Note the given keys that the chosen network does not use."""
    for key in keys:
        options.skip(f"{net}.{key}", "this network has no use for it, there either")
