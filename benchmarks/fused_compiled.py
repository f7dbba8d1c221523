"""The fused kernels as machine code, without a GPU: registers, spills, shared memory, widest accesses, matrix units.

    python benchmarks/fused_compiled.py [kernel ...]

Compiles every kernel of `degradations.fused` ahead of time for sm_80 (A100) and sm_90 (H100, H200) as a batch of
400 x 400 RGB crops uses it, and reads the result with the tools inside Triton's wheel. Takes minutes on a busy CPU.
"""

from __future__ import annotations

import os

os.environ.pop("TRITON_INTERPRET", None)

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from degradations.fused import blur, crops, draws, jpeg, noise, recipe, resize, sharpen
from degradations.fused.canvas import PLAIN

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# types of arguments by name; all others are 32-bit integers
TYPES = {
    "sizes": "*i64", "targets": "*i64", "spans": "*i64", "present": "*i32", "pixels": "*fp32", "kernels": "*fp32",
    "steps": "*fp32", "strengths": "*fp32", "tables": "*fp32", "gains": "*fp32", "numbers": "*fp32", "sines": "*fp32",
    "settings": "*fp64", "settings1": "*fp64", "settings2": "*fp64", "scales": "*fp64", "whole": "*i64", "flags": "*i1",
    "sigmas_x": "*fp32", "sigmas_y": "*fp32", "thetas": "*fp32", "betas": "*fp32", "omegas": "*fp32", "out": "*fp32",
    "halves": "*fp16", "band": "*fp16", "planes": "*u8", "masks": "*u8", "lines": "*i64", "modes": "*i64",
    "kinds": "*i64", "qualities": "*i64", "positions": "*i64", "tops": "*i64", "lefts": "*i64",
    "grays": "*i1", "chosen": "*i1", "weight": "fp32", "threshold": "fp32",
}  # fmt: skip
WIDE = ("height", "width", "rows", "columns", "out_height", "out_width")  # multiples of 16 at this size
TILE = {"ROWS": blur._ROWS, "COLUMNS": blur._COLUMNS}
USM = {"MARGIN": sharpen._MARGIN, "TILE": sharpen._TILE}
CASES: tuple[tuple[Any, dict[str, Any], dict[str, str], dict[str, Any]], ...] = (
    (recipe._draw, {"SHARED": False, "LANES": recipe._LANES}, {}, {"num_warps": 1}),
    (draws._build, {"SIDE": 21, "SPACE": 32, "ANGLES": 25}, {}, {}),
    (sharpen._contrast, USM, {"pixels": "*u8"}, {}),
    (sharpen._sharpen, USM, {"pixels": "*u8"}, {}),
    (blur._halve, {"MARGIN": blur.MARGIN, "LIMBS": 2, "ALIGN": 32, "ROWS": 16, "COLUMNS": 128}, {}, {}),
    (blur._blur, {"SIDE": 21, "MARGIN": blur.MARGIN, "LIMBS": 2, **TILE}, {}, {"num_warps": 8, "num_stages": 2}),
    (blur._blur, {"SIDE": 21, "MARGIN": blur.MARGIN, "LIMBS": 1, **TILE}, {}, {"num_warps": 8, "num_stages": 2}),
    (
        resize._resize,
        {"STEPPED": False, "ROWS": resize._ROWS, "COLUMNS": resize._COLUMNS},
        {"steps": "*i64"},
        {},
    ),
    (noise._levels, {"BANDS": 3, "ROWS": noise._ROWS, "COLUMNS": noise._COLUMNS}, {}, {}),
    (noise._noise, {"BANDS": 3, "ROWS": noise._ROWS, "COLUMNS": noise._COLUMNS}, {}, {}),
    (jpeg._separate_colour, {"ROWS": jpeg._ROWS, "COLUMNS": jpeg._COLUMNS}, {}, {}),
    (jpeg._code, {"COLOUR": True, "BLOCKS": jpeg._BLOCKS}, {}, {}),
    (jpeg._join_colour, {"ROWS": jpeg._ROWS, "COLUMNS": jpeg._COLUMNS}, {"out": "*u8"}, {}),
    (crops._crop, {"ROWS": crops._ROWS, "COLUMNS": crops._COLUMNS}, {"out": "*u8"}, {}),
)


def compiled(case: tuple[Any, dict[str, Any], dict[str, str], dict[str, Any]], capability: int) -> Any:
    """One kernel for one architecture."""
    kernel, constants, types, options = case
    types = TYPES | types
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    special = [p.name for p in kernel.params if not p.do_not_specialize]
    known = [name for name in special if "*" in types.get(name, "") or name in WIDE]
    aligned = [kernel.arg_names.index(name) for name in known]
    source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options | PLAIN)


def inspected(binary: bytes) -> tuple[str, Counter[str]]:
    """Resources, and how often each instruction occurs."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary)
        resources, listing = (
            subprocess.run([TOOLS / "cuobjdump", option, file.name], check=True, capture_output=True, text=True).stdout
            for option in ("-res-usage", "-sass")
        )
    return resources, Counter(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?([A-Z0-9_.]+)", listing, re.M))


def width(operations: Counter[str], names: tuple[str, ...]) -> str:
    """The widest access among instructions of these names, and how many there are of it."""
    bits = {"U8": 8, "S8": 8, "U16": 16, "64": 64, "128": 128}
    found: Counter[int] = Counter()
    for name, count in operations.items():
        parts = name.split(".")
        if parts[0] in names:
            found[max((bits[part] for part in parts if part in bits), default=32)] += count
    return " + ".join(f"{count}×{size}" for size, count in sorted(found.items(), reverse=True)) or "-"


def main() -> None:
    """Command line; see the module."""
    print(f"Triton {triton.__version__}\n")
    print("| kernel | sm | registers | spilled bytes | shared bytes | loads, bits | stores, bits | matrix |")
    print("|---|--:|--:|--:|--:|---|---|--:|")
    for case in CASES:
        name = case[0].__name__.lstrip("_")
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        label = name + (f" ({case[1]['LIMBS']} halves)" if name == "blur" else "")
        for capability in (80, 90):
            made = compiled(case, capability)
            resources, operations = inspected(made.asm["cubin"])
            registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", resources)[0]
            spilled = int(stack) if operations["STL"] + sum(n for o, n in operations.items() if o[:4] == "STL.") else 0
            matrix = sum(n for o, n in operations.items() if o.split(".")[0] in ("HMMA", "HGMMA"))
            loads, stores = width(operations, ("LDG", "LDGSTS")), width(operations, ("STG",))
            row = (label, capability, registers, spilled, made.metadata.shared, loads, stores, matrix)
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
