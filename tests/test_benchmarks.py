"""The parts of the benchmarks that can run anywhere: speed is for a GPU, but the program must not rot meanwhile."""

import importlib
import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import Tiny
from tests.faults.forked import Job

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GAME = "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}"


def contact(monkeypatch: pytest.MonkeyPatch, module: str) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(f"first_contact.{module}")


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # of the compiler's own imports
def test_first_contact_is_rehearsed_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that needs no CUDA, in processes of their own: the trainer itself, upstream's step, a world of one."""
    command = contact(monkeypatch, "command")
    assert command.main(["--out", str(tmp_path), "--rehearse"]) == 0
    lines = contact(monkeypatch, "record").read(tmp_path / "results.jsonl")
    ended = {line["row"]: line["ended"] for line in lines if line["table"] == "parts"}
    assert ended == {str(number): True for number in command.PARTS}
    assert all(line["equal"] for line in lines if line["table"] == "bit by bit" and "equal" in line)
    rows = {
        "the trainer",
        "a step",
        "waits of the host",
        "bit by bit",
        "variants",
        "upstream",
        "a world of one",
        "files",
    }
    assert rows < {line["table"] for line in lines}
    assert any(line["table"] == "left out" and line["reason"] == "needs CUDA" for line in lines)
    assert not [line for line in lines if "failed" in line or line["table"] == "errors"]
    capsys.readouterr()
    assert command.main(["--table", str(tmp_path / "results.jsonl")]) == 0
    assert "a rehearsal on a CPU: the figures mean nothing" in capsys.readouterr().out


def test_a_part_that_hangs_or_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation = contact(monkeypatch, "isolation")

    def hang() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    begun = time.monotonic()
    assert isolation.ended(isolation.started(hang, 0.3), 0.3) == "over its limit of 0 s"
    assert time.monotonic() - begun < 30
    assert isolation.ended(isolation.started(fail, 30), 30) == "status 1"
    assert isolation.ended(isolation.started(lambda: None, 30), 30) == ""


def test_kernels_that_are_not_right_turn_the_other_parts_to_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts 3 to 7 run without them, and the sanitizer takes the time of part 8."""
    command, record = contact(monkeypatch, "command"), contact(monkeypatch, "record")
    file = tmp_path / "results.jsonl"
    record.Record(file, "1").add("parts", "1", ended=False)
    setting = contact(monkeypatch, "setting").Setting(tmp_path, tmp_path, record.Record(file), tiny=True)
    assert command.taken(8, command.PARTS[8], setting, 30.0, [])
    assert record.value_of(file, "left out", "compute-sanitizer", "reason") == "needs CUDA"


def test_lines_of_results_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of a row may come in several lines; one that was cut off is left out."""
    record = contact(monkeypatch, "record")
    file = tmp_path / "results.jsonl"
    made = record.Record(file, "3")
    made.add("the trainer", "48 x 1", images_s=137.25)
    made.add("the trainer", "12 x 4", images_s=1234.5, failed="a | b")
    made.add("the trainer", "48 x 1", peak_GiB=33)
    with file.open("a") as more:
        more.write('{"part": "3", "tab')
    assert record.tables(record.read(file)) == (
        "### the trainer\n\n| | images s | peak GiB | failed |\n|---|--:|--:|--:|\n"
        "| 48 x 1 | 137 | 33 |  |\n| 12 x 4 | 1234 |  | a / b |"
    )


def test_the_price_of_each_loss_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    importlib.import_module("losses").measure(torch.device("cpu"), 1, 32, 1, width=4)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 15
    assert all(float(cell) >= 0 for row in rows[1:] for cell in row[1:])


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_step_on_fake_tensors_counts_what_one_with_values_does(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    counting = importlib.import_module("memory_and_hours")
    config = tiny(GAME, "queue_size=8")

    def count(_: object) -> int:  # in a process of its own, for fake tensors stay in caches
        print(*(json.dumps(asdict(counting.counted(config, 2, fake=fake))) for fake in (False, True)), sep="\n")
        return 0

    assert Job(1, tmp_path / "log", (), count).wait(60) == [0], (tmp_path / "log").read_text()
    real, fake = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines()[-2:])
    assert real["peak"] == fake["peak"] > 0
    assert real["flops"] == fake["flops"] > 0
    assert real["moved"] == pytest.approx(fake["moved"], rel=0.01)


def test_what_fits_a_card_is_the_largest_part_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    counting = importlib.import_module("memory_and_hours")
    found = counting.Estimate(fixed=1e9, each=1e9, flops=1e12, moved=1e10)
    card = counting.Card("any", 24, 100, 1.0)
    assert found.memory(16) < 24e9 < found.memory(24)
    assert found.per_device(card) == 16
    assert counting.Estimate(fixed=30e9, each=1e9, flops=1, moved=1).per_device(card) == 0
    assert found.hours(card) == pytest.approx(10_000 * 48 * (1 / (0.2 * 100) + 0.01) / 3600)


