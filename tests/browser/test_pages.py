"""Every page in a real browser: offline, drawn, in the dark, on a phone, on paper, by keyboard."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import PHONE, Watched, photograph, violations, window
from tests.browser.conftest import Built
from tests.browser.pages import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


pytestmark = [pytest.mark.slow, pytest.mark.ci]
every_page = pytest.mark.parametrize("name", PAGES)
# A figure has drawn if plotly has filled it: with vectors, or of WebGL with a canvas.
DRAWN = """() => [...document.querySelectorAll('.plot')].map((holder) => {
  const drawn = [...holder.querySelectorAll('svg.main-svg, canvas')];
  const box = drawn.map((part) => part.getBoundingClientRect());
  return {
    id: holder.id,
    size: Math.max(0, ...box.map((b) => Math.min(b.width, b.height))),
    marks: holder.querySelectorAll('svg path, svg text').length,
  };
})"""
INKS = """() => [...document.querySelectorAll('.plot svg text')]
  .filter((text) => text.textContent.trim())
  .map((text) => [getComputedStyle(text).fill.match(/\\d+/g).slice(0, 3), text.textContent])"""
PAPER_PIXELS = 718
"""What A4 leaves between margins of 1 cm."""


def opened(watched: Watched, built: Built, name: str) -> "Page":
    """The page, once all its figures have drawn."""
    page = watched.page
    page.goto(built(name).as_uri())
    if page.evaluate("typeof Plotly !== 'undefined'"):
        page.wait_for_function(
            "[...document.querySelectorAll('.plot')].every((h) => h.querySelector('.main-svg'))"
        )
    return page


@every_page
def test_it_opens_offline_and_draws_without_an_error(
    browser: "Browser", built: Built, name: str
) -> None:
    with window(browser) as watched:
        page = opened(watched, built, name)
        figures: list[dict[str, Any]] = page.evaluate(DRAWN)
        assert bool(figures) == (name != "empty")
        for figure in figures:
            assert figure["size"] > 100, figure
            assert figure["marks"] > 5, figure
        photograph(page, f"{name}-light")
        assert watched.troubles == []
        assert watched.requests == [built(name).as_uri()]


@every_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(browser: "Browser", built: Built, name: str, scheme: Any) -> None:
    with window(browser, scheme=scheme) as watched:
        page = opened(watched, built, name)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        if scheme == "dark":
            photograph(page, f"{name}-dark")
        assert violations(page) == []
        # axe looks at no text in a picture: it must be on the right side of grey.
        wrong = [
            text
            for red_green_blue, text in page.evaluate(INKS)
            if (max(map(int, red_green_blue)) < 128) == (scheme == "dark")
        ]
        assert wrong == []


@every_page
def test_on_a_phone_nothing_sticks_out(browser: "Browser", built: Built, name: str) -> None:
    with window(browser, size=PHONE) as watched:
        page = opened(watched, built, name)
        photograph(page, f"{name}-phone")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        wide = page.evaluate(
            "[...document.querySelectorAll('.plot, figure, section, h1, p')].filter("
            "(e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"
        )
        assert wide == []
        bars = "[...document.querySelectorAll('.legend .scrollbar')].map((e) => e.getBBox().height)"
        assert not any(page.evaluate(bars)), "a legend that has to be scrolled"
        assert watched.troubles == []


@every_page
def test_the_keyboard_reaches_all_that_scrolls_and_opens(
    browser: "Browser", built: Built, name: str
) -> None:
    with window(browser) as watched:
        page = opened(watched, built, name)
        place = "(e) => [...document.querySelectorAll('*')].indexOf(e)"
        wanted = page.evaluate(
            f"[...document.querySelectorAll('[tabindex=\"0\"], summary')]"
            f".filter((e) => e.checkVisibility({{contentVisibilityAuto: true}})).map({place})"
        )
        found = []
        for _ in wanted:
            page.keyboard.press("Tab")
            found.append(page.evaluate(f"({place})(document.activeElement)"))
        assert found == wanted
        hidden = page.evaluate(
            "[...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() &&"
            "/auto|scroll/.test(getComputedStyle(e).overflowX + getComputedStyle(e).overflowY) &&"
            "(e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight) && e.tabIndex < 0)"
            ".map((e) => e.outerHTML.slice(0, 200))"
        )
        assert hidden == [], "these scroll, and no key does it"
        if page.locator("summary").count():
            page.locator("summary").first.focus()
            before = page.locator("details").first.get_attribute("open")
            page.keyboard.press("Enter")
            assert page.locator("details").first.get_attribute("open") != before


@every_page
def test_on_paper_all_is_opened_and_fits(browser: "Browser", built: Built, name: str) -> None:
    with window(browser) as watched:
        page = opened(watched, built, name)
        closed = page.locator("details:not([open])").count()
        page.evaluate(
            """() => addEventListener('beforeprint', () => {
              window.closed = document.querySelectorAll('details:not([open])').length;
              window.widths = [...document.querySelectorAll('.plot .main-svg')]
                .map((drawn) => drawn.getBoundingClientRect().width);
            })"""
        )
        paper = page.pdf(format="A4", margin=dict.fromkeys(("top", "right", "left"), "1cm"))
        assert page.evaluate("window.closed") == 0
        assert max(page.evaluate("window.widths"), default=0) <= PAPER_PIXELS
        assert len(re.findall(rb"/Type\s*/Page\b", paper)) > 1
        page.wait_for_function(f"document.querySelectorAll('details:not([open])').length=={closed}")
        page.emulate_media(media="print", color_scheme="dark")
        page.set_viewport_size({"width": PAPER_PIXELS, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER_PIXELS
        assert all(max(map(int, ink)) < 128 for ink, _ in page.evaluate(INKS))
        photograph(page, f"{name}-paper")
        assert watched.troubles == []


@every_page
def test_without_scripts_it_tells_everything_in_words(
    browser: "Browser", built: Built, name: str
) -> None:
    with window(browser) as watched:
        told = opened(watched, built, name).evaluate(
            "[...document.querySelectorAll('.plot')].map((e) => e.getAttribute('aria-label'))"
        )
    with window(browser, scripts=False) as watched:
        watched.page.goto(built(name).as_uri())
        shown = watched.page.inner_text("main")
        photograph(watched.page, f"{name}-no-scripts")
        for alt in told:
            assert " ".join(alt.split()) in " ".join(shown.split())
        assert watched.page.locator(".plot:visible").count() == 0
        assert watched.page.locator("h1").is_visible()
