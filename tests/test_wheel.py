"""The wheel as it is built: packages, configurations, types, and the console script."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trainer.configs import KINDS

ROOT = Path(__file__).parents[1]
SHIPPED = "trainer/config/shipped/"


def tracked() -> list[str]:
    """The files of the checkout, new ones too, by their paths within it."""
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built without a network, by the setuptools that is here, from a copy: a build leaves folders behind."""
    pytest.importorskip("setuptools", minversion="77", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    wanted = (
        "trainer/",
        "degradations/",
        "configs/",
        "setup.py",
        "wildsr.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    )
    for name in tracked():
        if name.startswith(wanted):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, "dist"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next((folder / "dist").glob("wildsr-*.whl")))


def test_the_wheel_has_every_file_and_nothing_else_at_its_top(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"trainer", "degradations", "wildsr.py"}
    pages = (".md", ".png")
    files = {name for name in tracked() if name.startswith(("trainer/", "degradations/")) and not name.endswith(pages)}
    assert names - {name for name in names if name.startswith(SHIPPED)} == files | {"wildsr.py"}


def test_the_wheel_has_the_configurations_of_the_checkout(wheel: zipfile.ZipFile) -> None:
    files = [file for kind in KINDS for file in (ROOT / "configs").glob(kind)]
    shipped = {name: wheel.read(name) for name in wheel.namelist() if name.startswith(SHIPPED)}
    assert shipped == {SHIPPED + file.relative_to(ROOT / "configs").as_posix(): file.read_bytes() for file in files}


def test_the_wheel_installs_the_console_script(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert wheel.read(entry).decode().split() == ["[console_scripts]", "wildsr", "=", "wildsr:main"]
