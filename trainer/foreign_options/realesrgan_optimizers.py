"""Translation of the optimizers of Real-ESRGAN's option files, and of those of traiNNer-redux."""

from trainer.foreign_options.tree import Options, Tree

TORCH = {
    name.lower(): name
    for name in ("Adadelta", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")
} | {"adam": "adam", "adamw": "adamw"}
SCHEDULE_FREE = {
    name.lower(): f"schedulefree.{name}" for name in ("AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree")
}
PYTORCH_OPTIMIZER = {
    name.lower(): f"pytorch_optimizer.{name}" for name in ("Adan", "Lamb", "Prodigy", "Lion", "Tiger", "AdamP")
}
"""traiNNer-redux takes these from the package pytorch_optimizer."""
KNOWN = TORCH | SCHEDULE_FREE | PYTORCH_OPTIMIZER
WITH_TWO_BETAS = (
    *("adam", "adamw", "adamax", "nadam", "radam"),
    *("adamwschedulefree", "radamschedulefree", "prodigy", "lamb", "adamp"),
)
"""Those whose betas are 0.9 and 0.999 where a file has none."""
EPS = {"adadelta": 1e-6, "adagrad": 1e-10, "lamb": 1e-6}
"""Their own, where it is not 1e-8."""
DECAY = {"adamw": 0.01}
"""torch's own weight decay, where it is not 0."""


def optimizer(options: Options, path: str) -> Tree:
    """Our optimizer section for the one at `path`; names are read in any case of letters, as traiNNer-redux does."""
    said = options.get(f"{path}.type", "Adam")
    if (name := str(said).lower()) not in KNOWN:
        wanted = ", ".join(kind.rpartition(".")[2] for kind in KNOWN.values())
        options.note(f"{path}.type", f"got {said}; here there are {wanted}, or a class by its path; adam is taken")
        name = "adam"
    ours: Tree = {"type": KNOWN[name], "learning_rate": options.need(f"{path}.lr")}
    if decay := options.get(f"{path}.weight_decay", DECAY.get(name, 0.0)):
        options.note(f"{path}.weight_decay", "it is applied to kernels alone, not to biases and slopes")
        ours["weight_decay"] = decay
    if name in WITH_TWO_BETAS:
        ours["betas"] = options.get(f"{path}.betas", [0.9, 0.999])
    if name in WITH_TWO_BETAS or name in EPS:
        ours["eps"] = options.get(f"{path}.eps", EPS.get(name, 1e-8))
    others = [key for key in options.section(path) if key not in ("type", "lr", "weight_decay", *ours)]
    if str(said).lower() not in KNOWN:  # whose arguments are not Adam's
        others = []
    for key in ("foreach", "fused"):
        options.skip(f"{path}.{key}", "the fastest way is taken")
    arguments = {
        key: value
        for key in others
        if key not in ("foreach", "fused") and (value := options.get(f"{path}.{key}")) is not None
    }
    return {**ours, **({"arguments": arguments} if arguments else {})}
