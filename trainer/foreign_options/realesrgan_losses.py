"""Translation of the losses in option files of Real-ESRGAN, and of those in the style of traiNNer-redux and neosr.

Real-ESRGAN has sections such as `train.pixel_opt`, the others a list `train.losses` or more such sections. A type is
known by its letters: MSSIMLoss, mssim_loss and mssimloss are one.
"""

from collections.abc import Callable

from trainer.foreign_options.tree import Options, Tree

LIST = "train.losses"
PIXEL = {"l1loss": "l1", "mseloss": "mse", "charbonnierloss": "charbonnier"}
CRITERIA = {"l1": "l1", "l2": "mse", "fro": "frobenius"}
LAYERS = {"conv3_2": 1.0, "conv4_2": 1.0}
WINDOW, SCALES = 11, 5  # of MS-SSIM: a patch of 11 pixels has one scale, twice as many a scale more


def with_named_entries(tree: Tree) -> Tree:
    """The options with the list `train.losses` as a mapping by number, so that each entry's keys have paths."""
    train = tree.get("train")
    if not isinstance(train, dict) or not isinstance(train.get("losses"), list):
        return tree
    return tree | {"train": train | {"losses": {str(number): one for number, one in enumerate(train["losses"])}}}


def losses(options: Options, gt_size: int) -> Tree:
    """The `losses` section. Without a pixel loss in the file its weight is 0; one of weight 0 is left out."""
    found: Tree = {"pixel": {"type": "l1", "weight": 0.0}}
    for path, kind in _entries(options):
        if kind == "ganloss" or path == "train.gan_opt":
            continue  # the adversarial section's
        if path == "train.pixel_opt" and kind not in PIXEL:
            options.note(
                f"{path}.type", f"got {options.get(f'{path}.type')}; here l1, mse and charbonnier are, and l1 is taken"
            )
            kind = "l1loss"
        weight = _weight(options, path)
        if weight == 0 and kind not in PIXEL and not options.get(f"{path}.style_weight"):
            options.skip(path)
        elif kind in PIXEL:
            options.expect(f"{path}.reduction", "mean")
            found["pixel"] = {"type": PIXEL[kind], "weight": weight}
        elif kind in TRANSLATIONS:
            _add(options, path, found, TRANSLATIONS[kind](options, path, weight, gt_size))
        else:
            given = options.get(f"{path}.type")
            options.skip(path, f"got {given}, which there is not here; losses.modules takes any loss by its class")
    return found


def gan_path(options: Options) -> str:
    """The dotted path of the adversarial loss's options."""
    return next((path for path, kind in _entries(options) if kind == "ganloss"), "train.gan_opt")


def _entries(options: Options) -> list[tuple[str, str]]:
    """The path of each loss's options and its type, as small letters and digits alone."""
    sections = [f"train.{key}" for key in options.section("train") if key.endswith("_opt")]
    paths = [*sections, *(f"{LIST}.{key}" for key in options.section(LIST))]
    kinds = {}
    for path in paths:
        if options.section(path):
            given = options.get(f"{path}.type", "")
            kind = "".join(c for c in given.lower() if c.isalnum()) if isinstance(given, str) else ""
            kinds[path] = "ldlloss" if path == "train.ldl_opt" else kind  # upstream's type is that of the distance
    return list(kinds.items())


def _weight(options: Options, path: str) -> float:
    """The weight of a loss; a negative one of traiNNer-redux counts as its size, as there."""
    return abs(options.number(f"{path}.perceptual_weight", options.number(f"{path}.loss_weight", 1.0)))


def _add(options: Options, path: str, found: Tree, sections: Tree) -> None:
    """Enter sections that are not there yet; of two losses of one kind the first counts."""
    for name, section in sections.items():
        if name in found:
            options.note(path, f"there is one losses.{name} here; that of an earlier entry is taken")
        else:
            found[name] = section


def _perceptual(options: Options, path: str, weight: float, _: int) -> Tree:
    options.expect(f"{path}.vgg_type", "vgg19")
    options.expect(f"{path}.range_norm", False)
    layers = options.get(f"{path}.layer_weights")
    if path == "train.perceptual_opt":
        layers = options.need(f"{path}.layer_weights")
    section = {
        "type": "vgg",
        "weight": weight,
        "style_weight": options.get(f"{path}.style_weight", 0.0),
        **({"layer_weights": layers} if layers else {}),
        "criterion": options.among(f"{path}.criterion", CRITERIA, "l1"),
        "use_input_norm": options.get(f"{path}.use_input_norm", True),
    }
    return {"perceptual": section}


def _dists(_: Options, __: str, weight: float, ___: int) -> Tree:
    return {"perceptual": {"type": "dists", "weight": weight}}


