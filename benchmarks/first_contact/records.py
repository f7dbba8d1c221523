"""Parts 7 and 9: a world of one with NCCL and saves in the background; traces and caches to take away."""

import gzip
import os
import shutil
import tarfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile

from first_contact.measuring import profiled, synchronise
from first_contact.setting import GAN, Setting
from first_contact.trained import Trained, warm

LARGEST = 15 * 2**20
"""Bytes of a file that is to leave the machine."""


def world_of_one(setting: Setting) -> None:
    """Part 7: DDP, the exchange of the pool and a save in the background, in a world of one process."""
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    os.environ.update(place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())})
    if setting.tiny:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    batch = setting.sized(24, 4)
    size = (f"queue_size={setting.sized(96, 4)}", "checkpoints.background=true")
    trained = Trained(setting.config(GAN, batch, batch // 2, "world-of-one", *size))
    run, record = trained.run, setting.record
    wrapped = isinstance(run.model.generator.ddp, torch.nn.parallel.DistributedDataParallel)
    record.add("a world of one", "processes", right=wrapped and dist.is_initialized(), backend=dist.get_backend())
    exchange(setting)
    warm(trained, 2)
    run.saver.save()
    warm(trained, setting.sized(3, 1))
    run.saver.wait()
    record.add("a world of one", "a save beside the steps", right=run.saver.saved == 2)
    found = profiled(trained.step, setting.device)
    names = {name: count for name, (_, count) in found.kernels.items() if "nccl" in name.lower()}
    record.add("a world of one", "exchanges of a step", kernels=sum(names.values()), names=", ".join(names)[:120])
    trained.close()
    dist.destroy_process_group()
    record.add("a world of one", "the end of the group", right=not dist.is_initialized())


def free_port() -> int:
    """A port on which nothing listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def exchange(setting: Setting) -> None:
    """`all_to_all_single` of bytes in a group of its own, beside the main stream, with rows and with none."""
    group = dist.new_group()
    stream = torch.cuda.Stream() if setting.device.type == "cuda" else None
    for count in (7, 0):
        sent = torch.arange(count * 16, device=setting.device).to(torch.uint8).reshape(count, 16)
        got = torch.empty_like(sent)
        synchronise(setting.device)
        with torch.cuda.stream(stream):
            dist.all_to_all_single(got, sent, [count], [count], group=group)
        synchronise(setting.device)
        setting.record.add("a world of one", f"an exchange of {count} rows", right=torch.equal(got, sent))


def traces(setting: Setting) -> None:
    """Part 9: a trace of one step of the trainer, and the caches of compiled kernels as an archive."""
    batch = setting.sized(48, 2)
    trained = Trained(setting.config(GAN, batch, batch, "traced", f"queue_size={setting.sized(96, 4)}"))
    warm(trained, setting.sized(3, 1))
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if setting.device.type == "cuda" else [])
    with profile(activities=activities) as recorded:
        trained.step()
        synchronise(setting.device)
    raw, packed = setting.scratch / "trace.json", setting.out / "trace.json.gz"
    recorded.export_chrome_trace(str(raw))
    with raw.open("rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    kept(setting, packed)
    cache = Path(os.environ.get("TRITON_CACHE_DIR", Path.home() / ".triton" / "cache"))
    if setting.needs_cuda("the cache of Triton's kernels") or not cache.is_dir():
        return
    packed = setting.out / "triton-cache.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(cache, arcname=".", filter=lambda entry: None if entry.name.endswith(IR) else entry)
    kept(setting, packed)


IR = (".ttir", ".ttgir", ".llir", ".source")
"""Stages of a compilation that a later start does not read."""


def kept(setting: Setting, file: Path) -> None:
    """Record a file, or remove it where it is too large to leave the machine."""
    size = file.stat().st_size
    setting.record.add("files", file.name, MiB=size / 2**20, kept=size <= LARGEST)
    if size > LARGEST:
        file.unlink()
