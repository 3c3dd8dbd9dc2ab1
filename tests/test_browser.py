"""The built site in a real browser: nothing from other hosts, no errors, fits a phone, math, theme, search, filters."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, sync_playwright

from site_fixture import STEM, built_project

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, LAPTOP = {"width": 375, "height": 800}, {"width": 1280, "height": 900}
LIGHT, DARK = ({"viewport": LAPTOP, "color_scheme": scheme} for scheme in ("light", "dark"))
CHAPTER, LEDGER = f"book/{STEM}.html", "book/claims.html"


def find_chromium() -> str | None:
    """The browser to use: $CHROMIUM, or a Chromium or Chrome on the path."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: requests are not news."""


@dataclass
class Visit:
    """One browser tab and everything that went wrong in it."""

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path, wait_until="load")
        return self.page


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    site = built_project()[2]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip(
            "no Chromium or Chrome on the path and none named by CHROMIUM: the site was not opened in a browser"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh tab that refuses and records requests to other hosts; a test with any problem fails."""
    settings = getattr(request, "param", {"viewport": LAPTOP, "color_scheme": "light"})
    context = browser.new_context(**settings)
    tab = Visit(context.new_page(), address)

    def guard(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            tab.problems.append(f"asked another host: {route.request.url}")
            route.abort()

    def failed(request: Request) -> None:
        if request.url.endswith("/favicon.svg") and request.failure == "net::ERR_ABORTED":
            return  # the page was left before the browser had fetched its icon
        tab.problems.append(f"request failed: {request.url}")

    def console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            tab.problems.append(f"console {message.type}: {message.text}")

    context.route("**/*", guard)
    tab.page.on("requestfailed", failed)
    tab.page.on("console", console)
    tab.page.on("pageerror", lambda error: tab.problems.append(f"script error: {error}"))
    tab.page.on("response", lambda r: tab.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    yield tab
    context.close()
    assert tab.problems == []


def all_pages() -> list[str]:
    site = built_project()[2]
    found = [*site.glob("book/*.html"), *site.glob("notebooks/*.html"), site / "search.html"]
    return sorted(str(path.relative_to(site)) for path in found)


#: Left and right edge of every visible picture, or of the box that it can be scrolled in.
BOXES_OF_PICTURES = """
() => [...document.querySelectorAll('.bd-article img')].filter(picture => picture.offsetWidth)
  .map(picture => (picture.closest('.result-picture, .output') || picture).getBoundingClientRect())
  .map(box => [box.left, box.right])
"""


@pytest.mark.parametrize("visit", [{"viewport": PHONE, "color_scheme": "light"}, DARK], indirect=True)
def test_every_page_loads_from_here_without_errors_and_fits(visit: Visit) -> None:
    for path in all_pages():
        page = visit.open(path)
        wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window, f"{path} is {wide} px wide in a window of {window} px"
        page.wait_for_timeout(100)  # scripts that start after loading may still complain
        boxes = page.evaluate(BOXES_OF_PICTURES)
        assert [box for box in boxes if box[0] < 0 or box[1] > window] == [], f"a picture sticks out of {path}"


def test_root_leads_to_the_front_page(visit: Visit) -> None:
    visit.page.goto(visit.address)
    visit.page.wait_for_url("**/book/index.html")
    assert visit.page.locator(".bd-article h1").inner_text().startswith("Captions Define Invariance")


def test_math_is_typeset_with_fonts_of_our_own(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    page.wait_for_selector("mjx-container[display=true] mjx-math")
    page.evaluate("document.fonts.ready")
    assert page.evaluate("[...document.fonts].some(f => f.family.includes('MJX') && f.status === 'loaded')")


def test_value_tells_where_it_comes_from(visit: Visit) -> None:
    value = visit.open(CHAPTER).locator(".ci-value").first
    assert value.inner_text() == "1.2\u00a0points [0.8, 1.7]"
    title = value.get_attribute("title") or ""
    for part in ("5 seeds", "profile standard", "95 % interval", "commit 0123456", "figure accuracy_by_place"):
        assert part in title


@pytest.mark.parametrize(
    "visit", [{"viewport": PHONE, "color_scheme": "light", "has_touch": True, "is_mobile": True}], indirect=True
)
def test_tap_on_a_value_shows_the_same_within_the_window(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    page.locator(".ci-value").first.tap()
    shown = page.evaluate("getComputedStyle(document.querySelector('.ci-value'), '::after').content")
    assert "5 seeds" in shown
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_theme_switch_changes_the_figures_too(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    light, dark = page.locator("img.only-light"), page.locator("img.only-dark")
    assert (light.is_visible(), dark.is_visible()) == (True, False)
    for _ in range(3):  # the button goes through light, dark and what the system says
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert (light.is_visible(), dark.is_visible()) == (False, True)
    assert page.locator("figure.result-figure figcaption").is_visible()


#: Style sheets are read from the page: axe would look for what they import beside it.
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False}

CONTRAST = """
() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = rgb => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  return [...document.querySelectorAll('.verdict')].map(badge => { const style = getComputedStyle(badge);
    const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
    return [badge.innerText, (a + 0.05) / (b + 0.05)]; });
}
"""


@pytest.mark.parametrize("visit", [LIGHT, DARK], indirect=True)
def test_badges_can_be_read_in_both_themes(visit: Visit) -> None:
    badges = visit.open(LEDGER).evaluate(CONTRAST)
    assert len(badges) > 44
    assert [badge for badge in badges if badge[1] < 4.5] == []


def test_badge_leads_to_its_row_and_the_row_to_its_figure(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    page.locator("p a:has(.verdict)").first.click()
    page.wait_for_url("**/book/claims.html#c02")
    assert page.locator("#c02").is_visible()
    page.locator("#c02 details summary").first.click()
    assert "loses less than 2 points" in page.locator("#c02 details").first.inner_text()
    page.locator("#c02 .claim-where a", has_text="figure").click()
    page.wait_for_url(f"**/{CHAPTER}#result-01-accuracy-by-place")


#: Everything once; then what is different in the dark, and what may be different on a phone.
AXE_RUNS = [
    (LIGHT, {}),
    (DARK, {"runOnly": ["color-contrast"]}),
    ({"viewport": PHONE, "color_scheme": "light"}, {"rules": {"color-contrast": {"enabled": False}}}),
]


@pytest.mark.parametrize(("visit", "options"), AXE_RUNS, indirect=["visit"], ids=["light", "dark", "phone"])
def test_no_page_keeps_anyone_out(visit: Visit, options: dict[str, object]) -> None:
    """No violation that axe-core calls serious or critical."""
    found = []
    for path in all_pages():
        page = visit.open(path)
        page.evaluate("async () => { await window.MathJax?.startup?.promise }")  # formulas too
        violations = Axe().run(page, options=AXE_OPTIONS | options).response["violations"]
        found += [
            f"{path}: {violation['id']} at {node['html'][:200]}"
            for violation in violations
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
    assert found == []


def test_first_page_is_light(visit: Visit) -> None:
    """At most 500 kB, counted before any compression, as a server without it would send them."""
    page = visit.open("book/index.html")
    page.wait_for_load_state("networkidle")
    sizes = page.evaluate(
        "['navigation', 'resource'].flatMap(k => performance.getEntriesByType(k)).map(r => [r.name, r.encodedBodySize])"
    )
    assert len(sizes) > 10
    assert all(size > 0 for _, size in sizes)
    assert sum(size for _, size in sizes) <= 500_000


@pytest.mark.parametrize(("visit", "other"), [(LIGHT, "dark"), (DARK, "light")], indirect=["visit"])
def test_only_the_picture_of_the_readers_theme_is_fetched(visit: Visit, other: str) -> None:
    page = visit.open(CHAPTER)
    page.locator("figure.result-figure").scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    fetched = page.evaluate("performance.getEntriesByType('resource').map(r => r.name)")
    pictures = ["dark" if ".dark" in name else "light" for name in fetched if "accuracy_by_place" in name]
    assert pictures == [{"dark": "light", "light": "dark"}[other]]


def test_nothing_moves_when_a_picture_arrives(browser: Browser, address: str) -> None:
    def height_of_figure(page: Page, until: Literal["load", "domcontentloaded"]) -> float:
        page.goto(address + CHAPTER, wait_until=until)
        box = page.locator("figure.result-figure").bounding_box()
        assert box is not None
        return box["height"]

    for viewport in (PHONE, LAPTOP):
        context = browser.new_context(viewport=viewport)
        page = context.new_page()
        arrived = height_of_figure(page, "load")
        assert page.evaluate("document.querySelector('img.only-light').naturalWidth") == 520
        context.route("**/_images/*.svg", lambda _: None)  # asked for, and not yet there
        assert height_of_figure(page, "domcontentloaded") == pytest.approx(arrived, abs=1)
        assert page.evaluate("document.querySelector('img.only-light').naturalWidth") == 0
        context.close()


COUNT_SHIFTS = """
window.shifts = 0;
new PerformanceObserver(list => list.getEntries().forEach(shift => { window.shifts += shift.value; }))
  .observe({type: 'layout-shift', buffered: true});
