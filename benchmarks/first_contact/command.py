"""The command line: parts in their order, each in a process of its own with its share of the time."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from first_contact import isolation
from first_contact.record import Record, read, tables, value_of
from first_contact.setting import Setting, Work, prepare

BUDGET = 430.0
"""Seconds of a call."""


@dataclass(frozen=True)
class Part:
    """A part: what it does, the limit of its time, and the function `module:name` that does it."""

    title: str
    limit: float
    place: str

    def work(self) -> Work:
        """The function; imported late, so that a part whose imports fail leaves the others alone."""
        module, _, name = self.place.partition(":")
        found: Work = getattr(import_module(f"first_contact.{module}"), name)
        return found


PARTS = {
    0: Part("versions, card, imports", 20, "kernels:machine"),
    1: Part("the fused kernels are right", 75, "kernels:right"),
    2: Part("ceilings, and cuDNN's convolutions", 35, "ceilings:ceilings"),
    3: Part("the trainer as it is", 75, "training:as_it_is"),
    4: Part("bit by bit: again, and resumed", 40, "training:bitwise"),
    5: Part("variants of the step", 65, "variants:all_variants"),
    6: Part("upstream's step", 30, "upstream:upstream"),
    7: Part("a world of one, saves in the background", 20, "records:world_of_one"),
    8: Part("the degradation alone", 35, "kernels:alone"),
    9: Part("traces and caches", 25, "records:traces"),
}
LATER = {
    10: Part("the best variant against the trainer as it is (--variant)", 220, "variants:best"),
    11: Part("five steps of a variant, for a profiler", 60, "variants:few_steps"),
}
"""Parts that are taken only where they are asked for."""
SANITIZER = "kernels:sanitised"
"""In place of parts 6 and 8, if the kernels are not right."""
NEEDS_TRAINER = range(3, 8)
PREPARATION = 90.0
"""Seconds for photographs, weights and counts, made beside the first parts."""
SLOWER = 20
"""Limits in Triton's interpreter."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the status is 1 if a part failed."""
    options = parsed(arguments)
    if options.list:
        for number, part in (PARTS | LATER).items():
            print(f"{number:>2}  {part.limit:>4.0f} s  {part.title}")
        return 0
    if options.table:
        print(tables(read(options.table)))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        out=options.out.resolve(),
        scratch=options.scratch or Path(tempfile.mkdtemp(prefix="first-contact-")),
        record=Record(options.out.resolve() / "results.jsonl"),
        tiny=options.rehearse,
        interpret=options.interpret,
        upstream=options.upstream.resolve() if options.upstream else None,
        variant=options.variant,
    )
    if options.alone is not None:
        record = Record(setting.record.file, str(options.alone))
        mine = replace(setting, record=record, deadline=time.monotonic() + options.budget)
        do((PARTS | LATER)[options.alone], mine)
        return 0
    try:
        return in_order(chosen(options), setting, options.budget, arguments)
    finally:
        shutil.rmtree(setting.scratch, ignore_errors=True)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="first_contact", description="Measure the trainer on one GPU.")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results")
    parser.add_argument("--only", metavar="PART,...", help="these parts, in this order")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="PART", help="this one and those after")
    parser.add_argument("--list", action="store_true", help="list the parts and their limits")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print a results file as tables")
    parser.add_argument("--upstream", type=Path, metavar="FOLDER", help="folder with the source of basicsr 1.4.2")
    parser.add_argument("--variant", default="", help="of parts 10 and 11: names and key=value, joined by +")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="of the whole call")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, tiny; figures mean nothing")
    parser.add_argument("--interpret", action="store_true", help="of a rehearsal: kernels in Triton's interpreter too")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)  # a part in this process
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not (options.list or options.table or options.out):
        parser.error("--out is missing")
    known = PARTS | LATER
    if options.only and any(not word.isdecimal() or int(word) not in known for word in options.only.split(",")):
        parser.error(f"--only: got {options.only}; the parts are 0 to {max(known)}")
    return options


def chosen(options: argparse.Namespace) -> list[int]:
    """The numbers of the parts to take."""
    if options.only:
        return [int(word) for word in options.only.split(",")]
    return [number for number in PARTS if number >= options.first]


def in_order(numbers: list[int], setting: Setting, budget: float, arguments: Sequence[str]) -> int:
    """Take the parts one after the other, each as long as its limit and what is left of the call allow."""
    end, record = time.monotonic() + budget, setting.record
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    note = "a rehearsal on a CPU: the figures mean nothing" if setting.tiny else "on a GPU"
    record.add("call", date, arguments=" ".join(arguments), note=note)
    import_all()
    preparation = isolation.started(lambda: prepare(setting), PREPARATION)
    failed = False
    for number in numbers:
        part = (PARTS | LATER)[number]
        limit = min(part.limit * (SLOWER if setting.interpret else 1), end - time.monotonic())
        print(f"\n== part {number}: {part.title}, at most {limit:.0f} s", flush=True)
        if limit < 5:
            record.add("parts", f"{number}", failed="no time was left")
            failed = True
            continue
        failed |= not taken(number, part, setting, limit, arguments)
    reason = isolation.ended(preparation, 0.0)  # killed, where no part waits for it any more
    if reason.startswith("status"):
        record.add("parts", "preparation", failed=reason)
    print(f"\n{tables(read(record.file))}", flush=True)
    return int(failed)


def taken(number: int, part: Part, setting: Setting, limit: float, arguments: Sequence[str]) -> bool:
    """Take one part; False if it failed, which is recorded."""
    mine = replace(setting, record=Record(setting.record.file, str(number)), deadline=time.monotonic() + limit)
    wrong = value_of(mine.record.file, "parts", "1", "ended") is False
    if wrong and number in (6, 8):
        part = replace(part, place=SANITIZER)

    def work() -> None:
        if wrong and number in NEEDS_TRAINER:
            os.environ["WILDSR_FUSED"] = "0"
        if part.place != SANITIZER:
            started_alone(number, mine, arguments)
        do(part, mine)

    begun = time.monotonic()
    reason = isolation.ended(isolation.started(work, limit), limit)
    fields = {"failed": reason} if reason else {}
    mine.record.add(
        "parts", f"{number}", title=part.title, ended=not reason, seconds=time.monotonic() - begun, **fields
    )
    return not reason


def started_alone(number: int, setting: Setting, arguments: Sequence[str]) -> None:
    """Begin with the GPU; where a fork cannot, as something had touched the GPU before it, by a new interpreter."""
    if setting.tiny:
        return
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        setting.record.add("parts", f"{number}", fork=f"{error}"[:90])
        alone = ["--alone", str(number), "--scratch", str(setting.scratch), "--budget", f"{setting.left()}"]
        os.execv(sys.executable, [sys.executable, str(Path(__file__).parent), *arguments, *alone])


def do(part: Part, setting: Setting) -> None:
    """Do a part in this process; an error is recorded, and raised."""
    import torch

    if setting.tiny:
        torch.set_num_threads(1)
        torch.compiler.set_stance("force_eager")  # what compiles is called, and compiles nothing
    try:
        part.work()(setting)
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        setting.record.add("errors", part.title, error=f"{type(error).__name__}: {error}"[:300], where=where)
        raise


def import_all() -> None:
    """Import what the parts will need, so that each fork has it; what fails here fails again in its part."""
    modules: list[Callable[[], object]] = [part.work for part in (PARTS | LATER).values()]
    for imported in (*modules, lambda: import_module("triton"), lambda: import_module("memory_and_hours")):
        try:
            imported()
        except Exception as error:
            print(f"cannot be imported: {error}", flush=True)