def test_the_quickstart_is_measured_on_three_sets(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    measure = importlib.import_module("quickstart.measure")
    config = tiny("validation.draws=2")
    truth = torch.arange(3 * 64 * 96).remainder(251).to(torch.uint8).reshape(3, 64, 96)
    measure.to_picture(truth).save(tmp_path / "one.png")
    chosen = list(measure.pairs(config, str(tmp_path)))
    counts = [sum(pair[0] == name for pair in chosen) for name in measure.SETS]
    assert counts == [2, len(yaml.safe_load((BENCHMARKS / "quickstart" / "pillow.yaml").read_text("utf-8"))), 1]
    assert all(lq.shape[1] * config.scale == gt.shape[1] for _, _, lq, gt in chosen)
    clean = chosen[-1]
    small = Image.open(tmp_path / "one.png").resize((96 // config.scale, 64 // config.scale), Image.Resampling.BICUBIC)
    assert torch.equal(clean[2], measure.to_tensor(small))
    assert torch.equal(clean[3], truth)
    plain = measure.means([measure.bicubic(pair[2], config.scale) for pair in chosen], chosen, config.scale)
    better = {name: (decibels + 0.5, similarity) for name, (decibels, similarity) in plain.items()}
    assert measure.margins([plain, better], plain, measure.SETS[1], 0, 2) == "+0.25 (+0.00 to +0.50)"


def test_what_ranks_exchange_is_what_closed_forms_give(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients once a step of two micro-batches, 4 bytes a parameter; pairs out and in; two numbers to agree."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    counting = importlib.import_module("scaling.counted")
    small = ("gt_size=16", "images.crop_size=24", "max_train_steps=3", "checkpoints.checkpointing_steps=3")
    config = tiny(GAME, *small, "validation=null", "batch.per_device=1")
    ranks = counting.ranks_of(2, config, tmp_path)
    rows, facts = {row.kind: row for row in counting.rows_of(ranks)}, ranks[0]
    assert facts["accumulation"] == 2
    for name, parameters in facts["parameters"].items():
        row = rows[f"gradients of {name}"]
        assert row.calls == 1
        assert (row.bytes, row.sent) == (4 * parameters, 4 * parameters)  # a ring of two sends it once
        steps = [one["step"] for one in facts["exchanges"] if one["kind"] == row.kind]
        assert sorted(set(steps)) == [0, 1, 2]
    assert rows["pool"].calls == 2
    assert rows["pool"].bytes == 2 * facts["row"] * facts["global_size"] / 2
    assert 0 < rows["pool"].sent < rows["pool"].bytes
    assert (rows["control"].calls, rows["control"].bytes) == (1, 16)
    assert rows["report"].calls == 3  # means, unreadable pictures, and the digest, which the tiny run asks for
    overlaps = {one.kind: one for one in counting.overlaps_of(ranks)}
    assert overlaps.keys() == {f"gradients of {name}" for name in facts["parameters"]}
    for name, parameters in facts["parameters"].items():
        assert sum(overlaps[f"gradients of {name}"].bytes) == 4 * parameters
        assert overlaps[f"gradients of {name}"].ready[-1] == 1


def test_the_model_of_many_gpus_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    counting, modelling = (importlib.import_module(f"scaling.{name}") for name in ("counted", "modelled"))
    machine = modelling.Machine(node_latency=0.0, hop_latency=0.0, host_hop=0.0)
    assert modelling.all_reduce(1e9, 1, machine) == 0
    assert modelling.all_reduce(1e9, 8, machine) == pytest.approx(2 * 7 / 8 * 1e9 / 300e9)
    over_nodes = modelling.all_reduce(1e9, 16, machine) - modelling.all_reduce(1e9, 8, machine)
    assert over_nodes == pytest.approx(1e9 / 8 / 40e9)
    late = counting.Overlap("any", [10**8, 10**8], [0.0, 1.0], 0.0)
    busy, exposed = modelling.exposed(late, 1.0, 8, machine)
    assert exposed == pytest.approx(busy / 2)  # the first is hidden, the last begins when all is computed
    work = modelling.Work(1e12, 100, [modelling.Network(late, 1e11)], 200_000, 10**8, 10**7)
    alone, many = (modelling.step_of(work, gpus, 12, machine) for gpus in (1, 64))
    assert alone.efficiency == 1
    assert alone.seconds == pytest.approx(12 / machine.tflops)
    assert 0 < many.efficiency < 1
    assert many.pool_bytes == pytest.approx(2 * 12 * 63 / 64 * 200_000)
    assert counting.hidden_share([(0, 1), (1, 2)]) == pytest.approx(1 / 2)
    assert counting.hidden_share([(0, 4), (1, 5), (4, 6)]) == pytest.approx(4 / 6)
