"""Settings of Accelerate in the environment, exported or of `accelerate config`, that contradict this program."""

from collections.abc import Iterator, Mapping

from accelerate import Accelerator
from accelerate.utils import DistributedType, DynamoBackend

from trainer.mistakes import Mistake, Mistakes

REMEDY = "unset it, and in the file of `accelerate config` choose distributed_type: MULTI_GPU without it"
ENGINES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
FLAGS = (
    *("ACCELERATE_USE_CPU", "ACCELERATE_DEBUG_MODE", "ACCELERATE_CPU_AFFINITY"),
    *(f"ACCELERATE_DYNAMO_USE_{name}" for name in ("FULLGRAPH", "DYNAMIC", "REGIONAL_COMPILATION")),
)
"""Variables that Accelerate reads as true or false, with a ValueError for anything else."""
YES, NO = ("true", "1", "yes", "y", "t", "on"), ("false", "0", "no", "n", "f", "off")
TPU = {"PJRT_DEVICE": "tpu", "XLA_USE_BF16": "1", "XLA_DOWNCAST_BF16": "1"}
OTHER_ENGINES = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM, DistributedType.XLA)


def check_launcher(environment: Mapping[str, str]) -> None:
    """Mistake, with all that is found, where the environment asks for what this program does not do.

    It would be an ImportError or ValueError at best, and at worst another training than the configuration says.
    """
    if found := list(_contradictions({key: value.lower() for key, value in environment.items()})):
        raise Mistakes(found) if len(found) > 1 else Mistake(found[0])


def notes_on_launcher(environment: Mapping[str, str], mixed_precision: str) -> list[str]:
    """A note where `accelerate launch` was given a precision and the configuration, which counts, has another."""
    asked = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()  # the launcher sets no where nobody chose
    if asked in ("", "no", mixed_precision):
        return []
    return [f"mixed_precision: {mixed_precision} counts, not {asked} as `accelerate launch` has it"]


def check_engine(accelerator: Accelerator) -> None:
    """Mistake for an Accelerator by whose plugins networks would be sharded, or compiled a second time."""
    if (engine := accelerator.distributed_type) in OTHER_ENGINES:
        raise Mistake(f"accelerator: its distributed_type is {engine.value}; networks train by plain DDP here.")
    if accelerator.state.parallelism_config is not None:
        raise Mistake("accelerator: it has a parallelism_config; networks train by plain DDP here.")
    if (backend := accelerator.state.dynamo_plugin.backend) != DynamoBackend.NO:
        raise Mistake(
            f"accelerator: its dynamo_backend is {backend.value}; the key compile says what is compiled here."
        )


def _contradictions(values: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each setting that contradicts this program; `values` are in lower case."""
    for key, engine in ENGINES.items():
        if values.get(key, "") in YES:
            yield f"{key}: got {values[key]}, which asks for {engine}; networks train by plain DDP here: {REMEDY}."
    for key, value in TPU.items():
        if values.get(key, "") == value:
            yield f"{key}: got {value}, which asks for a TPU; networks train on GPUs or CPUs here: {REMEDY}."
    for key in FLAGS:
        if values.get(key, "no") not in YES + NO:
            yield f"{key}: got {values[key]!r}, which Accelerate cannot read; must be true, false or unset."
    if values.get("ACCELERATE_MIXED_PRECISION") == "fp8":
        yield f"ACCELERATE_MIXED_PRECISION: got fp8; mixed_precision can be no, bf16 or fp16 here: {REMEDY}."
    if (steps := values.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")) != "1":
        yield (
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS: got {steps!r}, by which Accelerate would divide every loss; "
            "batch.global_size and batch.per_device say how much is accumulated here: unset it."
        )
    if (backend := values.get("ACCELERATE_DYNAMO_BACKEND", "no")) != "no":
        yield f"ACCELERATE_DYNAMO_BACKEND: got {backend!r}; the key compile says what is compiled here: {REMEDY}."
    if device := values.get("ACCELERATE_TORCH_DEVICE"):
        yield (
            f"ACCELERATE_TORCH_DEVICE: got {device}, which would be the device of every process; each takes a GPU of "
            "its own here, of those in CUDA_VISIBLE_DEVICES: unset it."
        )
