"""The page that checks the server, after the checks."""

import pytest

from tests.browser.windows import NARROW


def check(window):
    window.sign_in_at_once()
    window.open("/doctor")
    window.page.get_by_role("button", name="Check the server").click()
    window.page.get_by_role("button", name="Check again").wait_for()


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_the_results_are_accessible(new_window, story, theme):
    window = new_window(story.server, theme=theme)
    check(window)
    assert window.page.get_by_role("cell", name="routes").count() >= 2
    assert window.faults() == []


@pytest.mark.long
@pytest.mark.parametrize("scripts", [True, False])
def test_the_results_fit_into_a_narrow_window(new_window, story, scripts):
    window = new_window(story.server, size=NARROW, scripts=scripts)
    check(window)
    window.page.get_by_role("button", name="Check again").click()
    window.page.get_by_role("button", name="Check again").wait_for()
    assert window.page.evaluate("document.scrollingElement.scrollWidth") <= NARROW[0]
