"""Turns a page that is written for GitHub into one for Python-Markdown, which MkDocs uses. Pure functions of text."""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")

Section = dict[str, list[str] | dict[str, list[str]]]
"""The navigation: for each heading, its pages, or its headings with their pages."""


def anchor(heading: str, separator: str = "-") -> str:
    """Return the anchor that GitHub gives a heading, so that the links of the pages also work on the site."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Apply a function to the parts of a page that are not in fenced blocks of code."""
    parts = FENCED.split(text)
    return "".join(part if FENCED.fullmatch(part) else change(part) for part in parts)


def with_links(text: str, source: Path, place: str, docs: Path, added: dict[Path, str]) -> str:
    """Return a page whose links lead to pages of the site.

    `source` is the file of the page, and `place` its place on the site. All files in `docs` are on the site at their
    place in the folder, and the files and folders `added` at the places given. A link to another file, such as a source
    file, becomes its text, because the site has no address at which a reader would find the file.
    """

    def rewritten(match: re.Match[str]) -> str:
        words, target, heading = match[1], match[2], match[3] or ""
        file = Path(os.path.normpath(source.parent / target))
        if file in added:
            there = added[file]
        elif file.is_relative_to(docs):
            there = str(file.relative_to(docs))
        else:
            return words
        return f"[{words}]({os.path.relpath(there, PurePosixPath(place).parent)}{heading})"

    return outside_of_code(text, lambda part: LINK.sub(rewritten, part))


def with_deeper_lists(text: str) -> str:
    """Indent nested lists by four spaces for each level, as Python-Markdown needs them.

    GitHub takes an item as nested as soon as it is below the text of the item above: by two or three spaces.
    """

    def deeper(part: str) -> str:
        return re.sub(
            r"^(?: {2,3}|( {4,6}))(?=\S)", lambda found: " " * (8 if found[1] else 4), part, flags=re.MULTILINE
        )

    return outside_of_code(text, deeper)


def sections(index: str) -> Section:
    """Return the navigation that a page of links defines: its headings, and under each heading the linked pages."""
    found: Section = {}
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        parts = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
        within = {part.partition("\n")[0]: _targets(part) for part in parts}
        found[title] = within or _targets(text)
    return found


def _targets(text: str) -> list[str]:
    return [match[2] for match in LINK.finditer(text)]
