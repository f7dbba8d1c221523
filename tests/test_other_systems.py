"""Windows and macOS: what their Pythons lack is hidden here, and everything is imported and used but the training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainer.console import Unfailing
from trainer.networks.srvgg import SRVGGNetCompact

ROOT = Path(__file__).parents[1]
OPTIONS = ROOT / "tests/trainer/foreign_options/realesrgan_options.yml"

Said = tuple[Path, dict[str, tuple[int, str, str]]]

PROGRAM = '''
import contextlib, errno, importlib, io, json, multiprocessing.context, os, pkgutil, re, runpy, signal, sys
from pathlib import Path

WINDOWS = {
    os: "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK chown fchmod fork forkpty geteuid getgid getloadavg getuid killpg "
    "mkfifo nice posix_fadvise posix_fallocate pread pwrite register_at_fork sched_getaffinity setsid statvfs uname",
    signal: "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 SIG_BLOCK SIG_SETMASK "
    "SIG_UNBLOCK pthread_sigmask pthread_kill setitimer sigwait",
    multiprocessing.context: "ForkContext ForkServerContext",
    errno: "EREMOTEIO",
}
MACOS = {os: "sched_getaffinity posix_fadvise", errno: "EREMOTEIO"}


def ours():
    return {name for name in sys.modules if name.split(".")[0] in ("trainer", "degradations")}


def import_all():
    for package in ("trainer", "degradations"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__") and "fused" not in module.name:  # Triton is Linux's
                importlib.import_module(module.name)


@contextlib.contextmanager
def without(system, attributes, modules=()):
    """Hide attributes and modules, and forget what this project imported; at the end all is as before."""
    before = [(owner, name, getattr(owner, name)) for owner in attributes for name in attributes[owner].split()
              if hasattr(owner, name)]
    imported = {name: sys.modules.pop(name) for name in ours()}
    members = dict(signal.Signals._member_map_)
    hidden = {name: sys.modules.get(name) for name in modules}
    for owner, name, _ in before:
        delattr(owner, name)
        if owner is signal:
            signal.Signals._member_map_.pop(name, None)
    sys.modules.update(dict.fromkeys(modules))
    platform, sys.platform = sys.platform, system
    yield
    sys.platform = platform
    for owner, name, value in before:
        setattr(owner, name, value)
    signal.Signals._member_map_.update(members)
    for name, module in hidden.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module
    for name in ours():
        del sys.modules[name]
    sys.modules.update(imported)


def run(module, *arguments):
    """Status and texts of a program, as if it were a process of its own whose console knows Latin letters only."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        from trainer.console import guard

        guard()
        status = importlib.import_module(module).main([str(argument) for argument in arguments])
        sys.stdout.flush(), sys.stderr.flush()
    return status, *(stream.buffer.getvalue().decode("cp1252") for stream in (out, err))


folder, config, options = map(Path, sys.argv[1:])
import_all()  # what others wrote is imported while its system is whole
said = {}
with without("darwin", MACOS):
    import_all()
with without("win32", WINDOWS, ("fcntl", "resource", "termios", "pwd", "grp")):
    import_all()
    said["upscale"] = run("trainer.upscale.__main__", "--model", folder / "net.pth", "--input", folder / "in",
                          "--output", folder / "out")
    said["export"] = run("trainer.export.__main__", folder / "net", "--to", "safetensors,pth",
                         "--out", folder / "release")
    said["import_options"] = run("trainer.import_options", options, "--out", folder / "mine.yaml")
    said["preview"] = run("degradations.preview", folder / "in" / "picture.png", "--count", 1,
                          "--out", folder / "sheet.png")
    said["explain"] = run("trainer.run", "--explain")
    said["print"] = run("trainer.run", config, "--print")
    said["runs"] = run("trainer.runs", folder)
    said["train"] = run("trainer.run", config, f"output_dir={folder}")
print(json.dumps(said))
'''


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """The folder, and program -> status, standard output and standard error, as on Windows."""
    folder = tmp_path_factory.mktemp("windows")
    net = SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)
    net.save_pretrained(folder / "net")
    torch.save({"params": net.state_dict()}, folder / "net.pth")
    (folder / "in").mkdir()
    Image.new("RGB", (24, 20), (200, 100, 50)).save(folder / "in" / "picture.png")
    command = [sys.executable, "-c", PROGRAM, folder, ROOT / "tests/launch/tiny.yaml", OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_everything_but_training_works(said: Said) -> None:
    folder, programs = said
    assert {name: status for name, (status, _, _) in programs.items() if status} == {"train": 2}
    with Image.open(folder / "out" / "picture.png") as enlarged:
        assert enlarged.size == (48, 40)
    assert {file.name for file in (folder / "release").iterdir()} == {"2x-net.safetensors", "2x-net.pth", "2x-net.json"}
    assert "scale: 4" in (folder / "mine.yaml").read_text(encoding="utf-8")
    assert (folder / "sheet.png").stat().st_size
    assert programs["explain"][1].startswith("name: text; must be given")
    assert programs["print"][1].startswith("name: ")


def test_training_says_what_it_needs(said: Said) -> None:
    _, out, err = said[1]["train"]
    assert not out
    assert err.startswith("error: training needs Linux, such as WSL 2 ")
    assert err.count("\n") == 1


def test_a_windows_console_gets_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own encoding of bytes is not the stream's, so they are not written past it; what it lacks is escaped."""
    monkeypatch.setattr(sys, "platform", "win32")
    with (tmp_path / "console").open("w", encoding="cp1252") as stream:
        Unfailing(stream).write("×2 → σ\n")
    assert (tmp_path / "console").read_bytes().decode("cp1252") == "×2 \\u2192 \\u03c3\n"