"""


@pytest.mark.parametrize("visit", [{"viewport": PHONE, "color_scheme": "dark"}, LIGHT], indirect=True)
@pytest.mark.parametrize("path", ["book/index.html", LEDGER, f"notebooks/{STEM}.html"])
def test_page_does_not_move_while_it_loads_for_the_first_time(visit: Visit, path: str) -> None:
    """Less than a fifth of the layout shift that Chrome calls good. (Formulas move the text when they are set.)"""
    visit.page.add_init_script(COUNT_SHIFTS)
    page = visit.open(path)
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifts") < 0.02


@pytest.mark.parametrize("visit", [{"viewport": PHONE, "color_scheme": "light"}], indirect=True)
def test_picture_is_scrolled_on_a_phone_rather_than_shrunk_beyond_reading(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    picture = page.locator("img.only-light").bounding_box()
    assert picture is not None
    assert picture["width"] == pytest.approx(412, abs=1)  # letters of 8.5 points at 79 % of their size: 9 pixels
    frame = page.locator(".result-picture")
    frame.evaluate("box => box.scrollTo(1000, 0)")
    assert frame.evaluate("box => box.scrollLeft") > 0
    frame.evaluate(f"box => box.style.setProperty('--least', {PHONE['width']})")
    assert frame.evaluate("box => box.scrollWidth - box.clientWidth") == 0  # air at the sides is the first to go


def shown_claims(page: Page) -> list[str]:
    return [claim for claim in page.locator(".claim:visible .claim-id").all_inner_texts() if claim]


def test_ledger_can_be_filtered_and_the_choice_passed_on(visit: Visit) -> None:
    page = visit.open(LEDGER)
    status = page.locator(".ledger-filter [role=status]")
    assert status.inner_text() == "5 of 44 claims measured."
    page.locator("input[value=contradicted]").focus()
    page.keyboard.press("Space")
    assert shown_claims(page) == ["C04"]
    assert status.inner_text() == "1 of 44 claims shown."
    assert page.locator("h2:visible").count() == 1  # chapters without a row left are gone with their heading
    page.locator("label", has=page.locator("input[value=supported]")).click()
    assert shown_claims(page) == ["C01", "C03", "C04"]
    page.locator("input[name=chapter][value='02']").check()
    assert shown_claims(page) == []
    assert page.url.endswith("#verdict=supported,contradicted&chapter=02")
    page.locator("input[name=chapter][value='01']").check()
    page.reload()
    assert shown_claims(page) == ["C01", "C03", "C04"]
    assert page.locator("input:checked").count() == 4
    page.get_by_role("button", name="Show all").click()
    assert len(shown_claims(page)) == 44
    assert status.inner_text() == "5 of 44 claims measured."


def test_address_of_a_row_shows_it_whatever_is_filtered(visit: Visit) -> None:
    page = visit.open(f"{LEDGER}#verdict=contradicted")
    assert shown_claims(page) == ["C04"]
    page.evaluate("location.hash = '#c02'")
    page.wait_for_function("!document.querySelector('#c02').hidden")
    assert len(shown_claims(page)) == 44
    page.wait_for_function(
        "() => { const row = document.querySelector('#c02');"
        " return row.matches(':target') && row.getBoundingClientRect().top < innerHeight }"
    )


def test_address_of_a_row_may_be_written_as_its_id_is_printed(visit: Visit) -> None:
    page = visit.open(f"{LEDGER}#C04")
    # The browser scrolls there once it has laid out the page, which a busy machine may do after it has loaded.
    page.wait_for_function(
        "(lowest) => { const row = document.querySelector('#c04').getBoundingClientRect();"
        " return 0 < row.top && row.top < lowest }",
        arg=LAPTOP["height"] / 2,
    )
    shade, plain = (
        page.locator(row).evaluate("row => getComputedStyle(row).backgroundColor") for row in ("#c04", "#c05")
    )
    assert shade != plain


#: Where the middle of each visible mark lies, from 0 to 1 of its track, and what the table of numbers says.
MARKS = """
() => [[...document.querySelectorAll('.explore-mark:not([hidden])')]
    .filter(mark => getComputedStyle(mark).visibility === 'visible')
    .map(mark => parseFloat(getComputedStyle(mark, '::after').left) / mark.offsetWidth),
  [...document.querySelectorAll('.explore-number')].map(cell => cell.textContent)]
