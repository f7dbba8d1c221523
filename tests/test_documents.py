"""The pages of the repository: links lead somewhere, and the map of trainer/ names what is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "configs", "degradations", "trainer")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
MAP = ROOT / "trainer" / "README.md"


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names under which GitHub finds a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), target


def test_the_newest_changes_are_those_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert next(section for section in sections if section != "Unreleased") == version


def test_where_is_names_files_that_hold_what_it_says() -> None:
    found = re.findall(r"\]\(([^)]+\.py)\): `([^`]+)`", MAP.read_text())
    assert len(found) >= 18
    for path, words in found:
        assert words in (MAP.parent / path).read_text(), f"{path} does not hold {words!r}"


def test_the_picture_of_a_photographs_way_names_modules_that_exist() -> None:
    picture = MAP.read_text().split("```")[1]
    for name in re.findall(r"[\w/]+(?:\.py|/(?=[\s,)]))", picture):
        assert any((folder / name).exists() for folder in (MAP.parent, ROOT)), name


@pytest.mark.usefixtures("fresh_accelerate")
def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    section = re.split(r"^## ", MAP.read_text(), flags=re.MULTILINE)
    python = next(part for part in section if part.startswith("Python"))
    blocks = re.findall(r"^```python\n(.*?)^```", python, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), str(MAP), "exec"), names := {"__name__": "page"})
    assert names["large"].size == (1804, 1200)
    made = sorted(file.name for file in tmp_path.iterdir())
    assert made == [
        "by_hand",
        "large.png",
        "mine.pth",
        "outputs",
        "validated",
    ]
    assert "validation/psnr" in capsys.readouterr().out
