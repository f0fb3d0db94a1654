"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.app.conftest import Served
from tests.helpers.inputs import make_image

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need Playwright (extra dev)")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE = 60_000  # ms, for a machine that is busy with other things

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="the page's tests need /usr/bin/chromium (Debian: chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, page: Served) -> Iterator[Callable[..., Page]]:
    """Open the page as a new visitor. In the end: nothing was asked of any other host, and no script failed."""
    contexts: list[Any] = []
    elsewhere: list[str] = []
    errors: list[str] = []

    def open_page(width: int = 1280, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("request", lambda request: elsewhere.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.address)
        playwright.expect(tab.locator("#paint")).to_be_enabled()
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert {url for url in elsewhere if not url.startswith((page.address, "blob:"))} == set()
    assert errors == []


def say(tab: Page, text: str) -> None:
    """Wait until the page's headline says something."""
    playwright.expect(tab.locator("#headline")).to_contain_text(text)


def start(tab: Page, quality: str) -> None:
    tab.get_by_role("radio", name=quality).check(force=True)
    tab.get_by_role("button", name="Paint", exact=True).click()


def paintings(tab: Page, count: int) -> list[bytes]:
    """Wait until the frame has shown that many different pictures; give what was to be seen of each."""
    seen: dict[str, bytes] = {}
    until = time.monotonic() + PATIENCE / 1000
    while len(seen) < count and time.monotonic() < until:
        source = tab.locator("#painting").get_attribute("src")
        if source and source not in seen:
            seen[source] = tab.locator("#canvas").screenshot()
        time.sleep(0.05)
    return list(seen.values())


def download(tab: Page) -> tuple[str, Image.Image]:
    with tab.expect_download() as expected:
        tab.get_by_role("link", name="Download PNG").click()
    return expected.value.suggested_filename, Image.open(io.BytesIO(Path(expected.value.path()).read_bytes()))


def test_upload_paint_watch_stop_download_go_on(visit: Callable[..., Page], tmp_path: Path) -> None:
    tab = visit()
    tab.get_by_label("Photo file").set_input_files(make_image(tmp_path / "me.png", 60, 40, seed=1))
    playwright.expect(tab.locator("#content-name")).to_have_text("me.png, 60×40")
    tab.get_by_role("button", name="Mosaic").click()
    start(tab, "Fine")
    assert len(set(paintings(tab, 2))) == 2
    tab.get_by_role("button", name="Stop here").click()
    say(tab, "Stopped")
    name, early = download(tab)
    assert name == "me-mosaic.png"
    assert early.size == (64, 43)
    tab.get_by_text("The same on the command line").click()
    playwright.expect(tab.locator("#command")).to_contain_text("nst fit --config configs/quality.yaml")
    playwright.expect(tab.locator("#command")).to_contain_text("--data.content me.png --data.style sample:mosaic")
    tab.reload()  # what there is, is still there
    say(tab, "Stopped")
    tab.get_by_role("button", name="Continue").click()
    say(tab, "Finished")
    _, late = download(tab)
    assert late.size == early.size
    assert late.tobytes() != early.tobytes()
    tab.get_by_role("button", name="Town").click()
    say(tab, "Ready")
    tab.get_by_role("button", name="me.png × mosaic, complete").click()  # it has not gone: it is in the list
    say(tab, "Finished")


def test_a_wrong_file_is_told_and_harms_nothing(visit: Callable[..., Page]) -> None:
    tab = visit()
    problem, content = tab.locator("#problem"), tab.get_by_label("Photo file")
    wrong = {"name": "<b>notes.txt", "mimeType": "text/plain", "buffer": b"dear diary"}
    content.set_input_files(wrong)
    playwright.expect(problem).to_contain_text("found something else or a damaged file in <b>notes.txt")
    content.set_input_files({**wrong, "name": "huge.png", "buffer": bytes(2_500_000)})
    playwright.expect(problem).to_contain_text("2 MB at most")
    playwright.expect(tab.locator("#content-name")).to_have_text("sample: town")
    start(tab, "Draft")
    playwright.expect(problem).to_be_hidden()
    say(tab, "Finished")


def test_two_visitors_at_once_on_a_screen_and_a_phone(visit: Callable[..., Page]) -> None:
    large, small = visit(), visit(390, 844)
    start(large, "Fine")
    start(small, "Draft")
    say(small, "Next in the queue")  # there is one device
    large.get_by_role("button", name="Stop here").click()
    for tab, word in ((large, "Stopped"), (small, "Finished")):
        say(tab, word)
        playwright.expect(tab.locator("#recent")).to_be_hidden()  # each has but the one picture
    of_large = large.evaluate("document.getElementById('download').href")
    assert large.request.get(of_large).status == 200
    assert small.request.get(of_large).status == 404
    assert small.evaluate("document.documentElement.scrollWidth") <= 390
    assert small.get_by_role("button", name="Paint", exact=True).is_visible()


def test_it_can_be_used_without_a_mouse_and_without_eyes(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.locator(".more summary").click()
    nameless = tab.evaluate("""() => [...document.querySelectorAll("button, input, select, a[href]")]
        .filter((one) => !one.hidden)
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.querySelector("img[alt]")))
        .map((one) => one.outerHTML)""")
    assert nameless == []
    reached = []
    for _ in range(25):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"size", "strength", "quality", "keep_colors", "brush", "start", "seed", "paint"} <= set(reached)
    assert tab.locator("#announcer").get_attribute("aria-live") == "polite"
