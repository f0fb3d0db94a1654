"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from nst_lightning.app.limits import Limits
from tests.app.conftest import Served, served
from tests.helpers.inputs import make_image

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need Playwright (extra dev)")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[2] / "build" / "node_modules" / "axe-core" / "axe.min.js"  # .ci/run puts it there
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE = 60_000  # ms, for a machine that is busy with other things

pytestmark = [
    pytest.mark.slow,
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
    addresses = [page.address]

    def open_page(width: int = 1280, height: int = 900, address: str = page.address, **look: Any) -> Page:
        addresses.append(address)
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **look)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("request", lambda request: elsewhere.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(address)
        playwright.expect(tab.locator("#paint")).to_be_enabled()
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert {url for url in elsewhere if not url.startswith((*addresses, "blob:"))} == set()
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
            tab.locator("#painting").evaluate("image => image.decode()")  # until then the one before is shown
            seen[source] = tab.locator("#canvas").screenshot()
        time.sleep(0.05)
    return list(seen.values())


def download(tab: Page) -> tuple[str, Image.Image]:
    with tab.expect_download() as expected:
        tab.get_by_role("link", name="Download PNG").click()
    return expected.value.suggested_filename, Image.open(io.BytesIO(Path(expected.value.path()).read_bytes()))


def test_upload_paint_watch_stop_download_go_on(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(Limits(size=128), tmp_path / "server") as larger:  # which is not done before it was looked at
        tab = visit(address=larger.address)
        tab.get_by_label("Add a photo").set_input_files(make_image(tmp_path / "me.png", 60, 40, seed=1))
        playwright.expect(tab.locator("#content-name")).to_have_text("me.png, 60×40")
        tab.get_by_role("button", name="Mosaic").click()
        tab.locator(".more summary").click()
        tab.locator("#start").select_option("content")
        start(tab, "Fine")
        assert len(set(paintings(tab, 2))) == 2
        tab.get_by_role("button", name="Stop here").click()
        say(tab, "Stopped")
        name, early = download(tab)
        assert name == "me-mosaic.png"
        assert early.size == (128, 85)
        tab.get_by_text("The command, and numbers").click()
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
        say(tab, "Painted at once")
        tab.get_by_role("button", name="me.png × mosaic, complete").click()  # it has not gone: it is in the list
        say(tab, "Finished")
        playwright.expect(tab.locator("#content-name")).to_have_text("me.png, 60×40")  # nor what it was painted from
        tab.get_by_role("button", name="Time-lapse").click()
        playwright.expect(tab.locator("#painting")).to_have_attribute("src", re.compile("/frames/"))
        tab.get_by_role("button", name="Close").click()
        tab.get_by_role("button", name="Delete me.png × mosaic").click()
        playwright.expect(tab.locator("#recent")).to_be_hidden()


def test_an_answer_that_is_cut_off_is_none(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.evaluate("""() => {
        const real = window.fetch;
        window.fetch = async (...given) => {
            const answer = await real(...given);
            if (!String(given[0]).includes("api/instant")) return answer;
            window.fetch = real; // the next one is whole
            return {ok: true, json: () => Promise.reject(new DOMException("overtaken", "AbortError"))};
        };
    }""")
    with tab.expect_response("**/api/instant"):
        tab.get_by_role("button", name="Mosaic").click()
    tab.get_by_role("button", name="Woodcut").click()
    say(tab, "Painted at once")


def delay(tab: Page, path: str, milliseconds: int) -> None:
    """Let the page wait longer for what it asks of addresses that end like this."""
    tab.evaluate(
        """([path, milliseconds]) => {
            const real = window.fetch;
            window.fetch = async (...given) => {
                const answer = await real(...given);
                if (String(given[0]).endsWith(path)) await new Promise((resolve) => setTimeout(resolve, milliseconds));
                return answer;
            };
        }""",
        [path, milliseconds],
    )


def test_what_is_painted_at_once_comes_too_late_for_who_turned_to_another_picture(visit: Callable[..., Page]) -> None:
    tab = visit()
    shelf = tab.locator("#jobs li > button:first-child")
    for style in ("Mosaic", "Woodcut"):
        tab.get_by_role("button", name=style).click()
        at_once(tab)
        tab.get_by_role("button", name="Keep", exact=True).click()
        say(tab, "Kept")
    delay(tab, "api/instant", 600)
    for turn, word in ((shelf.first.click, "Kept"), (lambda: start(tab, "Draft"), "Finished")):
        tab.get_by_role("button", name="Still life").click()
        playwright.expect(tab.locator("#headline")).not_to_have_text("Kept")
        turn()
        say(tab, word)
        tab.wait_for_timeout(1000)
        playwright.expect(tab.locator("#headline")).to_have_text(word)
        playwright.expect(tab.locator("#keep")).to_be_hidden()
        playwright.expect(tab.locator("#download")).to_have_attribute("href", re.compile("api/jobs/"))
    tab.get_by_role("button", name="Town", exact=True).click()
    at_once(tab)
    delay(tab, "/keep", 600)  # nor is a job shown that is there after one has turned to another
    tab.get_by_role("button", name="Keep", exact=True).click()
    shelf.last.click()
    playwright.expect(shelf).to_have_count(4)
    playwright.expect(shelf.last).to_have_attribute("aria-current", "true")


def test_what_another_tab_deletes_and_paints_is_known(visit: Callable[..., Page]) -> None:
    tab = visit()
    start(tab, "Draft")
    say(tab, "Finished")
    other = tab.context.new_page()
    other.goto(tab.url)
    shelves = [each.locator("#jobs li") for each in (tab, other)]
    playwright.expect(shelves[1]).to_have_count(1)
    start(tab, "Draft")
    say(tab, "Finished")
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    playwright.expect(shelves[1]).to_have_count(2)
    playwright.expect(tab.get_by_role("button", name="town × starry, complete")).to_have_count(2)
    id = tab.locator("#jobs img").first.evaluate("(image) => image.src.split('/').at(-2)")
    assert tab.request.post(f"{tab.url}api/jobs/{id}/delete", headers={"origin": tab.url.rstrip("/")}).status == 200
    for left in (1, 0):  # of the first no tab was told: it is gone, and that is what was wanted
        shelves[0].first.locator(".remove").click()
        for shelf in shelves:
            playwright.expect(shelf).to_have_count(left)
    playwright.expect(tab.locator("#problem")).to_be_hidden()


def test_a_file_that_is_brought_twice_is_one_picture(visit: Callable[..., Page], tmp_path: Path) -> None:
    tab = visit()
    file = make_image(tmp_path / "it.png", 60, 40, seed=2)
    bring, own = tab.get_by_label("Add a style"), tab.locator("#style-tiles button[title='It.png']")
    for _ in range(2):
        bring.set_input_files(file)
    playwright.expect(tab.locator("#style-name")).to_have_text("it.png, 60×40")
    tab.reload()
    tab.locator("#blend").check()
    tab.get_by_role("button", name="Mosaic").click()
    bring.set_input_files(file)
    at_once(tab)
    playwright.expect(tab.locator("#style-name")).to_have_text("it.png, 60×40 + sample: mosaic")  # it is not taken out
    playwright.expect(own).to_have_count(1)
    (tmp_path / "other").mkdir()
    bring.set_input_files(make_image(tmp_path / "other/it.png", 60, 40, seed=3))  # another one of that name
    playwright.expect(own).to_have_count(2)


def test_what_was_brought_does_not_depend_on_its_file_and_one_that_cannot_be_read_is_named(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    with served(SMALL, tmp_path / "one") as first:
        tab = visit(address=first.address)
        bring_style(tab, tmp_path)
        (tmp_path / "it.png").unlink()
        bring = tab.get_by_label("Add a photo")
        assert bring.input_value() == ""  # the same file can be chosen again
        whole = "Blob.prototype.arrayBuffer"
        fails = "() => Promise.reject(new DOMException('', 'NotReadableError'))"
        tab.evaluate(f"() => {{ window.whole = {whole}; {whole} = {fails}; }}")
        bring.set_input_files(make_image(tmp_path / "me.png", 60, 40, seed=1))
        playwright.expect(tab.locator("#problem")).to_contain_text("The file me.png can’t be read: it was changed")
        playwright.expect(tab.locator("#lost")).to_be_hidden()  # it is no fault of the server's
        tab.evaluate(f"() => {{ {whole} = window.whole; }}")
        bring.set_input_files(tmp_path / "me.png")
        playwright.expect(tab.locator("#content-name")).to_have_text("me.png, 60×40")
        playwright.expect(tab.locator("#problem")).to_be_hidden()
        (tmp_path / "me.png").unlink()
        at_once(tab)
    with next_program(tab, first, tmp_path):
        at_once(tab)
        playwright.expect(tab.locator("#style-name")).to_have_text("it.png, 60×40")
        playwright.expect(tab.locator("#content-name")).to_have_text("me.png, 60×40")
        playwright.expect(tab.locator("#problem")).to_be_hidden()


def test_a_wrong_file_is_told_and_harms_nothing(visit: Callable[..., Page]) -> None:
    tab = visit()
    problem, content = tab.locator("#problem"), tab.get_by_label("Add a photo")
    wrong = {"name": "<b>notes.txt", "mimeType": "text/plain", "buffer": b"dear diary"}
    content.set_input_files(wrong)
    playwright.expect(problem).to_contain_text("found something else or a damaged file in <b>notes.txt")
    content.set_input_files({**wrong, "name": "huge.png", "buffer": bytes(2_500_000)})
    playwright.expect(problem).to_have_text("The file huge.png has 3 MB; a picture’s file may have 2 MB at most.")
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
        playwright.expect(tab.locator("#jobs li")).to_have_count(1)
    of_large = large.evaluate("document.getElementById('download').href")
    assert large.request.get(of_large).status == 200
    assert small.request.get(of_large).status == 404
    assert small.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_can_be_used_without_a_mouse_and_without_eyes(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.locator(".more summary").click()
    nameless = tab.evaluate("""() => [...document.querySelectorAll("button, input, select, a[href]")]
        .filter((one) => !one.hidden)
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.querySelector("img[alt]")))
        .filter((one) => !one.ariaLabel)
        .map((one) => one.outerHTML)""")
    assert nameless == []
    reached = []
    for _ in range(45):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"size", "strength", "quality", "keep_colors", "brush", "start", "seed", "paint"} <= set(reached)
    assert {"divider", "full", "content-file", "style-file", "blend", "brush-open"} <= set(reached)
    tab.locator("#divider").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#divider").get_attribute("aria-valuenow") == "55"
    before = tab.locator("#painting").evaluate("image => image.style.clipPath")
    tab.keyboard.press("Home")
    assert tab.locator("#painting").evaluate("image => image.style.clipPath") != before
    assert tab.locator("#announcer").get_attribute("aria-live") == "polite"


def test_letters_act_on_the_picture_where_the_focus_is_there(visit: Callable[..., Page]) -> None:
    tab = visit()
    stage = tab.locator("#stage")
    whole = stage.evaluate("stage => getComputedStyle(stage).transform")
    tab.locator("#paint").focus()
    tab.keyboard.press("+")
    assert stage.evaluate("stage => getComputedStyle(stage).transform") == whole
    tab.locator("#canvas").click(position={"x": 20, "y": 20})
    tab.keyboard.press("+")
    assert stage.evaluate("stage => getComputedStyle(stage).transform") != whole
    tab.keyboard.press("0")
    assert stage.evaluate("stage => getComputedStyle(stage).transform") == whole


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (768, 1024), (390, 844), (640, 400)])
def test_paint_is_always_in_view(visit: Callable[..., Page], width: int, height: int) -> None:
    tab = visit(width, height)
    playwright.expect(tab.locator("#painting")).to_have_attribute("src", "first_look.jpg")
    for place in ("0", "document.documentElement.scrollHeight"):
        tab.evaluate(f"scrollTo(0, {place})")
        box = tab.get_by_role("button", name="Paint", exact=True).bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert "about" in tab.locator("#estimate").inner_text()


def at_once(tab: Page, before: str | None = None) -> str:
    """Wait for what is painted at once, another one than before; return its address."""
    say(tab, "Painted at once")
    painting = tab.locator("#painting")
    playwright.expect(painting).to_have_attribute("src", re.compile("api/instant/"))
    if before is not None:
        playwright.expect(painting).not_to_have_attribute("src", before)
    playwright.expect(tab.locator("#download")).to_be_visible()
    return str(painting.get_attribute("src"))


def bring_style(tab: Page, folder: Path) -> str:
    """Bring a painting; return the address of what is painted at once in its style."""
    tab.get_by_label("Add a style").set_input_files(make_image(folder / "it.png", 60, 40, seed=2))
    return at_once(tab)


SMALL = Limits(size=64)


@contextmanager
def next_program(tab: Page, first: Served, folder: Path) -> Iterator[None]:
    """Wait until the page says that its program has ended, start the next one, and wait until the page knows."""
    playwright.expect(tab.locator("#lost")).to_contain_text("has ended", timeout=5000)
    with served(SMALL, folder / "two", first.port):
        playwright.expect(tab.locator("#lost")).to_be_hidden()
        yield


def test_any_painting_is_painted_at_once_again_while_the_slider_is_moved_and_refined(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    tab = visit()
    first = bring_style(tab, tmp_path)
    strong = tab.locator("#canvas").screenshot()
    slider = tab.locator("#strength")
    for value in ("-1", "-2", "-3"):
        slider.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)
    slider.dispatch_event("change")
    at_once(tab, first)
    playwright.expect(tab.locator("#command")).to_contain_text("--model.strength 0.125")
    assert tab.locator("#canvas").screenshot() != strong
    assert download(tab)[0] == "town-it.png"
    tab.get_by_role("button", name="Keep", exact=True).click()
    say(tab, "Kept")
    tab.get_by_role("button", name="Mosaic").click()
    at_once(tab)
    tab.get_by_role("button", name="town × it.png, complete").click()  # with its settings
    playwright.expect(tab.locator("#style-name")).to_have_text("it.png, 60×40")
    assert slider.input_value() == "-3"
    start(tab, "Draft")  # goes on from that
    say(tab, "Finished")
    playwright.expect(tab.locator("#command")).to_contain_text("--data.init painted/town.png")


def test_styles_are_blended_and_brushed(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.locator("#blend").check()
    tab.get_by_role("button", name="Woodcut").click()
    weights = tab.locator("#weights input")
    playwright.expect(weights).to_have_count(2)
    weights.nth(1).evaluate("input => { input.value = 3; input.dispatchEvent(new Event('input')); }")
    weights.nth(1).dispatch_event("change")
    at_once(tab)
    playwright.expect(tab.locator("#command")).to_contain_text("--data.style_weights '[1, 3]'")
    tab.get_by_role("button", name="Brush", exact=True).click()
    tab.locator("#brushes").get_by_role("radio", name="woodcut").check(force=True)
    box = tab.locator("#mask").bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + 40, box["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    tab.mouse.up()
    tab.get_by_role("button", name="Done").click()
    playwright.expect(tab.locator("#start")).to_have_value("content")  # with masks nothing starts from one pass
    playwright.expect(tab.locator("#start option[value=instant]")).to_have_attribute("disabled", "")
    tab.get_by_role("button", name="Still life").click()
    playwright.expect(tab.locator("#start")).to_have_value("instant")
    tab.get_by_role("button", name="Town", exact=True).click()
    playwright.expect(tab.locator("#start")).to_have_value("content")
    tab.reload()  # what was brushed is still there
    playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")
    tab.get_by_role("button", name="Still life").click()  # which nobody has brushed over
    playwright.expect(tab.locator("#mask-state")).to_have_text("")
    tab.get_by_role("button", name="Town", exact=True).click()
    playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")
    start(tab, "Draft")
    say(tab, "Finished")
    playwright.expect(tab.locator("#command")).to_contain_text("--data.guides")
    mask = tab.request.get(str(tab.locator("#masks-note a").nth(1).evaluate("link => link.href")))
    pixels = Image.open(io.BytesIO(mask.body())).convert("L")
    assert pixels.getpixel((pixels.width // 4, pixels.height // 4)) == 255
    assert pixels.getpixel((pixels.width - 9, pixels.height - 9)) == 0
    assert Image.open(io.BytesIO(mask.body())).size == (512, 384)


def test_what_was_brushed_is_kept_for_the_next_program(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(SMALL, tmp_path / "one") as first:
        tab = visit(address=first.address)
        tab.locator("#blend").check()
        bring_style(tab, tmp_path)
        tab.get_by_role("button", name="Brush", exact=True).click()
        tab.locator("#brushes").get_by_role("radio", name="it.png").check(force=True)
        tab.get_by_role("button", name="Fill").click()
        tab.get_by_role("button", name="Paint", exact=True).click()
        playwright.expect(tab.locator("#problem")).to_contain_text("Nothing is left for starry: clear some")
        tab.get_by_role("button", name="Clear").click()
        box = tab.locator("#mask").bounding_box()
        assert box is not None
        tab.mouse.click(box["x"] + 40, box["y"] + 40)
        tab.get_by_role("button", name="Done").click()
        playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")
        tab.get_by_label("Add a photo").set_input_files(make_image(tmp_path / "me.png", 60, 40, seed=1))
        playwright.expect(tab.locator("#mask-state")).to_have_text("")
        tab.get_by_role("button", name="Brush", exact=True).click()
        tab.locator("#brushes").get_by_role("radio", name="it.png").check(force=True)
        tab.locator("#mask").click(position={"x": 40, "y": 40})
        start(tab, "Draft")
        say(tab, "Finished")
        tab.wait_for_timeout(500)  # the copies come
    playwright.expect(tab.locator("#lost")).to_contain_text("has ended", timeout=5000)
    with served(SMALL, tmp_path / "two", first.port):
        delay(tab, "api/pictures", 1500)
        playwright.expect(tab.locator("#lost")).to_be_hidden()
        for _ in range(2):  # before the photo is there, and when it has another number there
            tab.get_by_role("button", name="Town", exact=True).click()
            tab.get_by_role("button", name="me.png × starry × it.png, complete").click()
            playwright.expect(tab.locator("#content-name")).to_have_text("me.png, 60×40")
            playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")
            tab.get_by_role("button", name="Paint", exact=True).click()
            playwright.expect(tab.locator("#command")).to_contain_text("--data.content me.png")
            playwright.expect(tab.locator("#command")).to_contain_text("--data.guides")
            tab.get_by_role("button", name=re.compile("Cancel|Stop here")).click()
            say(tab, "Stopped")
        tab.get_by_role("button", name="Town", exact=True).click()
        start(tab, "Draft")  # in the style that has another number there
        say(tab, "Finished")
        playwright.expect(tab.locator("#command")).to_contain_text("--data.guides")


def test_the_brush_is_used_by_keyboard_and_on_a_phone_and_comes_back_with_a_picture(
    visit: Callable[..., Page],
) -> None:
    tab = visit(390, 844)
    tab.locator("#blend").check()
    tab.get_by_role("button", name="Woodcut").click()
    at_once(tab)
    tab.get_by_role("button", name="Brush", exact=True).press("Enter")
    for seen in ("#mask", "#brushes"):
        playwright.expect(tab.locator(seen)).to_be_in_viewport(ratio=1)
    tab.locator("#brushes").get_by_role("radio", name="woodcut").press("Space")
    mask = tab.locator("#mask")
    mask.focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Space"):
        tab.keyboard.press(key)
    playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")
    mask.press("Escape")
    playwright.expect(tab.locator("#brushes")).to_be_hidden()
    playwright.expect(tab.locator("#brush-open")).to_be_focused()
    playwright.expect(tab.locator("#brush-open")).to_be_in_viewport(ratio=1)
    start(tab, "Draft")
    say(tab, "Finished")
    playwright.expect(tab.locator("#frame")).to_be_in_viewport(ratio=0.9)
    sent = tab.request.get(str(tab.locator("#masks-note a").nth(1).evaluate("link => link.href")))
    pixels = Image.open(io.BytesIO(sent.body())).convert("L")
    x, y = round(256 - 0.04 * 512), round(192 - 2 * 0.04 * 512)  # half of the brush's width at a time
    assert pixels.getpixel((x, y)) == pixels.getpixel((x - 15, y)) == pixels.getpixel((x, y + 15)) == 255
    assert pixels.getpixel((x - 25, y)) == pixels.getpixel((x, y + 25)) == 0
    tab.get_by_role("button", name="Still life").click()
    at_once(tab)
    tab.locator("#jobs button").first.click()
    playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")
    tab.reload()
    playwright.expect(tab.locator("#mask-state")).to_have_text("brushed")


def test_the_picture_is_brought_into_view_whatever_happens_on_the_way(visit: Callable[..., Page]) -> None:
    tab = visit(390, 844)
    playwright.expect(tab.locator("#paint")).to_be_enabled()
    scroll = """async () => {
        const { bringIntoView } = await import("./viewer.js");
        const end = () => new Promise((done) => addEventListener("scrollend", done, { once: true }));
        scrollTo({ top: 700, behavior: "instant" });
        bringIntoView();
        while (scrollY > 600) await new Promise(requestAnimationFrame);
        const ended = end();
        HAPPENS;
        await ended;
        for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
        return document.getElementById("frame").getBoundingClientRect().top;
    }"""

    def top_after(happens: str) -> float:
        return float(tab.evaluate(scroll.replace("HAPPENS", happens)))

    assert abs(top_after("")) <= 1
    assert abs(top_after("scrollTo({ top: scrollY, behavior: 'instant' })")) <= 1
    notice = "Object.assign(document.getElementById('lost'), { hidden: false, textContent: 'A notice' })"
    assert abs(top_after(notice)) <= 1
    turned = "dispatchEvent(new WheelEvent('wheel')), scrollTo({ top: 500, behavior: 'instant' })"
    assert top_after(turned) < -300  # the visitor's own scrolling stays


def test_a_painting_is_painted_larger_in_two_sizes(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(Limits(size=2048), tmp_path / "server") as page:
        tab = visit(address=page.address)
        tab.get_by_role("radio", name="256").check(force=True)
        at_once(tab)
        tab.get_by_role("button", name="Keep", exact=True).click()
        say(tab, "Kept")
        small = tab.get_by_role("button", name="town × starry, complete").last  # the earliest
        for size in (1024, 2048):
            tab.get_by_role("button", name=f"Paint this larger: {size}").click()
            playwright.expect(tab.locator("#command")).to_contain_text(f"--data.size {size}")
            say(tab, "Finished")
            assert download(tab)[1].size == (size, size * 3 // 4)
            small.click()
            say(tab, "Kept")


def test_what_was_brought_before_the_page_was_loaded_is_brought_to_the_next_program(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    with served(SMALL, tmp_path / "one") as first:
        tab = visit(address=first.address)
        bring_style(tab, tmp_path)
        with tab.expect_response(re.compile("/file$")) as answer:
            tab.reload()
        answer.value.finished()
        tab.wait_for_timeout(500)
    with next_program(tab, first, tmp_path):
        playwright.expect(tab.locator("#style-name")).to_have_text("it.png, 60×40")
        playwright.expect(tab.locator("#problem")).to_be_hidden()
        tab.get_by_role("button", name="Still life").click()
        at_once(tab)
        playwright.expect(tab.locator("#command")).to_contain_text("--data.style it.png")


def test_when_the_program_has_ended_the_page_says_so_and_goes_on_with_the_next(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    with served(SMALL, tmp_path / "one") as first:
        tab = visit(address=first.address)
        bring_style(tab, tmp_path)
        tab.get_by_role("button", name="Keep", exact=True).click()
        say(tab, "Kept")
        playwright.expect(tab.locator("#lost")).to_be_hidden()
        tab.wait_for_timeout(1000)  # the copies come
    playwright.expect(tab.locator("#lost")).to_contain_text("has ended", timeout=5000)
    playwright.expect(tab.get_by_role("button", name="Paint", exact=True)).to_be_disabled()
    tab.set_viewport_size({"width": 390, "height": 844})
    for place in (0, 10_000):  # wherever on a phone's page one is
        tab.mouse.wheel(0, place)
        playwright.expect(tab.locator("#lost")).to_be_in_viewport(ratio=1)
    assert tab.locator("#painting").evaluate("image => image.naturalWidth") == 64
    assert download(tab)[1].size == (64, 48)
    with next_program(tab, first, tmp_path):
        name, picture = download(tab)  # of what the first had painted
        assert (name, picture.size) == ("town-it.png", (64, 48))
        tab.get_by_role("button", name="Still life").click()
        at_once(tab)  # in the style that was brought to the first
        assert download(tab)[0] == "still-life-it.png"


LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "forced colors": {"forced_colors": "active"},
    "forced colors, dark": {"forced_colors": "active", "color_scheme": "dark"},
}


def check_by_axe(tab: Page, screen: str) -> None:
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("axe.run()")["violations"]
    told = [(each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found]
    assert not told, screen


@pytest.mark.skipif(not AXE.exists(), reason="npm install --no-save --prefix build axe-core")
@pytest.mark.parametrize(
    ("look", "width", "height"),
    [
        ("light", 1280, 800),
        ("dark", 390, 844),
        ("dark", 768, 1024),
        ("forced colors", 1280, 800),
        ("forced colors, dark", 390, 844),
    ],
)
def test_axe_finds_nothing_on_any_screen(visit: Callable[..., Page], look: str, width: int, height: int) -> None:
    tab = visit(width, height, bypass_csp=True, reduced_motion="reduce", **LOOKS[look])
    check_by_axe(tab, "first look")
    tab.locator("#blend").check()
    tab.get_by_role("button", name="Mosaic").click()
    at_once(tab)
    tab.locator(".more summary").click()
    check_by_axe(tab, "painted at once")
    tab.get_by_role("button", name="Brush", exact=True).click()
    tab.locator("#brushes").get_by_role("radio", name="mosaic").check(force=True)
    check_by_axe(tab, "brush")
    tab.get_by_role("button", name="Done").click()
    tab.get_by_label("Add a photo").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"})
    playwright.expect(tab.locator("#problem")).to_be_visible()
    check_by_axe(tab, "problem")
    start(tab, "Draft")
    say(tab, "Painting")
    check_by_axe(tab, "painting")
    say(tab, "Finished")
    tab.get_by_text("The command, and numbers").click()
    tab.get_by_role("button", name="Time-lapse").click()
    playwright.expect(tab.locator("#lapse-save a").first).to_be_visible()
    check_by_axe(tab, "finished")


@pytest.mark.parametrize("look", LOOKS)
def test_what_is_chosen_can_be_read_in_any_colors(visit: Callable[..., Page], look: str) -> None:
    tab = visit(**LOOKS[look])
    tab.get_by_role("button", name="Brush", exact=True).click()
    for chosen in ("#sizes input:checked + span", "[name=quality]:checked + span", ".chips input:checked + span"):
        ink, paper = tab.locator(chosen).evaluate(
            """(one) => {
                const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
                const seen = [getComputedStyle(document.body).backgroundColor];
                const parents = [];
                for (let at = one; at; at = at.parentElement) parents.unshift(at);
                for (const at of parents) seen.push(getComputedStyle(at).backgroundColor);
                const mix = (colors) => {
                    for (const color of colors) { paint.fillStyle = color; paint.fillRect(0, 0, 1, 1); }
                    return [...paint.getImageData(0, 0, 1, 1).data];
                };
                return [mix([...seen, getComputedStyle(one).color]), mix(seen)];
            }"""
        )
        assert contrast(ink[:3], paper[:3]) >= 4.5, chosen


def contrast(*colors: list[int]) -> float:
    """Contrast ratio of two colors of sRGB, 0 to 255 (WCAG 2.2)."""

    def luminance(color: list[int]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in color)]
        return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, colors))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (320, 700), (640, 400)])  # the last: 200 %
def test_all_that_can_be_clicked_is_large_enough(visit: Callable[..., Page], width: int, height: int) -> None:
    tab = visit(width, height)
    tab.get_by_role("button", name="Mosaic").click()
    at_once(tab)
    tab.locator(".more summary").click()
    tab.get_by_text("The command, and numbers").click()
    tab.get_by_role("button", name="Brush", exact=True).click()
    small = tab.evaluate("""() => [...document.querySelectorAll("button, input, select, a[href], summary")]
        .filter((one) => one.checkVisibility())
        .map((one) => (["radio", "checkbox", "file"].includes(one.type) ? one.labels[0] : one))
        .map((one) => [one.outerHTML, one.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24)
        .map(([html]) => html)""")
    assert small == []  # WCAG 2.2, 2.5.8
    outside = tab.evaluate("""() => {
        const edge = document.getElementById("controls").getBoundingClientRect().right;
        const all = [...document.querySelectorAll("#settings *")];
        return all.filter((one) => one.getBoundingClientRect().right > edge).map((one) => one.outerHTML);
    }""")
    assert outside == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_is_light_and_nothing_holds_it_up(browser: Browser, page: Served) -> None:
    context = browser.new_context()
    tab = context.new_page()
    answers: list[Any] = []
    tab.on("response", lambda answer: answers.append(answer))
    tab.goto(page.address, wait_until="networkidle")
    playwright.expect(tab.locator("#paint")).to_be_enabled()
    bodies = {answer.url.removeprefix(page.address): len(answer.body()) for answer in answers}
    assert len(bodies) <= 30
    assert sum(bodies.values()) < 600_000, bodies
    assert all(answer.status == 200 for answer in answers)
    head = tab.locator("head")
    assert head.locator("script:not([type=module]):not([async]):not([defer])").count() == 0
    assert tab.locator("html").get_attribute("lang") == "en"
    assert tab.title() == "Paint a photo"
    assert tab.locator("h1").count() == tab.locator("main").count() == 1
    shift = tab.evaluate("""() => new Promise((resolve) => new PerformanceObserver((list) => resolve(
        list.getEntries().reduce((sum, each) => sum + each.value, 0))).observe({ type: "layout-shift", buffered: true })
        || setTimeout(() => resolve(0), 500))""")
    assert shift < 0.1
    context.close()


def test_a_photo_that_is_too_large_is_made_smaller_before_it_is_sent(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    tab = visit()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (3000, 2000), "#4080c0").save(tmp_path / "phone.jpg", exif=exif)
    tab.get_by_label("Add a photo").set_input_files(tmp_path / "phone.jpg")
    name = tab.locator("#content-name")
    playwright.expect(name).to_contain_text("phone.jpg, sent as")  # 4 megapixels are the most that is taken here
    width, height = map(int, name.inner_text().rpartition(" ")[2].split("×"))
    assert 3_900_000 < width * height <= 4_000_000
    assert width / height == pytest.approx(2 / 3, rel=0.002)
    start(tab, "Draft")
    say(tab, "Finished")
    assert download(tab)[1].size == (43, 64)


def test_a_complaint_stays_until_something_is_done_about_it(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.get_by_label("Add a photo").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"})
    playwright.expect(tab.locator("#problem")).to_contain_text("a.txt")
    slider = tab.locator("#strength")
    slider.evaluate("(slider) => { slider.value = 1; slider.dispatchEvent(new Event('change')); }")
    at_once(tab)  # by itself, which is no answer
    playwright.expect(tab.locator("#problem")).to_be_visible()
    tab.get_by_role("button", name="Still life").click()
    playwright.expect(tab.locator("#problem")).to_be_hidden()


def test_a_command_is_broken_between_words_and_copied_as_it_is(visit: Callable[..., Page]) -> None:
    tab = visit(390, 844)
    tab.locator("#blend").check()
    tab.get_by_role("button", name="Woodcut").click()
    at_once(tab)
    tab.get_by_text("The command, and numbers").click()
    code = tab.locator("#command")
    assert "--data.style \"['sample:starry', 'sample:woodcut']\"" in str(code.text_content())
    broken = code.evaluate(
        "(code) => [...code.querySelectorAll('.whole')].filter((one) => one.getClientRects().length > 1)"
    )
    assert broken == []
    selected = code.evaluate("(code) => { getSelection().selectAllChildren(code); return getSelection().toString(); }")
    assert selected == code.text_content()
    assert code.evaluate("(code) => code.scrollWidth <= code.clientWidth")


def test_the_time_lapse_is_saved(visit: Callable[..., Page]) -> None:
    pytest.importorskip("av")
    tab = visit()
    start(tab, "Draft")
    say(tab, "Finished")
    tab.get_by_role("button", name="Time-lapse").click()
    for link, format in (("WebP", "WEBP"), ("GIF", "GIF")):
        with tab.expect_download() as expected:
            tab.get_by_role("link", name=link, exact=True).click()
        assert expected.value.suggested_filename == f"town-starry-time-lapse.{format.lower()}"
        lapse = Image.open(expected.value.path())
        assert (lapse.format, lapse.size) == (format, (64, 48))
        assert lapse.n_frames > 3  # type: ignore[attr-defined]
    with tab.expect_download() as expected:
        tab.get_by_role("link", name="MP4", exact=True).click()
    assert Path(expected.value.path()).read_bytes()[4:8] == b"ftyp"


def test_two_tabs_paint_at_once_and_each_keeps_and_downloads_what_it_shows(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.get_by_role("button", name="Mosaic").click()
    at_once(tab)
    other = tab.context.new_page()
    other.goto(tab.url)
    other.get_by_role("button", name="Still life").click()
    at_once(other)
    assert [download(each)[0] for each in (tab, other)] == ["town-mosaic.png", "still-life-mosaic.png"]
    assert download(tab)[1].tobytes() != download(other)[1].tobytes()
    tab.get_by_role("button", name="Keep", exact=True).click()
    say(tab, "Kept")
    playwright.expect(tab.get_by_role("button", name="town × mosaic, complete")).to_have_count(1)


def an_hour_later(page: Served) -> None:
    """Delete what an hour without use deletes, while the page is open."""
    later = time.monotonic() + 4000
    for session in page.state.sessions._sessions.values():
        session.seen = later
    page.state.sessions.sweep(later)


def test_what_the_server_has_deleted_after_an_hour_is_sent_again(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(SMALL, tmp_path / "server") as page:
        tab = visit(address=page.address)
        bring_style(tab, tmp_path)
        tab.get_by_role("button", name="Keep", exact=True).click()
        say(tab, "Kept")
        tab.wait_for_timeout(500)  # the copies come
        tab.get_by_role("button", name="Mosaic").click()
        at_once(tab)
        an_hour_later(page)
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        shelf = tab.get_by_role("button", name="town × it.png, complete")
        shelf.click()
        playwright.expect(tab.locator("#download")).to_have_attribute("href", re.compile("^blob:"))
        assert download(tab)[1].size == (64, 48)  # from what is here
        tab.locator("#style-tiles button[title='It.png']").click()
        at_once(tab)
        an_hour_later(page)
        start(tab, "Draft")
        say(tab, "Finished")
        playwright.expect(tab.locator("#command")).to_contain_text("--data.style it.png")
        playwright.expect(tab.locator("#problem")).to_be_hidden()


def test_a_page_that_nobody_was_known_to_loads_when_there_is_a_visitor(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.context.clear_cookies()
    refused = []

    def refuse_once(route: Any) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        tab.context.clear_cookies()
        route.fulfill(status=401, json={"error": "this page has been open for too long; load it again."})

    tab.route("**/api/state", refuse_once)
    tab.reload()
    playwright.expect(tab.locator("#paint")).to_be_enabled()
    playwright.expect(tab.locator("#problem")).to_be_hidden()
    assert refused
    tab.get_by_role("button", name="Mosaic").click()
    at_once(tab)


def test_the_focus_stays_on_the_shelf_and_goes_on_from_what_is_gone(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(Limits(size=128), tmp_path / "server") as page:
        tab = visit(address=page.address)
        for style in ("Mosaic", "Woodcut"):
            tab.get_by_role("button", name=style).click()
            at_once(tab)
            tab.get_by_role("button", name="Keep", exact=True).press("Enter")
            say(tab, "Kept")
            playwright.expect(tab.locator("#download")).to_be_focused()
        tab.locator(".more summary").click()
        tab.locator("#start").select_option("content")
        start(tab, "Fine")
        shelf = tab.locator("#jobs li > button:first-child")
        shelf.last.focus()
        paintings(tab, 3)
        playwright.expect(shelf.last).to_be_focused()
        gone = tab.get_by_role("button", name="Delete town × woodcut")
        gone.press("Enter")
        playwright.expect(shelf).to_have_count(2)
        playwright.expect(shelf.last).to_be_focused()
        tab.get_by_role("button", name="Stop here").press("Enter")
        say(tab, "Stopped")
        playwright.expect(tab.locator("#download")).to_be_focused()


def test_who_paints_without_closing_the_brush_sees_the_painting(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.get_by_role("button", name="Brush", exact=True).click()
    tab.locator("#mask").click(position={"x": 40, "y": 40})
    start(tab, "Draft")
    say(tab, "Finished")
    playwright.expect(tab.locator("#brushes")).to_be_hidden()
    playwright.expect(tab.locator("#painting")).to_be_visible()


def test_paint_is_asked_for_once_while_the_answer_is_on_its_way(visit: Callable[..., Page]) -> None:
    tab = visit()
    delay(tab, "api/jobs", 5000)
    start(tab, "Draft")
    paint = tab.get_by_role("button", name="Paint", exact=True)
    for _ in range(4):  # the page looks for its program every two seconds
        playwright.expect(paint).to_be_disabled()
        tab.wait_for_timeout(1000)
    say(tab, "Finished")
    playwright.expect(tab.locator("#jobs li")).to_have_count(1)


def test_what_another_tab_brought_is_here_and_what_is_gone_is_named(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(SMALL, tmp_path / "server") as page:
        tab = visit(address=page.address)
        other = tab.context.new_page()
        other.goto(tab.url)
        bring_style(other, tmp_path)
        other.get_by_role("button", name="Keep", exact=True).click()
        say(other, "Kept")
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        kept = tab.get_by_role("button", name="town × it.png, complete")
        kept.click()
        playwright.expect(tab.locator("#style-name")).to_have_text("it.png, 60×40")
        session = next(iter(page.state.sessions._sessions.values()))
        page.state.sessions._delete_upload(session, next(iter(session.uploads.values())))
        tab.evaluate("localStorage.clear()")
        tab.reload()
        kept.click()
        playwright.expect(tab.locator("#problem")).to_have_text(
            "Not here any more: it.png; Paint takes what is chosen now."
        )


def test_a_wrong_seed_is_told_where_it_is_not_seen(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.locator(".more summary").click()
    tab.locator("#seed").fill("-1")
    tab.locator(".more summary").click()
    start(tab, "Draft")
    told = "Seed is a whole number from 0 to 4294967295; change it."
    playwright.expect(tab.locator("#problem")).to_have_text(told)


def test_a_time_lapse_closes_when_its_picture_is_painted_on(visit: Callable[..., Page]) -> None:
    tab = visit()
    tab.locator(".more summary").click()
    tab.locator("#start").select_option("content")
    start(tab, "Standard")
    say(tab, "Finished")
    tab.get_by_role("button", name="Time-lapse").click()
    playwright.expect(tab.locator("#lapse")).to_be_visible()
    tab.get_by_role("button", name="Paint on for longer").click()
    playwright.expect(tab.locator("#lapse")).to_be_hidden()
    say(tab, "Finished")


def test_two_fingers_zoom_the_picture_and_not_the_page(visit: Callable[..., Page]) -> None:
    tab = visit(390, 844, has_touch=True, is_mobile=True)
    box = tab.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    fingers = tab.context.new_cdp_session(tab)

    def touch(kind: str, apart: float) -> None:
        points = [{"x": x, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}] if apart else []
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 40)
    for apart in range(44, 121, 4):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    matrix = tab.locator("#stage").evaluate("stage => new DOMMatrix(getComputedStyle(stage).transform).a")
    assert matrix == pytest.approx(3, rel=0.15)
    assert tab.evaluate("visualViewport.scale") == 1


def test_a_large_transparent_picture_is_on_white(visit: Callable[..., Page], tmp_path: Path) -> None:
    Image.new("RGBA", (400, 300)).save(tmp_path / "clear.png")
    with served(Limits(size=64, pixels=40_000), tmp_path / "server") as page:
        tab = visit(address=page.address)
        tab.get_by_label("Add a photo").set_input_files(tmp_path / "clear.png")
        playwright.expect(tab.locator("#content-name")).to_contain_text("clear.png, sent as 230×173")
        photo = tab.request.get(f"{tab.url}{tab.locator('#photo').get_attribute('src')}").body()
        assert Image.open(io.BytesIO(photo)).convert("RGB").getextrema() == ((255, 255),) * 3
