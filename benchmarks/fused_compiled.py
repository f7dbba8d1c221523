"""The fused kernels as machine code, without a GPU: registers, spills, shared memory, widest accesses, matrix units.

    python benchmarks/fused_compiled.py [kernel ...]

Compiles every kernel of `degradations.fused`, or those named, in every form that `fused_launches.py` launches, for
sm_80 (A100) and sm_90 (H100, H200), and reads the result with the tools inside Triton's wheel. Takes minutes on a busy
CPU; seconds if Triton's cache has the result.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton
from fused_launches import SHARED, Form, on  # imported first, as it turns Triton's interpreter off
from triton import knobs

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def inspected(binary: bytes) -> tuple[str, Counter[str]]:
    """Resources of a kernel, and the count of each instruction."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary)
        resources, listing = (
            subprocess.run([TOOLS / "cuobjdump", option, file.name], check=True, capture_output=True, text=True).stdout
            for option in ("-res-usage", "-sass")
        )
    return resources, Counter(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?([A-Z0-9_.]+)", listing, re.M))


def width(operations: Counter[str], names: tuple[str, ...]) -> str:
    """The widest access among instructions of these names, and the number of them."""
    bits = {"U8": 8, "S8": 8, "U16": 16, "64": 64, "128": 128}
    found: Counter[int] = Counter()
    for name, count in operations.items():
        parts = name.split(".")
        if parts[0] in names:
            found[max((bits[part] for part in parts if part in bits), default=32)] += count
    return " + ".join(f"{count}×{size}" for size, count in sorted(found.items(), reverse=True)) or "-"


def labels(forms: list[Form]) -> list[str]:
    """Each form in words: its kernel, and the difference from the kernel's other forms."""

    def traits(form: Form) -> dict[str, str]:
        facts = form.types | {name: str(value) for name, value in form.constants.items()}
        return facts | {f"{name}/16": str(name in form.aligned) for name in form.types}

    told = []
    for form in forms:
        others = [traits(other) for other in forms if other.name == form.name]
        own = [f"{trait} {said}" for trait, said in traits(form).items() if any(o.get(trait) != said for o in others)]
        told.append(f"{form.name.lstrip('_')} ({', '.join(own)})" if own else form.name.lstrip("_"))
    return told


def only(names: list[str]) -> Any:
    """Keep Triton from compiling other kernels than these."""
    return lambda *, fn, **_: fn.name.rpartition(".")[2].lstrip("_") not in names


def main() -> None:
    """Command line; see the module."""
    if sys.argv[1:]:
        knobs.runtime.jit_cache_hook = only(sys.argv[1:])
    print(f"Triton {triton.__version__}\n")
    print("| kernel | sm | registers | spilled bytes | shared bytes | loads, bits | stores, bits | matrix |")
    print("|---|--:|--:|--:|--:|---|---|--:|")
    for capability in SHARED:
        forms = on(capability).forms
        for label, form in zip(labels(forms), forms, strict=True):
            resources, operations = inspected(form.binary)
            registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", resources)[0]
            spilled = int(stack) if operations["STL"] + sum(n for o, n in operations.items() if o[:4] == "STL.") else 0
            matrix = sum(n for o, n in operations.items() if o.split(".")[0] in ("HMMA", "HGMMA"))
            loads, stores = width(operations, ("LDG", "LDGSTS")), width(operations, ("STG",))
            row = (label, capability, registers, spilled, form.shared, loads, stores, matrix)
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
