"""Peak throughput of known GPUs by precision, from their data sheets."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peak:
    """Dense TFLOP/s, without structured sparsity, of a whole GPU; None where it has no units for that."""

    fp32: float
    tf32: float | None
    half: float
    """fp16 and bf16, accumulated in fp32 as cuDNN does."""
    bf16: bool = True

    def at(self, precision: str, tf32: bool) -> float | None:
        """TFLOP/s at `mixed_precision` no, bf16 or fp16, and with TF32 allowed or not; None if it has no bf16."""
        if precision == "no":
            return self.tf32 if tf32 and self.tf32 else self.fp32
        return None if precision == "bf16" and not self.bf16 else self.half


# Data sheets print figures with sparsity for tensor cores from Ampere on: these are the halves.
# H100: "NVIDIA H100 Tensor Core GPU Datasheet" (SXM, PCIe and NVL); H200: "NVIDIA H200 Tensor Core GPU Datasheet";
# B200: "NVIDIA Blackwell Datasheet", HGX B200, individual GPU; A100: "NVIDIA A100 Tensor Core GPU Datasheet";
# L40S, L4: "NVIDIA L40S Datasheet", "NVIDIA L4 Tensor Core GPU Datasheet"; RTX 4090: "NVIDIA Ada GPU Architecture",
# appendix A; RTX 3090: "NVIDIA Ampere GA102 GPU Architecture", appendix A (both with fp32 accumulation, which is half
# of the figure with fp16's); V100: "NVIDIA V100 Datasheet"; T4: "NVIDIA T4 Tensor Core GPU Datasheet".
PEAKS = {
    r"NVIDIA B200": Peak(75, 1100, 2250),
    r"NVIDIA H200": Peak(67, 494.5, 989.5),
    r"NVIDIA H200 NVL": Peak(60, 417.5, 835.5),
    r"NVIDIA H100 80GB HBM3": Peak(67, 494.5, 989.5),
    r"NVIDIA H100 PCIe": Peak(51, 378, 756.5),
    r"NVIDIA H100 NVL": Peak(60, 417.5, 835.5),
    r"(NVIDIA )?A100(-SXM4?|-PCIE)?( |-)(40|80)GB( PCIe)?": Peak(19.5, 156, 312),
    r"NVIDIA L40S": Peak(91.6, 183, 362),
    r"NVIDIA L4": Peak(30.3, 60, 121),
    r"(NVIDIA )?GeForce RTX 4090": Peak(82.6, 82.6, 165.2),
    r"(NVIDIA )?GeForce RTX 3090": Peak(35.6, 35.6, 71),
    r"(NVIDIA |Tesla )?V100-SXM[23].*": Peak(15.7, None, 125, bf16=False),
    r"(NVIDIA |Tesla )?V100-PCIE-.*": Peak(14, None, 112, bf16=False),
    r"(NVIDIA |Tesla )?T4": Peak(8.1, None, 65, bf16=False),
}
"""By the whole name that CUDA gives a GPU: a part of one (MIG), a laptop's or another edition is another GPU."""


def peak_of(name: str, precision: str, tf32: bool) -> float | None:
    """Dense TFLOP/s of the GPU `name` at a precision, see `Peak.at`; None for a GPU that is not known."""
    found = next((peak for pattern, peak in PEAKS.items() if re.fullmatch(pattern, name)), None)
    return found.at(precision, tf32) if found else None
