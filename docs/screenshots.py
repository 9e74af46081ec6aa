"""The pictures of docs/serve.md: ``python docs/screenshots.py`` draws on the page in a headless Chromium."""

import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs/images/serve"
PATIENCE = 120_000  # milliseconds

Stroke = Sequence[tuple[float, float]]


def arc(begin: float, end: float, wide: float = 0.32, high: float = 0.36) -> Stroke:
    """Part of an ellipse; angles are in turns, clockwise from the right."""
    steps = [begin + (end - begin) * k / 16 for k in range(17)]
    return [(0.5 + wide * math.cos(2 * math.pi * t), 0.5 + high * math.sin(2 * math.pi * t)) for t in steps]


def round_off(value: float) -> float:
    """Makes a square with round corners of a circle."""
    return math.copysign(abs(value) ** 0.6, value)


PICTURES: dict[str, list[Stroke]] = {
    "house": [
        [(0.25, 0.85), (0.25, 0.45), (0.5, 0.2), (0.75, 0.45), (0.75, 0.85), (0.25, 0.85)],
        [(0.45, 0.85), (0.45, 0.62), (0.58, 0.62), (0.58, 0.85)],
    ],
    "star": [
        [
            (0.5 + 0.36 * math.sin(0.8 * k * math.pi), 0.5 - 0.36 * math.cos(0.8 * k * math.pi))
            for k in range(6)
        ]
    ],
    "spiral": [
        [(0.5 + 0.03 * t * math.cos(t), 0.5 + 0.03 * t * math.sin(t)) for t in (k / 3 for k in range(40))]
    ],
    "fish": [
        [
            (0.8, 0.35),
            (0.62, 0.5),
            (0.4, 0.66),
            (0.2, 0.5),
            (0.4, 0.34),
            (0.62, 0.5),
            (0.8, 0.66),
            (0.8, 0.35),
        ],
        [(0.33, 0.46), (0.34, 0.47)],
    ],
}
FORMS: dict[str, list[Stroke]] = {
    "circle": [arc(0, 1, 0.33, 0.33)],
    "square": [[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)]],
    "triangle": [[(0.5, 0.18), (0.83, 0.78), (0.17, 0.78), (0.5, 0.18)]],
    "diamond": [[(0.5, 0.15), (0.8, 0.5), (0.5, 0.85), (0.2, 0.5), (0.5, 0.15)]],
    "heart": [
        [
            (0.5, 0.84),
            *arc(0.45, 1.0, 0.34, 0.2)[:8],
            (0.5, 0.4),
            *arc(0.55, 1.04, 0.34, 0.2)[8:],
            (0.5, 0.84),
        ]
    ],
}
QUESTION: list[Stroke] = [
    [
        (0.5 + 0.3 * round_off(math.cos(a)), 0.5 + 0.3 * round_off(math.sin(a)))
        for a in (math.pi * k / 12 for k in range(25))
    ]
]


def main() -> None:
    """Write the three pictures."""
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with served(ROOT / "results/P-PROTO/prototypical") as address:
            picture(browser, address, "prototypical.png", FORMS, QUESTION, examples=2)
        with served(ROOT / "results/P-MAML/maml") as address:
            picture(browser, address, "maml.png", PICTURES, PICTURES["fish"], dark=True)
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            run = ROOT / "results/P-PROTO/matching"
            words = [sys.executable, "-m", "fphi", "export", str(run), "--html", str(page)]
            subprocess.run(words, check=True, env=environment())
            picture(browser, page.as_uri(), "file.png", PICTURES, PICTURES["star"], width=400)
        browser.close()


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of a run's page."""
    words = [sys.executable, "-m", "fphi", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, "fphi serve gave no address"
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def picture(
    browser: Browser,
    address: str,
    name: str,
    shapes: dict[str, list[Stroke]],
    asked: Sequence[Stroke],
    *,
    dark: bool = False,
    width: int = 1280,
    examples: int = 1,
) -> None:
    """The page with some drawings, a question, and the answer."""
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    hand = random.Random(2)
    for number, (title, strokes) in enumerate(shapes.items()):
        while page.locator("#classes > li").count() <= number:
            page.locator("#add").click()
        page.get_by_label(f"Name of class {chr(65 + number)}").fill(title)
        for _ in range(examples):
            page.locator("#pad").focus()
            page.keyboard.press(str(number + 1))
            draw(page, strokes, hand)
    page.locator("#pad").focus()
    page.keyboard.press("q")
    draw(page, asked, hand)
    page.wait_for_selector("body[data-state=answered]")
    page.locator("footer").click(position={"x": 1, "y": 1})
    page.mouse.move(0, 0)
    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=OUT / name, full_page=True)
    context.close()
    Image.open(OUT / name).convert("RGB").quantize(128).save(OUT / name, optimize=True)
    print(OUT / name, (OUT / name).stat().st_size, "bytes")


def draw(page: Page, strokes: Sequence[Stroke], hand: random.Random) -> None:
    """Strokes by a hand that is not quite steady, each time another one."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    turn, wide, high = hand.uniform(-0.12, 0.12), hand.uniform(0.85, 1.1), hand.uniform(0.85, 1.1)
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            u, v = (
                wide * (x - 0.5) + hand.uniform(-0.012, 0.012),
                high * (y - 0.5) + hand.uniform(-0.012, 0.012),
            )
            u, v = u * math.cos(turn) - v * math.sin(turn), u * math.sin(turn) + v * math.cos(turn)
            page.mouse.move(
                box["x"] + (0.5 + u) * box["width"], box["y"] + (0.5 + v) * box["height"], steps=3
            )
            if number == 0:
                page.mouse.down()
        page.mouse.up()


if __name__ == "__main__":
    main()
