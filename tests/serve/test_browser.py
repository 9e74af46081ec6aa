"""The page in a real browser: what is drawn is answered, by mouse, touch and keyboard, from a server and from a file."""

import http.client
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asking import RESULTS
from browser import CIRCLE, LINE, answered, chromium, draw, watched
from cli_helpers import command, environment, fphi, quietly
from waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RUN = RESULTS / "P-PROTO/prototypical"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of ``fphi serve``, which ends quietly after Ctrl-C."""
    process = subprocess.Popen(
        command("serve", RUN, "--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.communicate()[1]
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page in one file."""
    page: Path = tmp_path_factory.mktemp("page") / "page.html"
    quietly("export", RUN, "--html", page)
    assert page.stat().st_size < 1_000_000
    return page.as_uri()


@pytest.fixture(params=["server", "file"])
def address(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def draw_two_classes(page: "Page") -> None:
    """A is a circle, B a line."""
    draw(page, CIRCLE)
    page.get_by_role("button", name="Example 1 of class B, empty").click()
    draw(page, LINE)
    page.get_by_role("button", name="Question, empty").click()


def test_two_classes_and_a_question_are_drawn_and_answered(browser: "Browser", address: str) -> None:
    with watched(browser, address, color_scheme="dark") as seen:
        page = seen.page
        assert page.inner_text("#verdict") == "Draw an example of class A."
        draw_two_classes(page)
        draw(page, [(0.9 * y, x) for x, y in CIRCLE])
        assert re.fullmatch(r"It is A, \d+ %", answered(page))
        assert page.get_attribute("#verdict", "aria-live") == "polite"
        shares = [int(text.split()[0]) for text in page.locator("#bars .share").all_inner_texts()]
        assert shares[0] > 90
        assert sum(shares) in (99, 100, 101)
        assert page.locator("#bars .best").get_attribute("data-class") == "A"
        assert page.locator("#plane svg .example").count() == 2
        assert page.locator("#plane svg .question").count() == 1
        assert not page.locator("#steps").is_visible()
        page.get_by_role("button", name="Clear").click()
        assert page.inner_text("#verdict") == "Now draw a question."
        draw(page, [(x, y + 0.05) for x, y in LINE])
        assert re.fullmatch(r"It is B, \d+ %", answered(page))
        assert all(url.startswith((address.removesuffix("/"), "data:")) for url in seen.requests)


def test_undo_goes_back_one_stroke_and_one_clear(browser: "Browser", file: str) -> None:
    with watched(browser, file) as seen:
        page = seen.page
        strokes = "fphi_pad => document.getElementById('pad').getAttribute('aria-label')"
        draw(page, LINE)
        draw(page, CIRCLE)
        assert page.evaluate(strokes) == "Drawing pad, an example of A, 2 strokes"
        page.keyboard.press("c")
        assert page.evaluate(strokes) == "Drawing pad, an example of A, 0 strokes"
        page.keyboard.press("u")
        assert page.evaluate(strokes) == "Drawing pad, an example of A, 2 strokes"
        page.keyboard.press("Control+z")
        assert page.evaluate(strokes) == "Drawing pad, an example of A, 1 strokes"
        page.keyboard.press("u")
        assert page.locator("#undo").is_disabled()
        assert page.locator("#clear").is_disabled()


def test_everything_goes_by_keyboard(browser: "Browser", file: str) -> None:
    """Also drawing: a line down for A, one across for B, and a question like B."""
    with watched(browser, file) as seen:
        page = seen.page

        def line(key: str) -> None:
            page.keyboard.press("Space")
            for _ in range(4):
                page.keyboard.press(f"Shift+{key}")
            page.keyboard.press("Space")

        page.keyboard.press("d")
        line("ArrowDown")
        page.keyboard.press("n")
        line("ArrowUp")
        page.keyboard.press("u")
        line("ArrowRight")
        page.keyboard.press("n")
        line("ArrowLeft")
        assert re.fullmatch(r"It is B, \d+ %", answered(page))
        page.keyboard.press("a")
        assert page.inner_text("#verdict") == "Draw an example of class C."
        page.get_by_role("button", name="Remove class C").press("Enter")
        assert re.fullmatch(r"It is B, \d+ %", answered(page))
        page.get_by_role("button", name="Example 1 of class A").press("Delete")
        assert page.inner_text("#verdict") == "Draw an example of class A."
        page.keyboard.press("e")
        answered(page)
        assert page.locator("#classes > li").count() == 5
        page.keyboard.press("r")
        assert page.locator("#classes > li").count() == 2
        page.keyboard.press("?")
        page.get_by_label("single keys do this").uncheck()
        page.keyboard.press("a")
        assert page.locator("#classes > li").count() == 2


def test_it_is_drawn_by_finger_on_a_small_screen(browser: "Browser", file: str) -> None:
    screen = {"width": 390, "height": 844}
    with watched(browser, file, viewport=screen, has_touch=True, is_mobile=True) as seen:
        page = seen.page
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        devices = page.context.new_cdp_session(page)

        def finger(points: list[tuple[float, float]]) -> None:
            page.locator("#pad").scroll_into_view_if_needed()
            box = page.locator("#pad").bounding_box()
            assert box is not None
            kind = "touchStart"
            for x, y in points:
                place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                devices.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
                kind = "touchMove"
            devices.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        finger(list(CIRCLE))
        page.get_by_role("button", name="Next").click()
        finger(list(LINE))
        page.get_by_role("button", name="Next").click()
        finger([(x, y + 0.1) for x, y in LINE])
        assert re.fullmatch(r"It is B, \d+ %", answered(page))


def test_dropped_images_become_drawings(browser: "Browser", file: str, tmp_path: Path) -> None:
    """A dark bar on light paper, in a file, is the class of the bar that was drawn."""
    from PIL import Image, ImageDraw

    paper = Image.new("RGB", (300, 200), (235, 230, 220))
    ImageDraw.Draw(paper).line((40, 150, 260, 165), fill=(30, 30, 60), width=9)
    paper.save(tmp_path / "bar.jpg")
    (tmp_path / "no.png").write_text("no image")
    with watched(browser, file) as seen:
        page = seen.page
        draw_two_classes(page)
        page.set_input_files("#file", tmp_path / "bar.jpg")
        assert re.fullmatch(r"It is B, \d+ %", answered(page))
        page.set_input_files("#file", tmp_path / "no.png")
        page.wait_for_selector("#verdict.wrong")
        assert page.inner_text("#verdict") == "no.png is no image that the browser can read."


def test_every_control_has_a_name(browser: "Browser", file: str) -> None:
    with watched(browser, file) as seen:
        page = seen.page
        page.keyboard.press("e")
        answered(page)
        tree = page.locator("body").aria_snapshot()
        controls = re.findall(r"^\s*- (?:button|textbox|link|checkbox|application)\b.*$", tree, re.MULTILINE)
        assert len(controls) > 20
        assert [line for line in controls if '"' not in line] == []
        assert 'textbox "Name of class A"' in tree
        assert "status" in tree


def test_what_is_no_http_is_refused(server: str) -> None:
    for line in (
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"A" * 100_000 + b"\r\n\r\n",
    ):
        connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=PATIENCE)
        connection.connect()
        connection.sock.sendall(line)
        connection.sock.shutdown(1)
        with connection.sock.makefile("rb") as answer:
            status = answer.readline()
        assert status == b"" or re.match(rb"HTTP/1\.1 4\d\d ", status), status
        connection.close()


def test_a_taken_port_is_one_line(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = server.rpartition(":")[2]
    assert fphi("serve", RUN, "--port", port) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert (
        f"port {port} of 127.0.0.1 is not to be had (Address already in use); choose another --port" in errors
    )
