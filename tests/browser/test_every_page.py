"""Every page of the console is accessible, works by keyboard, and fits into a narrow window."""

import pytest

from tests.browser.pages import NO_PAGES, PAGES
from tests.browser.windows import NARROW
from waypost.console.asgi import VIEWS


def test_the_table_of_pages_is_complete():
    shown = {view.path for view in VIEWS if view.method == "GET"}
    assert shown == {*(page.view for page in PAGES.values()), *NO_PAGES}


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_fault_of_accessibility(new_window, story, page, theme):
    window = new_window(story.server, theme=theme)
    window.sign_in_at_once()
    assert window.open(PAGES[page].path(story)).status == 200
    assert window.faults() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_sign_in_has_no_fault_of_accessibility(new_window, story, theme):
    window = new_window(story.server, theme=theme)
    window.open("/sign-in")
    assert window.faults() == []


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_each_page_fits_into_a_narrow_window(new_window, story, page):
    window = new_window(story.server, size=NARROW)
    window.sign_in_at_once()
    window.open(PAGES[page].path(story))
    assert window.page.evaluate("document.scrollingElement.scrollWidth") <= NARROW[0], window.page.evaluate(TOO_WIDE)


TOO_WIDE = """
[...document.querySelectorAll("body *")]
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => element.outerHTML.slice(0, 120))
    .slice(0, 5)
"""


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_the_tab_key_reaches_everything_and_the_focus_is_visible(new_window, story, page):
    window = new_window(story.server)
    window.sign_in_at_once()
    window.open(PAGES[page].path(story))
    wanted = window.page.evaluate(NUMBER_CONTROLS)
    reached = set()
    for _ in range(wanted + 10):
        window.page.keyboard.press("Tab")
        focus = window.page.evaluate(FOCUS)
        if focus is None:
            continue
        assert focus["visible"], focus
        reached.add(focus["number"])
    names = window.page.evaluate(NAMES)
    assert [name for number, name in enumerate(names) if number not in reached] == []


NUMBER_CONTROLS = """
(() => {
    window.controls = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")].filter(
        (element) => element.checkVisibility({visibilityProperty: true}) && !element.disabled && element.tabIndex >= 0
            && !(element.type === "radio" && !element.checked));
    return window.controls.length;
})()
"""
"""Collect everything on the page that a person can use, and return the number. Of a group of radio buttons, only the
one that is checked is reached with the tab key."""

FOCUS = """
(() => {
    const element = document.activeElement;
    const number = window.controls.indexOf(element);
    if (number < 0) return null;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 10));
    const isOutlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const isOnTop = top && (element.contains(top) || top.contains(element) || top.closest("label")?.contains(element));
    return {
        number,
        visible: Boolean(isOutlined && isOnTop),
        outline: style.outline,
        top: top && top.outerHTML.slice(0, 100),
        html: element.outerHTML.slice(0, 100),
    };
})()
"""
"""Return the number of the element that has the focus, and whether it is in view with an outline."""

NAMES = "window.controls.map((element) => element.outerHTML.slice(0, 120))"


@pytest.mark.parametrize("page", PAGES)
def test_each_page_can_be_read_without_scripts(new_window, story, page):
    plain = new_window(story.server, scripts=False)
    plain.sign_in_at_once()
    assert plain.open(PAGES[page].path(story)).status == 200
    assert plain.page.get_by_role("main").inner_text().strip()


@pytest.mark.long
@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"source"}))  # its size is the size of the message
def test_each_page_is_small(new_window, story, page):
    window = new_window(story.server)
    window.sign_in_at_once()
    response = window.open(PAGES[page].path(story))
    assert len(response.body()) < 40_000
    loaded = window.page.evaluate(LOADED)
    assert [url for url in loaded if not url.startswith(window.url("/"))] == []


LOADED = "performance.getEntriesByType('resource').map((entry) => entry.name)"
