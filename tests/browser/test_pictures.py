"""The pictures of the console for the documentation. `make screenshots` writes them to `docs/images/console`.

The pictures are almost the same at each run, however slow the machine is: the story has fixed names and times, the
clock of the page stands still, and what differs (ids, ports, the date and milliseconds) is replaced in the page before
the picture is taken. Only the times of later attempts differ, because they depend on the ids of messages.
"""

import io
import os
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from tests.browser.pages import PAGES
from tests.browser.windows import NARROW, WIDE

DIRECTORY = os.environ.get("WAYPOST_SCREENSHOTS")
"""The directory for the pictures. Without it, the tests take the pictures, but do not keep them."""

# The plot of the flow ends at the time of the server, whose clock runs, so its pictures are taken first.
PICTURES = {
    "flow": "flow",
    "mail": "message",
    "html": "message as HTML",
    "addresses": "addresses",
    "map": "map",
    "dead-letters": "dead letters",
}
"""The page on each picture."""

LATER = timedelta(seconds=20)
"""The time on the clock of the page, after the end of the story. The story sends its mail at whole and at half minutes
before its end, and a slow machine is some seconds late. So no relative time is close to the next minute.
"""

pytestmark = pytest.mark.long


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_a_page_is_taken(new_window, story, name, theme):
    picture = picture_of(new_window(story.server, theme=theme), story, name)
    if DIRECTORY and name == "flow":
        assert story.clock() - story.now < timedelta(minutes=1), "the server's clock has gone on: try again"
    keep(picture, f"{name}-{theme}.png")


def test_a_picture_of_a_narrow_window_is_taken(new_window, story):
    keep(picture_of(new_window(story.server, size=NARROW), story, "mail"), "mail-narrow.png")


def picture_of(window, story, name) -> Image.Image:
    """Open a page, and return a picture of it with at most 256 colours."""
    window.expect_problem("Blocked script execution")  # the script that fixes the time, in the frame of the message
    window.page.clock.set_fixed_time(story.now + LATER)
    window.sign_in_at_once()
    window.open(PAGES[PICTURES[name]].path(story))
    if window.page.locator("iframe").count():
        window.page.frame_locator("iframe").get_by_text("Hello").wait_for()
    window.page.evaluate(STEADY, replacements(story.now))
    window.page.evaluate(PAINTED)
    octets = window.page.screenshot(animations="disabled", caret="hide")
    return Image.open(io.BytesIO(octets)).convert("RGB").quantize(256, dither=Image.Dither.NONE)


def keep(picture, file):
    if DIRECTORY:
        Path(DIRECTORY).mkdir(parents=True, exist_ok=True)
        picture.save(Path(DIRECTORY) / file, optimize=True)
    assert picture.width in {WIDE[0], NARROW[0]}
    assert len(picture.getcolors(256)) > 8


def replacements(now):
    """Return pairs of a regular expression and the text that replaces its matches."""
    days = {now - timedelta(days=1): "23", now: "24"}
    return [
        [r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "01a205ae-34f2-7da0-8306-88b00bd32421"],
        [r"\b(AKIA|ASIA)[A-Z2-7]{16}\b", "AKIAIOSFODNN7EXAMPLE"],
        [r"\+([1-9]\d* ms|[1-9] s)\b", "+12 ms"],
        [r"\b09:(58:5\d|59:0\d)\b", "09:59:00"],
        [r"smtp://127\.0\.0\.1:\d+", "smtp://crm.example:25"],
        [r"/tmp/\S*", "/srv/mail/archive"],
        *([f"{day:%Y-%m-%d}", f"2026-11-{number}"] for day, number in days.items()),
        *([f"{day:%d/%m/%Y}", f"{number}/11/2026"] for day, number in days.items()),
        *([f"{day.day} {day:%b %Y}", f"{number} Nov 2026"] for day, number in days.items()),
    ]


STEADY = """
(replacements) => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode())
        for (const [pattern, text] of replacements)
            walker.currentNode.data = walker.currentNode.data.replace(new RegExp(pattern, "g"), text);
}
"""

PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Wait until the browser has painted the page, and the frame in it."""
