"""Translation of the mixture of augmentations in option files of traiNNer-redux and neosr."""

from typing import Any

from trainer.foreign_options.tree import Options, Tree
from trainer.mistakes import Mistake

MIXED = ("mixup", "cutmix", "cutblur")
PLACES = {
    "redux": ("train.moa_augs", "train.moa_probs"),
    "neosr": ("datasets.train.augmentation", "datasets.train.aug_prob"),
}
"""Where a file has the names of augmentations, and a weight for each, by which one is drawn for each batch."""
SIZES = "shares and boxes have the laws of the papers here, and each pair has a draw of its own"


def mixing(options: Options) -> Tree:
    """The `mixing` section, with the weights as probabilities, or nothing where there is no such augmentation.

    Raises Mistake where the weights are not numbers, one for each name.
    """
    switched_on = options.get("train.use_moa", False)
    found: dict[str, float] = {}
    for program, (names, weights) in PLACES.items():
        if program == "redux" and not switched_on:
            options.skip(names)
            options.skip(weights)
        else:
            found = found or _probabilities(options, names, weights)
    if switched_on and not options.get("train.moa_augs"):
        options.note("train.use_moa", "there are no train.moa_augs with it, so nothing is mixed")
    for key in ("train.moa_debug", "train.moa_debug_limit"):
        options.skip(key, "it draws nothing for the training" if switched_on else "")
    return {"mixing": {name: {"prob": prob} for name, prob in found.items()}} if found else {}


def _probabilities(options: Options, names: str, weights: str) -> dict[str, float]:
    """The probability of each of our augmentations that a file draws."""
    chosen: Any = options.get(names)
    if chosen is None:
        options.skip(weights)
        return {}
    given: Any = options.get(weights)
    if not isinstance(chosen, list) or not isinstance(given, list) or len(chosen) != len(given):
        raise Mistake(f"{weights}: got {given!r}; must be a list with one number for each of {names}, {chosen!r}.")
    if any(isinstance(one, bool) or not isinstance(one, int | float) or one < 0 for one in given) or not sum(given):
        raise Mistake(f"{weights}: got {given!r}; must be numbers of at least 0, which are not all 0.")
    shares = {str(name).lower(): one / sum(given) for name, one in zip(chosen, given, strict=True) if one}
    if other := [name for name in shares if name not in (*MIXED, "none")]:
        options.note(names, f"{', '.join(other)} has no counterpart; those pairs are trained on as they are")
    found = {name: round(shares[name], 6) for name in MIXED if name in shares}
    if found:
        options.note(weights, SIZES)
    return found
