"""The page in a real browser: no complaint, no request, a slider that moves, charts that are read by keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, installed
from tests.trainer.report.test_page import HOSTILE, make, validated, with_views
from trainer.config.schema import RunConfig
from trainer.report.page import write_report

pytestmark = pytest.mark.skipif(installed() is None, reason="no browser is installed: apt-get install chromium")


@pytest.fixture
def browser(tiny: Callable[..., RunConfig], tmp_path: Path) -> Iterator[Browser]:
    """A browser with the page of a run open."""
    lines = [{"step": step, "training/loss": 1 / step} for step in range(1, 5)]
    folder = make(tiny(), *lines, validated(5, 26.5), validated(6, 26.25))
    with_views(folder, 5, HOSTILE, side=64)
    with_views(folder, 6, HOSTILE, side=64)
    page = write_report(folder)
    with Browser(tmp_path / "profile") as opened:
        opened.open(page.as_uri())
        yield opened
        assert opened.complaints == []
        assert opened.requests == [page.as_uri()]


def test_a_page_in_a_browser(browser: Browser) -> None:
    """One browser for all, for its start is what takes long."""
    one, style = "document.querySelector('.compare')", "getComputedStyle"
    assert browser.run(f"{one}.querySelector('h3').textContent") == HOSTILE
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")

    right = f"{style}({one}.querySelector('.pane.right')).clipPath"
    assert browser.run(right) == "inset(0px 0px 0px 50%)"
    browser.run(f"{one}.querySelector('.divide').focus()")
    browser.press("ArrowRight")
    assert browser.run(right) == "inset(0px 0px 0px 50.5%)"
    browser.press("End")
    assert browser.run(right) == "inset(0px 0px 0px 100%)"

    select = f"{one}.querySelector('select.left')"
    view = f"{select}.value = 3; {select}.dispatchEvent(new Event('change'))"
    browser.run(view)
    assert browser.run(f"{one}.querySelector('.pane.left img').alt") == f"{HOSTILE}: ground truth"

    browser.run(f"{one}.scrollIntoView()")
    place = (
        "(() => {{ const at = {0}.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; }})()"
    )
    x, y = browser.run(place.format(f"{one}.querySelector('.stage')"))
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    images = f"[...{one}.querySelectorAll('img')].map(image => image.style.transform)"
    transforms = set(browser.run(f"new Promise(done => setTimeout(() => done({images}), 200))"))
    assert len(transforms) == 1, "all views zoom alike"
    assert "scale(1)" not in transforms.pop()
    assert browser.run(f"{style}({one}.querySelector('img')).imageRendering") == "pixelated"

    chart = "[...document.querySelectorAll('.chart')].find(one => one.textContent.includes('Generator, weighted'))"
    browser.run(f"{chart}.querySelector('svg').focus()")
    browser.press("End")
    assert browser.run(f"{chart}.querySelector('output').textContent") == "step 4\nloss 0.25"
    browser.press("ArrowLeft")
    assert browser.run(f"{chart}.querySelector('output').textContent") == "step 3\nloss 0.33333"

    for dark in (False, True):
        browser.resize(400, 800, dark)
        assert browser.run("document.documentElement.scrollWidth") <= 400
        paper = browser.run(f"{style}(document.body).backgroundColor")
        assert (paper == "rgb(20, 23, 26)") == dark
