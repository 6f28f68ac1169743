"""The site of the documentation in a browser: search, versions and diagrams, without a request to another host."""

import functools
import http.server
import re
import shutil
import threading
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

import waypost
from scripts.docs_site import build

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A web server of the site, which has this version and an older one."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: `make docs-site` installs it")
    to = tmp_path_factory.mktemp("site")
    shutil.copytree(build.build(to), to / "0.0.1")
    build.list_versions(to)
    handler = functools.partial(_Quiet, directory=str(to))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Suppress the log."""


@pytest.fixture
def page(new_window, server):
    """The home of the site, reached from the address of the web server."""
    window = new_window(server)
    window.page.goto(f"{server.url}/")
    expect(window.page).to_have_title("Waypost")
    return window.page


def test_the_search_finds_a_page(page):
    page.get_by_role("textbox", name="Search").fill("Maildir line ends")
    page.locator(".md-search-result__link", has_text="Send mail on with routes").first.click()
    expect(page.locator("h1")).to_contain_text("route")


def test_the_menu_of_versions_leads_to_another_version(page):
    expect(page.locator(".md-version__current")).to_have_text(waypost.__version__)
    page.locator(".md-version").hover()
    page.get_by_role("link", name="0.0.1").click()
    expect(page).to_have_url(re.compile("/0.0.1/"))
    expect(page.locator(".md-version__current")).to_have_text("0.0.1")


def test_the_diagrams_are_drawn(page):
    from scripts.docs_site import hooks

    if not hooks.DIAGRAMS.exists():
        pytest.skip("mermaid is not installed: `make docs-site` fetches it with npm")
    page.get_by_role("link", name="The path of a message").first.click()
    expect(page.locator("div.mermaid")).to_have_count(1)
    expect(page.locator("pre.mermaid")).to_have_count(0)


@pytest.mark.parametrize("place", ["tutorial.html", "how-to/see-mail-in-a-browser.html", "reference/settings.html"])
def test_a_page_opens_without_a_problem(page, place):
    page.goto(f"{page.url.rpartition('/')[0]}/{place}")
    expect(page.locator("h1")).to_be_visible()
