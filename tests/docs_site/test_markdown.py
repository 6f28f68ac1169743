"""Pages for GitHub become pages for the site: their links, their lists, and the navigation that an index defines."""

from pathlib import Path

import pytest

from scripts.docs_site import markdown

ROOT = Path(__file__).parents[2]
DOCS = Path("/checkout/docs")
ADDED = {Path("/checkout/CONTRIBUTING.md"): "contributing/index.md", DOCS / "decisions": "decisions/index.md"}


@pytest.mark.parametrize(
    ("source", "link", "there"),
    [
        ("docs/index.md", "[one](quirks.md)", "[one](quirks.md)"),
        ("docs/index.md", "[one](how-to/routes.md#loops)", "[one](how-to/routes.md#loops)"),
        ("docs/how-to/routes.md", "[one](../quirks.md)", "[one](../quirks.md)"),
        ("docs/index.md", "[one](decisions)", "[one](decisions/index.md)"),
        ("docs/how-to/routes.md", "[one](../../CONTRIBUTING.md#tools)", "[one](../contributing/index.md#tools)"),
        ("CONTRIBUTING.md", "[`one`](docs/style.md)", "[`one`](../style.md)"),
        ("docs/quirks.md", "[`a.py`](../src/a.py)", "`a.py`"),
        ("docs/quirks.md", "[one](https://example.com/a)", "[one](https://example.com/a)"),
        ("docs/quirks.md", "[one](#a-heading)", "[one](#a-heading)"),
        ("docs/quirks.md", "![a drawing](growth/a.svg)", "![a drawing](growth/a.svg)"),
        ("docs/quirks.md", "```\n[one](../src/a.py)\n```\n", "```\n[one](../src/a.py)\n```\n"),
    ],
)
def test_a_link_leads_to_the_page_of_the_site(source, link, there):
    file = Path("/checkout") / source
    place = ADDED.get(file) or str(file.relative_to(DOCS))
    assert markdown.with_links(link, file, place, DOCS, ADDED) == there


def test_nested_lists_are_indented_by_four_spaces_for_each_level():
    text = "1. One\n   more\n   - two\n     more\n\n   three\n"
    assert markdown.with_deeper_lists(text) == "1. One\n    more\n    - two\n        more\n\n    three\n"


def test_code_is_not_indented():
    assert markdown.with_deeper_lists("```yaml\n  - one\n```\n") == "```yaml\n  - one\n```\n"


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Names in code", "names-in-code"),
        ("`250`: what it means", "250-what-it-means"),
        ("STARTTLS / TLS", "starttls--tls"),
    ],
)
def test_an_anchor_is_that_of_github(heading, anchor):
    assert markdown.anchor(heading) == anchor


def test_the_headings_of_the_index_are_the_sections_of_the_navigation():
    index = (
        "# Home\n\n[not](this.md)\n\n## To learn\n\n- [a](a.md)\n\n## To do\n\n### In tests\n\n[b](b.md) or [c](c.md)\n"
    )
    assert markdown.sections(index) == {"To learn": ["a.md"], "To do": {"In tests": ["b.md", "c.md"]}}


def targets(within):
    """Return the pages of a section of the navigation."""
    return within if isinstance(within, list) else [target for pages in within.values() for target in pages]


def test_the_index_has_the_four_kinds_of_pages_and_links_each_page_once():
    sections = markdown.sections((ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert list(sections) == ["Tutorial", "How-to guides", "Reference", "Explanation", "Contributing"]
    linked = [target for within in sections.values() for target in targets(within)]
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("**/*.md")}
    shown = pages - {page for page in pages if page.startswith("decisions/")} - {"index.md"}
    assert sorted(linked) == sorted([*shown, "decisions", "../CONTRIBUTING.md", "../CHANGELOG.md"])


def test_how_to_pages_are_how_to_guides_and_generated_pages_are_reference():
    sections = markdown.sections((ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    for kind, folder in {"How-to guides": "how-to/", "Reference": "reference/"}.items():
        for section, within in sections.items():
            there = [target for target in targets(within) if target.startswith(folder)]
            assert section == kind or not there, section
