"""Cut HTML before it becomes so deep or so long that the parser would take quadratic time.

The parser of browsers, and of `nh3`, searches its stack of open elements at each tag, and opens all open formatting
elements again in each paragraph. Measured with nh3 0.3.8: 20,000 nested `<div>` take 3 s, and 10,000 `<font>` followed
by 10,000 `<p>` take 10 s. This module only estimates the depth; the time limit of the worker stops what it misses.
"""

import re

from waypost.mime.names import names

TAGS = 20_000
"""The maximum number of tags. The largest newsletters have about 10,000."""

DEPTH = 256
"""The maximum number of open elements."""

FORMATTING = 64
"""The maximum number of open formatting elements."""

ATTRIBUTES = 256
"""The maximum number of attributes of one element. The parser compares each attribute with all before it."""

REFERENCES = 150_000
"""The maximum number of ampersands. The parser takes quadratic time for a text with many character references: 4 s for
500,000. A text of a megabyte in which each letter is a reference has about 150,000.
"""

SCANNED = 4 * 1024 * 1024
"""The maximum number of characters of attributes that are examined. Each character of ordinary HTML is examined once,
but in `<p<p<p`, all that follows a tag can be an attribute of it.
"""

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*)")
_BETWEEN = re.compile(r"[\s/]*+")
_ATTRIBUTE = re.compile(r"""[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*"|'[^']*'|[^\s>]*+))?""")
_NOT_NESTED = names(
    "area base body br col colgroup dd dt embed head hr html img input li link meta optgroup option p param rb rp rt "
    "rtc source tbody tfoot thead tr track wbr"
)
"""The elements that have no content, or that the parser ends by itself where the next one begins."""
_FORMATTING = names("a b big code em font i nobr s small strike strong tt u")
_BARRIERS = names("applet caption marquee math object svg table td template th")
"""The elements that an end tag of another element inside of them does not end."""
_MERGED = names("body html")
"""The elements that exist once: the parser adds the attributes of further tags to the first one."""
_ORDINARY = names("abbr bdi bdo cite del dfn ins kbd label mark q samp span sub sup time var")
"""The elements whose end tag does not end a block that began inside of them."""


def cut(html: str) -> tuple[str, bool]:
    """Return HTML up to the first tag that exceeds a limit, and whether anything was cut."""
    allowed = "&".join(html.split("&", REFERENCES + 1)[: REFERENCES + 1])
    cut_html, was_cut = _cut_tags(allowed)
    return cut_html, was_cut or len(allowed) < len(html)


def _cut_tags(html: str) -> tuple[str, bool]:
    elements: list[str] = []
    formatting = scanned = merged = 0
    for count, tag in enumerate(_TAG.finditer(html)):
        name = tag[2].lower()
        end, attributes = _after_attributes(html, tag.end())
        scanned += end - tag.end()
        merged += attributes if name in _MERGED else 0
        if count >= TAGS or max(attributes, merged) > ATTRIBUTES or scanned > SCANNED:
            return html[: tag.start()], True
        if name in _NOT_NESTED:
            continue
        if tag[1]:
            formatting -= _close(elements, name)
            continue
        if name in {"td", "th"}:
            formatting -= _close_cell(elements)
        elements.append(name)
        formatting += name in _FORMATTING
        if len(elements) > DEPTH or formatting > FORMATTING:
            return html[: tag.start()], True
    return html, False


def _after_attributes(html: str, at: int) -> tuple[int, int]:
    """Return the offset after the attributes of a tag, and their number. At most `ATTRIBUTES` + 1 are counted."""
    for count in range(ATTRIBUTES + 1):
        between = _BETWEEN.match(html, at)
        at = between.end() if between else at
        attribute = _ATTRIBUTE.match(html, at)
        if attribute is None:
            return at, count
        at = attribute.end()
    return at, ATTRIBUTES + 1


def _close(elements: list[str], name: str) -> int:
    """Remove the element that an end tag ends, and those inside of it. Return how many formatting elements it ends.

    A formatting element that is not ended by its own end tag is opened again after a block, so it stays in the count.
    """
    is_inline = name in _FORMATTING or name in _ORDINARY
    for back in range(len(elements) - 1, -1, -1):
        if elements[back] == name:
            ended = name in _FORMATTING
            del elements[back:]
            return ended
        is_block = elements[back] not in _FORMATTING and elements[back] not in _ORDINARY
        if (elements[back] in _BARRIERS and name not in _BARRIERS) or (is_inline and is_block):
            break
    return 0


def _close_cell(elements: list[str]) -> int:
    """End the cell of a table in which another cell begins."""
    for back in range(len(elements) - 1, -1, -1):
        if elements[back] in {"td", "th"}:
            ended = sum(name in _FORMATTING for name in elements[back:])
            del elements[back:]
            return ended
        if elements[back] == "table":
            break
    return 0