"""


@pytest.mark.parametrize(
    "visit", [{"viewport": PHONE, "color_scheme": "dark", "reduced_motion": "reduce"}], indirect=True
)
def test_slider_moves_the_marks_to_what_was_measured(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    slider, said = page.locator(".explore input[type=range]"), page.locator(".explore-choice")
    height = page.locator(".explore").evaluate("figure => figure.offsetHeight")
    places, numbers = page.evaluate(MARKS)
    assert places == pytest.approx([0.495, 0.542, 0.505, 0.8], abs=0.003)
    assert numbers[1] == "54.2 [52.1,\u00a056.3]"  # a narrow column does not break the interval
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert (said.inner_text(), slider.get_attribute("aria-valuetext")) == ("in 10\u202f%", "in 10\u202f%")
    places, numbers = page.evaluate(MARKS)
    assert places == pytest.approx([0.51, 0.66], abs=0.003)  # nobody trained the large light at this rate
    assert numbers == ["51.0 [49.0,\u00a053.0]", "66.0 [61.0,\u00a071.0]", "", ""]
    page.keyboard.press("End")
    assert said.inner_text() == "always"
    page.locator(".explore-legend input").first.uncheck()  # words
    assert page.evaluate(MARKS)[0] == pytest.approx([0.995], abs=0.003)
    page.locator(".explore-numbers summary").click()
    assert page.locator(".explore-numbers th[scope=col]:visible").all_inner_texts()[1:3] == ["probe", "chance"]
    place = "mark => mark.offsetTop / mark.parentElement.offsetHeight"
    probe = page.locator(".explore-mark.mark-1").first
    assert probe.evaluate(place) == pytest.approx(0.5, abs=0.03)  # the whole row is its own
    page.locator(".explore-legend input").first.check()
    assert probe.evaluate(place) > 0.6
    page.locator(".explore-numbers summary").click()
    assert len(page.evaluate(MARKS)[0]) == 3
    assert page.locator(".explore").evaluate("figure => figure.offsetHeight") == height


@pytest.mark.parametrize("visit", [{**LIGHT, "java_script_enabled": False}], indirect=True)
def test_without_scripts_the_figure_stays_and_the_slider_is_gone(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    assert page.locator("img.only-light").is_visible()
    assert not page.locator("img.only-dark").is_visible()
    assert page.locator(".explore:visible").count() == 0
    visit.problems[:] = [p for p in visit.problems if not p.endswith(".js")]  # scripts are preloaded in vain


@pytest.mark.parametrize("visit", [{**LIGHT, "java_script_enabled": False}], indirect=True)
def test_without_scripts_every_claim_and_the_score_are_there(visit: Visit) -> None:
    page = visit.open(LEDGER)
    assert len(shown_claims(page)) == 44
    assert page.locator(".filter-status").inner_text() == "5 of 44 claims measured."
    assert page.locator(".filter-verdicts .verdict").first.is_visible()
    assert page.locator(".ledger-filter input:visible, .ledger-filter button:visible").count() == 0
    page.locator(".cite summary").click()
    assert page.locator(".cite-text").is_visible()
    assert page.locator(".cite-copy:visible").count() == 0
    visit.problems[:] = [p for p in visit.problems if not p.endswith(".js")]  # scripts are preloaded in vain


@pytest.mark.parametrize("visit", [{**LIGHT, "permissions": ["clipboard-read", "clipboard-write"]}], indirect=True)
def test_citation_is_copied(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    page.locator(".cite summary").click()
    page.locator(".cite-copy").click()
    page.wait_for_function("document.querySelector('.cite-done').textContent === 'Copied.'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@techreport{")
    assert "0123456789abcdef0123456789abcdef01234567" in copied


def test_origin_of_a_value_is_shown_to_keyboard_users(visit: Visit) -> None:
    page = visit.open(CHAPTER)
    value = page.locator(".ci-value").first
    link = page.locator("p:has(.ci-value) a").first  # the badge in front of it
    link.focus()
    page.keyboard.press("Tab")
    assert value.evaluate("value => value === document.activeElement")
    content, place = value.evaluate(
        "value => [getComputedStyle(value, '::after')].map(s => [s.content, s.position])[0]"
    )
    assert "5 seeds" in content
    assert place == "fixed"


def test_search_finds_a_chapter(visit: Visit) -> None:
    page = visit.open("search.html?q=torus")
    page.wait_for_selector("#search-results ul.search li a")
    found = page.locator("#search-results ul.search li a").all_inner_texts()
    assert any("Hard and soft invariance" in text for text in found)


def test_search_field_leaves_room_for_its_magnifying_glass(visit: Visit) -> None:
    page = visit.open("search.html")
    glass, field = (page.locator(f".bd-search-container .bd-search {part}") for part in ("i", "input"))
    text_starts = field.evaluate("f => f.getBoundingClientRect().left + parseFloat(getComputedStyle(f).paddingLeft)")
    assert glass.evaluate("g => g.getBoundingClientRect().right") < text_starts


def test_opens_straight_from_the_folder(browser: Browser) -> None:
    """A site that was unpacked from an archive is read without a server."""
    context = browser.new_context(viewport=LAPTOP, offline=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(Path(built_project()[2], CHAPTER).as_uri())
    page.wait_for_selector("mjx-container[display=true] mjx-math")
    page.evaluate("document.fonts.ready")
    families = page.evaluate("[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)")
    page.goto(Path(built_project()[2], "search.html").as_uri() + "?q=torus")
    page.wait_for_selector("#search-results ul.search li a")
    page.wait_for_timeout(300)
    context.close()
    assert errors == []
    for family in ("MJX", "Report Icons"):  # formulas and buttons
        assert any(family in name for name in families)
