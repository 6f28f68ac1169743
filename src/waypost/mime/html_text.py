"""Derive readable text from HTML.

The result is text, so nothing here makes HTML safe (`safe_html` does). The work is linear in the size of the HTML: each
search starts where the last one ended, and the first search that finds nothing ends the work.
"""

import html as entities
import re

from waypost.mime.names import names

_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)")
_SPACE = re.compile(r"[ \t\r\n\f]+")
_INVISIBLE = frozenset({"head", "noscript", "script", "style", "template", "textarea", "title", "xml"})
"""The elements whose content is not text for reading."""
_END_OF = {name: re.compile(f"</{name}", re.IGNORECASE | re.ASCII) for name in _INVISIBLE}
_BREAK = "\0"
"""Marks the beginning or the end of a line. Several marks mean one line end. HTML contains no null character."""
_LINES = names(
    "address article aside blockquote caption center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr li main nav ol p pre section table tr ul"
)
"""The elements that begin or end a line."""
_PARAGRAPHS = names("blockquote h1 h2 h3 h4 h5 h6 ol p pre table ul")
"""The elements that have an empty line before and after them."""


def text_of(html: str) -> str:
    """Return the text of an HTML document or fragment, with LF line ends."""
    text: list[str] = []
    at = 0
    while at < len(html):
        start = html.find("<", at)
        if start < 0:
            text.append(_visible(html[at:]))
            break
        text.append(_visible(html[at:start]))
        at = _after_tag(html, start, text)
    return _tidy("".join(text))


def _after_tag(html: str, start: int, text: list[str]) -> int:
    """Add what the tag at `start` means for the text. Return the offset at which reading goes on."""
    if html.startswith("<!--", start):
        return _after(html, "-->", start + 4)
    if html.startswith(("<!", "<?"), start):
        return _after(html, ">", start)
    name_match = _NAME.match(html, start + 1)
    if name_match is None:
        text.append("<")
        return start + 1
    name = name_match[1].lower()
    at = _after(html, ">", name_match.end())
    is_end = html[start + 1] == "/"
    if name in _INVISIBLE and not is_end:
        end = _END_OF[name].search(html, at)
        return _after(html, ">", end.end()) if end else len(html)
    if name in _PARAGRAPHS:
        text.append("\n\n")
    elif name == "br":
        text.append("\n")
    elif name in _LINES:
        text.append(_BREAK)
    elif name in {"td", "th"} and is_end:
        text.append("\t")
    if name == "li" and not is_end:
        text.append("- ")
    return at


def _after(html: str, what: str, start: int) -> int:
    """Return the offset after the next `what`, or the end of the HTML if there is none."""
    found = html.find(what, start)
    return len(html) if found < 0 else found + len(what)


def _visible(text: str) -> str:
    return entities.unescape(_SPACE.sub(" ", text)) if text else ""


def _tidy(text: str) -> str:
    """Remove spaces at the ends of lines, and all but one of several empty lines."""
    lines: list[str] = []
    text = "\n".join(piece for piece in text.split(_BREAK) if piece.strip(" \t"))
    for line in text.split("\n"):
        stripped = line.strip(" \t\N{NO-BREAK SPACE}")
        if stripped or (lines and lines[-1]):
            lines.append(stripped)
    return "\n".join(lines).strip("\n")
