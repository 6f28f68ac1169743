"""The fixtures of the tests in a real browser: Chromium, windows that are watched, and a server.

`make browser` runs these tests. They use Debian's Chromium, and never download a browser.
"""

import shutil
from pathlib import Path

import pytest

from tests.browser.outside import Outside
from tests.browser.story import told_story
from tests.browser.windows import OPTIONS, Window
from tests.kit.patience import PATIENCE
from tests.kit.servers.running import shared_system

MISSING = "Chromium is not installed. To install it: apt-get install --yes --no-install-recommends chromium"


@pytest.hookimpl(tryfirst=True)  # before pytest deselects tests by their marks
def pytest_collection_modifyitems(items):
    """Mark the tests in this folder, because `make test` does not run them."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def outside():
    """The proxy that Chromium uses for all hosts but this one."""
    with Outside() as outside:
        yield outside


@pytest.fixture(scope="session")
def chromium(outside):
    """A running Chromium with an empty profile."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip(MISSING)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        arguments = [*OPTIONS, f"--proxy-server={outside.address}"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def system():
    """A server that the tests share. Each test creates its own email addresses."""
    with shared_system() as system:
        yield system


@pytest.fixture
def new_window(chromium, outside):
    """A function that opens a window. At the end of the test, all its windows must be without problems."""
    windows = []

    def open_window(server, **options) -> Window:
        windows.append(Window(chromium, server, **options))
        return windows[-1]

    outside.hosts.clear()
    yield open_window
    for window in windows:
        window.close()
    assert [problem for window in windows for problem in window.problems] == []
    assert outside.hosts == []


@pytest.fixture
def window(new_window, system):
    """A window that has signed in with the owner's access key."""
    window = new_window(system.server)
    window.sign_in_at_once()
    return window


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """A server with a day of mail, which no test changes."""
    with told_story(tmp_path_factory.mktemp("story")) as story:
        yield story
