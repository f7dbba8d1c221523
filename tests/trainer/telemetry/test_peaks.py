"""Peaks of known GPUs by the names that CUDA gives them."""

import pytest

from trainer.telemetry.peaks import peak_of


@pytest.mark.parametrize(
    ("name", "bf16", "tf32", "fp32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5, 494.5, 67),
        ("NVIDIA H100 PCIe", 756.5, 378, 51),
        ("NVIDIA H200", 989.5, 494.5, 67),
        ("NVIDIA A100-SXM4-80GB", 312, 156, 19.5),
        ("NVIDIA A100 80GB PCIe", 312, 156, 19.5),
        ("NVIDIA A100-PCIE-40GB", 312, 156, 19.5),
        ("NVIDIA L40S", 362, 183, 91.6),
        ("NVIDIA GeForce RTX 4090", 165.2, 82.6, 82.6),
        ("GeForce RTX 3090", 71, 35.6, 35.6),
        ("Tesla V100-SXM2-32GB", None, 15.7, 15.7),
        ("Tesla T4", None, 8.1, 8.1),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None, None),
        ("NVIDIA GB200", None, None, None),
        ("AMD Instinct MI250X", None, None, None),
        ("", None, None, None),
    ],
)
def test_a_gpu_s_peak_is_that_of_its_precision(
    name: str, bf16: float | None, tf32: float | None, fp32: float | None
) -> None:
    assert (peak_of(name, "bf16", True), peak_of(name, "no", True), peak_of(name, "no", False)) == (bf16, tf32, fp32)


def test_a_gpu_without_bf16_has_fp16() -> None:
    assert peak_of("Tesla V100-SXM2-32GB", "fp16", True) == 125
    assert peak_of("Tesla T4", "fp16", False) == 65
