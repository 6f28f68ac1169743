"""Hostile mail in the browser: nothing in it runs, and the browser loads nothing for it."""

import os
import time

import pytest
from playwright.sync_api import expect

from tests.browser.windows import Window
from tests.kit.hostile_mail import MESSAGES
from tests.kit.patience import wait_until

SECONDS = 20
"""The time for a page with a message: ten times what it may take on a machine that does nothing else."""

CHOSEN = list(MESSAGES)[:: 1 if os.environ.get("WAYPOST_ALL_MAIL") else 4]
"""Every fourth message, or all messages with `make browser ALL=yes`, which takes minutes longer. `.ci/run` opens one of
three of these.
"""


@pytest.fixture(scope="module")
def address(system):
    return system.new_address("hostile")


@pytest.fixture(scope="module")
def reading(chromium, system):
    """A window in which all messages are opened, one after the other."""
    window = Window(chromium, system.server)
    window.expect_problem(r"ERR_INVALID_URL \(data:image/")  # a picture in the message itself that is broken
    window.sign_in_at_once()
    yield window
    window.close()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if place % 3 else []) for place, name in enumerate(CHOSEN)]
)
def test_a_hostile_message_does_nothing_in_the_browser(reading, outside, system, address, name):
    code, text = system.send(MESSAGES[name](), address)
    if code != 250:
        pytest.skip(f"the server refuses this message: {code} {text.decode()}")
    outside.hosts.clear()
    reading.problems.clear()
    message_id = text.decode().split()[1]
    for view in ("text", "html", "headers", "source"):
        start = time.monotonic()
        response = reading.open(f"/mail/{message_id}?view={view}")
        assert response.status == 200
        assert time.monotonic() - start < SECONDS
        expect_whole_page(reading, message_id)
        if view == "html":
            expect_sandbox(reading.page)
    assert reading.dialogs == []
    assert reading.problems == []
    assert outside.hosts == []


def expect_whole_page(window, message_id):
    """Check that the message has not changed anything on the page around it."""
    page = window.page
    assert window.path.startswith(f"/mail/{message_id}?")
    assert len(window.context.pages) == 1
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).not_to_have_count(0)
    expect(page.get_by_role("heading", level=3, name="Trace")).to_have_count(1)
    found = page.evaluate(
        """() => ({
            scripts: [...document.scripts].map((script) => script.src),
            forms: [...document.forms].map((form) => form.action),
            handlers: document.querySelectorAll("[onerror], [onload], [onclick], [onmouseover], base").length,
            isWide: document.scrollingElement.scrollWidth > innerWidth,
            frames: frames.length,
        })"""
    )
    assert {url.startswith(window.url("/static/")) for url in found["scripts"]} == {True}
    assert {url.startswith(window.url("/")) for url in found["forms"]} == {True}
    assert found["handlers"] == 0
    assert not found["isWide"]
    assert found["frames"] <= 1


def expect_sandbox(page):
    """Check that the frame with the message, if there is one, can run no scripts, and loads nothing but pictures."""
    frame = page.locator("iframe")
    if frame.count() == 0:
        return
    expect(frame).to_have_count(1)
    assert set(frame.get_attribute("sandbox").split()) <= {"allow-popups", "allow-popups-to-escape-sandbox"}
    inside = frame.element_handle().content_frame()
    inside.wait_for_load_state("load")
    assert inside.child_frames == []
    assert "/html" in inside.url


def test_remote_pictures_are_loaded_only_if_the_reader_asks_for_them(new_window, outside, system):
    address = system.new_address("pictures")
    message = b"Content-Type: text/html\r\n\r\n<p>Hello</p><img src=https://pictures.example/seen.png alt=seen>\r\n"
    message_id = system.deliver(message, address)
    window = new_window(system.server)
    window.expect_problem("ERR_TUNNEL_CONNECTION_FAILED")
    window.sign_in_at_once()
    window.open(f"/mail/{message_id}?view=html")
    expect(window.page.frame_locator("iframe").get_by_text("Hello")).to_be_visible()
    assert outside.hosts == []
    with window.page.expect_request("https://pictures.example/seen.png"):
        window.page.get_by_role("link", name="Show remote content").click()
    assert window.problems == ["request to another host: https://pictures.example/seen.png"]
    # Chromium reports a request before the proxy has received it.
    wait_until(lambda: set(outside.hosts) == {"pictures.example:443"})
    window.problems.clear()
    outside.hosts.clear()