def _ms_ssim(options: Options, path: str, weight: float, gt_size: int) -> Tree:
    scales = sum(gt_size >= WINDOW * 2**scale for scale in range(SCALES))
    if not scales:
        options.note(path, f"patches of {gt_size} pixels have no window of {WINDOW}")
        return {}
    options.note(path, "each band is compared here, and not the luma")
    if scales < SCALES:
        options.note(path, f"patches of {gt_size} pixels have room for {scales} of its {SCALES} scales")
    return {"ms_ssim": {"weight": weight, **({"scales": scales} if scales < SCALES else {})}}


def _ldl(options: Options, path: str, weight: float, _: int) -> Tree:
    if options.get(f"{path}.criterion", "l1") != "l1":
        options.note(f"{path}.criterion", f"got {options.get(f'{path}.criterion')}; here it is always l1")
    if (kind := options.get(f"{path}.type")) not in ("L1Loss", "ldlloss", "LDLLoss", "ldl_loss"):
        options.note(f"{path}.type", f"got {kind}; here it is always l1")
    options.expect(f"{path}.reduction", "mean")
    if options.get("l1_gt_usm"):
        options.note(path, "it aims at the sharpened target, as the pixel loss does; there at the plain one")
    return {"ldl": {"weight": weight}}


def _focal_frequency(options: Options, path: str, weight: float, _: int) -> Tree:
    for key in ("ave_spectrum", "log_matrix", "batch_matrix"):
        options.expect(f"{path}.{key}", False)
    alpha, factor = options.number(f"{path}.alpha", 1.0), options.integer(f"{path}.patch_factor", 1)
    return {"focal_frequency": {"weight": weight, "alpha": alpha, "patch_factor": factor}}


def _contextual(options: Options, path: str, weight: float, _: int) -> Tree:
    for key, wanted in (("distance_type", "cosine"), ("calc_type", "regular"), ("net", "vgg19"), ("use_vgg", True)):
        options.expect(f"{path}.{key}", wanted)
    section = {
        "weight": weight,
        "layer_weights": options.get(f"{path}.layer_weights", LAYERS),
        "bandwidth": options.number(f"{path}.band_width", 0.5),
        "use_input_norm": options.get(f"{path}.z_norm", False),
    }
    return {"contextual": section}


def _sobel(options: Options, path: str, weight: float, _: int) -> Tree:
    options.note(path, "here it is the mean of |d| of each band, and not d^2 of the luma, so weigh it anew")
    return {"gradient": {"type": "sobel", "weight": weight}}


def _colour(options: Options, path: str, weight: float, _: int) -> Tree:
    options.note(path, "chroma is Oklab's here, compared by its mean |d|")
    options.read.add(f"{path}.criterion")
    return {"colour": {"weight": weight, "downscale": options.integer(f"{path}.scale", 4)}}


def _luma(options: Options, path: str, weight: float, _: int) -> Tree:
    options.read.add(f"{path}.criterion")
    return {"luma": {"weight": weight}}


def _hsluv(options: Options, path: str, weight: float, _: int) -> Tree:
    """Colour and luma by the shares of hue, saturation and lightness, a third each by default."""
    options.note(path, "taken as losses.colour, of Oklab's chroma, and losses.luma")
    options.read |= {f"{path}.criterion", f"{path}.blur_strength"}
    hue, saturation, lightness = (
        options.number(f"{path}.{part}_weight", 1 / 3) for part in ("hue", "saturation", "lightness")
    )
    squares = {"downscale": options.integer(f"{path}.downscale_factor", 1)}
    shares = {"colour": hue + saturation, "luma": lightness}
    return {name: {"weight": round(weight * share, 9), **squares} for name, share in shares.items() if share}


def _consistency(options: Options, path: str, weight: float, _: int) -> Tree:
    options.note(path, "taken as losses.colour and losses.luma, without its cosines")
    options.read |= {f"{path}.{key}" for key in ("criterion", "blur", "cosim")}
    for key in ("saturation", "brightness"):
        options.expect(f"{path}.{key}", 1.0)
    return {"colour": {"weight": weight, "downscale": 1}, "luma": {"weight": weight, "downscale": 4}}


def _tv(options: Options, path: str, weight: float, _: int) -> Tree:
    options.expect(f"{path}.reduction", "mean")
    return {"tv": {"weight": weight}}


TRANSLATIONS: dict[str, Callable[[Options, str, float, int], Tree]] = {
    **dict.fromkeys(("perceptualloss", "vggperceptualloss", "perceptualfp16loss"), _perceptual),
    "distsloss": _dists,
    "mssimloss": _ms_ssim,
    "ldlloss": _ldl,
    **dict.fromkeys(("ffloss", "focalfrequencyloss"), _focal_frequency),
    "contextualloss": _contextual,
    "sobeledgeloss": _sobel,
    "colorloss": _colour,
    "lumaloss": _luma,
    "hsluvloss": _hsluv,
    "consistencyloss": _consistency,
    "weightedtvloss": _tv,
}
"""What each type comes to: our sections, for the options at a path, the weight and the side of the patches."""
