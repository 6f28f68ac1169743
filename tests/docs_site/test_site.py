"""The site of the documentation: complete, with links that lead somewhere, and built without a warning."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from scripts.docs_site import build, markdown

pytestmark = [pytest.mark.slow, pytest.mark.long]

LOADS = {"link", "script", "img", "source", "iframe", "audio", "video", "object", "embed"}
"""The elements whose address the browser loads by itself. It loads the target of `<a>` only on a click."""


class Page(HTMLParser):
    """What a page links to and loads, its anchors, and the text of its article that is not code."""

    def __init__(self, file):
        super().__init__()
        self.links, self.loaded, self.anchors, self.styles = [], [], set(), []
        self.text = ""
        self._within, self._code, self._is_in_article = "", 0, False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self._within = tag
        self._code += tag in {"code", "script", "style"}
        self._is_in_article |= tag == "article"
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        addresses = [given[name] for name in ("href", "src", "srcset", "action", "data") if given.get(name)]
        (self.loaded if tag in LOADS else self.links).extend(addresses)
        self.styles.append(given.get("style") or "")

    def handle_endtag(self, tag):
        self._code -= tag in {"code", "script", "style"}
        self._is_in_article &= tag != "article"

    def handle_data(self, text):
        if self._within == "style":
            self.styles.append(text)
        elif self._is_in_article and not self._code:
            self.text += text


# One process builds the site, and all tests of this file that read it run there.
@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, with one version."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: `make docs-site` installs it")
    to = tmp_path_factory.mktemp("site")
    build.build(to)
    build.list_versions(to)
    return to


@pytest.fixture(scope="module")
def pages(site):
    (version,) = (one.parent for one in site.glob("*/index.html"))
    return {file.relative_to(version).as_posix(): Page(file) for file in version.glob("**/*.html")}


def test_each_page_in_the_folder_of_pages_is_on_the_site(pages):
    from scripts.docs_site import hooks

    there = {page.relative_to(hooks.DOCS).as_posix() for page in hooks.DOCS.glob("**/*.md")} | set(hooks.ADDED.values())
    assert pages.keys() == {re.sub(r"\.md$", ".html", page) for page in there}


def test_each_link_leads_to_a_page_of_the_site_and_to_a_heading(site, pages):
    (version,) = (one.parent for one in site.glob("*/index.html"))
    checked = 0
    for name, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(urljoin(name, link))
            if parts.scheme:
                continue
            checked += 1
            target = unquote(parts.path) or name
            assert (version / target).is_file(), f"{name} links to {link}"
            if parts.fragment:
                assert unquote(parts.fragment) in pages[target].anchors | {"__top"}, f"{name} links to {link}"
    assert checked > 5_000


def test_the_site_loads_nothing_from_elsewhere(site, pages):
    for name, page in pages.items():
        assert [address for address in page.loaded if re.match("(?:[a-z]+:)?//", address)] == [], name
        assert not re.search(r"url\(['\"]?(?:https?:)?//", " ".join(page.styles)), name
        assert any(address.endswith(".css") for address in page.loaded)
    for style in site.glob("**/*.css"):
        assert not re.search(r"(?:url\(|@import )['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_no_page_shows_markdown_that_was_not_turned_into_html(pages):
    for name, page in pages.items():
        for line in page.text.splitlines():
            assert not re.search(r"\*\*|\]\(|\|[ :]?-+[ :]?\||```|^ *[-*] \S", line), f"{name}: {line}"


def test_the_search_finds_pages_of_each_kind(site):
    (index,) = site.glob("*/search/search_index.json")
    found = {entry["location"].partition("#")[0] for entry in json.loads(index.read_text(encoding="utf-8"))["docs"]}
    assert {"tutorial.html", "how-to/routes.html", "reference/settings.html", "architecture.html"} <= found


def test_the_list_of_versions_begins_with_the_newest(tmp_path):
    for version in ("0.9.0", "0.10.0", "0.10.0rc1", "drafts"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "index.html").write_text("")
    build.list_versions(tmp_path)
    listed = json.loads((tmp_path / "versions.json").read_text(encoding="utf-8"))
    assert [(one["version"], one["aliases"]) for one in listed] == [
        ("0.10.0", ["latest"]),
        ("0.10.0rc1", []),
        ("0.9.0", []),
    ]
    assert "0.10.0/index.html" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_an_unknown_heading_in_a_link_ends_the_build(tmp_path, monkeypatch):
    mkdocs = pytest.importorskip("mkdocs.exceptions", reason="MkDocs is not installed: `make docs-site` installs it")
    changed = markdown.with_links
    monkeypatch.setattr(markdown, "with_links", lambda *given: changed(*given) + "\n\n[one](#no-such-heading)\n")
    with pytest.raises(mkdocs.Abort):
        build.build(tmp_path)
