"""A headless Chromium for tests of pages; where there is none they are skipped, and say so."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["CIRCLE", "LINE", "Watched", "answered", "chromium", "draw", "watched"]

Points = Sequence[tuple[float, float]]

CIRCLE: Points = [(0.5 + 0.3 * math.cos(a / 4), 0.5 + 0.3 * math.sin(a / 4)) for a in range(26)]
LINE: Points = [(0.15, 0.45), (0.5, 0.5), (0.85, 0.52)]


@contextmanager
def chromium() -> "Iterator[Browser]":
    """The system's own, which is asked for nothing from elsewhere."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium to draw with: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=1000 * PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and all that went wrong on it."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, address: str) -> None:
        """Go there, and wait until the page can be drawn on."""
        self.page.goto(address)
        self.page.wait_for_selector("body[data-ready]")

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


@contextmanager
def watched(browser: "Browser", address: str, **settings: Any) -> Iterator[Watched]:
    """A page at an address, ready to draw on; at its end it must have had no errors."""
    context = browser.new_context(**settings)
    try:
        seen = Watched(context.new_page())
        seen.open(address)
        yield seen
        assert seen.errors == []
    finally:
        context.close()


def draw(page: "Page", points: Points) -> None:
    """One stroke on the pad, by pointer events of the mouse."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def answered(page: "Page") -> str:
    """What is answered, once it is."""
    page.wait_for_selector("body[data-state=answered]")
    return page.inner_text("#verdict")
