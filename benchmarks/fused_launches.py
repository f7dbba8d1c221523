"""Every fused kernel through Triton's own launch (bind, specialise, compile, load), for GPUs that are not present.

    python benchmarks/fused_launches.py

A stand-in for Triton's driver names an architecture and accepts launches without running them. So this tests what
only a launch does: the interpreter and ahead-of-time compilation both leave out the binder that Triton writes around a
kernel's parameters, and the rules by which arguments are specialised. Kernels are compiled to Triton's intermediate
language, which takes seconds; `fused_compiled.py` goes on to machine code. For each architecture a line of JSON gives
the number of launches and of forms of each kernel.
"""

from __future__ import annotations

import os

os.environ.pop("TRITON_INTERPRET", None)  # read when triton is imported

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget

from degradations import Keys, SecondOrder, uniforms
from degradations.fused import steps as fused_steps
from degradations.fused.second_order import Pairing
from degradations.operations import pipeline_steps as steps
from degradations.operations.operation import NUMBERS_PER_OPERATION, OperationContext

SHARED = {80: 163 << 10, 90: 227 << 10}
"""Compute capability (A100; H100 and H200) and the bytes of shared memory that a block may have there."""


@dataclass(frozen=True)
class Form:
    """One compiled form of a kernel."""

    name: str
    constants: dict[str, Any]
    types: dict[str, str]
    aligned: tuple[str, ...]
    """Arguments that are known to be multiples of 16."""
    shared: int
    binary: bytes


@dataclass
class Driver:
    """The interface of Triton's driver, without a device behind it."""

    capability: int
    launches: Counter[str] = field(default_factory=Counter)
    forms: list[Form] = field(default_factory=list)
    _source: Any = None

    @property
    def utils(self) -> Driver:
        return self

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability  # kernels are cached by device, so each architecture gets a device of its own

    def get_current_stream(self, _: int) -> int:
        return 0

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": SHARED[device]}

    def launcher_cls(self, source: Any, _: Any) -> Callable[..., None]:
        """The function that a launch finally calls; made once for each form, just before it is loaded."""
        self._source = source

        def launch(*_: Any) -> None:
            self.launches[f"{source.fn.module}.{source.fn.__name__}"] += 1

        return launch

    def load_binary(self, _: str, kernel: bytes, shared: int, __: int) -> tuple[int, int, int, int, int]:
        """Module, function, registers, spills, and the most threads of a block."""
        source = self._source
        names = source.fn.arg_names
        constants = {names[path[0]]: value for path, value in source.constants.items()}
        aligned = tuple(names[path[0]] for path, facts in source.attrs.items() if facts)
        form = Form(source.fn.__name__, constants, dict(source.signature), aligned, shared, kernel)
        self.forms.append(form)
        return 1, 1, 0, 0, 1024

    def unload_module(self, module: int) -> None:
        """Called by Triton 3.9 at the end."""


def intermediate(*arguments: Any) -> tuple[str, str] | None:
    """Only the first stage of a compilation, into Triton's intermediate language; without arguments, its name."""
    if not arguments:
        return "intermediate", "intermediate"
    _, stages, *_ = arguments
    for later in ("ttgir", "llir", "ptx"):
        del stages[later]
    stages["cubin"] = nothing
    return None


def nothing(_: Any, metadata: dict[str, Any]) -> bytes:
    """In place of machine code: none, and what is said of it."""
    metadata.update(name="none", shared=0)
    return b""


def pairings() -> Iterator[tuple[Pairing, int, int]]:
    """Pair makers in all variants that give a kernel another form, with their pictures' bands and sides."""
    for bands in (3, 1, 4):
        for options in (
            {},
            {"resize": "realesrgan"},
            {"draws": "batch"},
            {"blur_kernel_size": 7, "blur_kernel_size2": 33},
            {"final_sinc_prob": 0.0, "second_blur_prob": 0.0, "kernel_list": ("iso",), "kernel_prob": (1.0,)},
        ):
            yield Pairing(config=SecondOrder(**options), seed=2**64 - 1, scale=4, side=64, sharpen_gt=True), bands, 400
        # sides that are no multiples of 16, and forms without sharpening
        yield Pairing(config=SecondOrder(), seed=0, scale=3, side=30, sharpen=True), bands, 99
        for side in (64, 30):
            yield Pairing(config=SecondOrder(), seed=0, scale=1, side=side), bands, 96


def launch_all() -> None:
    """Launch all kernels in all forms that a training can meet."""
    for pairing, bands, size in pairings():
        pairing(torch.zeros(2, bands, size, size, dtype=torch.uint8), torch.arange(2))
    keys = Keys(0, torch.arange(2))
    blurs = (steps.BlurStep(), steps.BlurStep(blur_kernel_size=33))
    for operation in (*blurs, steps.ResizeStep(), steps.FitStep(), steps.NoiseStep(), steps.JpegStep()):
        step = fused_steps.fused_form(operation)
        assert step is not None, f"{operation} has no fused form"
        recipe = operation.draw(uniforms(keys, 16, NUMBERS_PER_OPERATION))
        for bands in (3, 1, 4):
            for sides in ((96, 64), (77, 50)):
                images = [torch.zeros(bands, *sides), torch.zeros(bands, 40, 33)]
                fused_steps.run(operation, step, images, recipe, OperationContext(keys, 17, (24, 16)))


def on(capability: int) -> Driver:
    """Launch everything on a stand-in of this capability."""
    driver = Driver(capability)
    triton.runtime.driver.set_active(driver)
    launch_all()
    return driver


def main() -> None:
    """Command line; see the module."""
    knobs.runtime.add_stages_inspection_hook = intermediate
    for capability in SHARED:
        driver = on(capability)
        forms = Counter(form.name for form in driver.forms)
        print(json.dumps({"capability": capability, "launches": driver.launches, "forms": forms}))


if __name__ == "__main__":
    main()
