"""Settings of `accelerate config` in the environment that this program cannot be run with."""

from collections.abc import Mapping

from trainer.mistakes import Mistake

ANEW = "answer `accelerate config` anew without it, or start by `wildsr train`"
ENGINES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
TPU = {"PJRT_DEVICE": "tpu", "XLA_USE_BF16": "1", "XLA_DOWNCAST_BF16": "1"}


def check_launcher(environment: Mapping[str, str]) -> None:
    """Mistake where `accelerate launch` asks for what this program does not do.

    It would be an ImportError at best, and at worst another training than the configuration says.
    """

    def has(key: str) -> str:
        return environment.get(key, "").lower()

    for key, engine in ENGINES.items():
        if has(key) in ("true", "1", "yes", "y", "t", "on"):
            raise Mistake(f"{key}: `accelerate launch` asks for {engine}; here networks train by plain DDP: {ANEW}.")
    for key, value in TPU.items():
        if has(key) == value:
            raise Mistake(f"{key}: got {value}, which asks for a TPU; here networks train on GPUs or CPUs: {ANEW}.")
    if has("ACCELERATE_MIXED_PRECISION") == "fp8":
        raise Mistake(f"ACCELERATE_MIXED_PRECISION: got fp8; mixed_precision can be no, bf16 or fp16 here: {ANEW}.")
    if (steps := has("ACCELERATE_GRADIENT_ACCUMULATION_STEPS")) not in ("", "1", "auto"):
        raise Mistake(
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS: got {steps}, by which Accelerate would divide every loss; "
            "batch.global_size and batch.per_device say how much is accumulated here: unset it."
        )
    if (backend := has("ACCELERATE_DYNAMO_BACKEND")) not in ("", "no"):
        raise Mistake(f"ACCELERATE_DYNAMO_BACKEND: got {backend}; here the key compile says what is compiled: {ANEW}.")
