"""Make the HTML of a message safe to show on a page.

`nh3` parses the HTML as browsers do, keeps only the elements and attributes that are listed here, and serialises the
result. The page that shows it must still forbid scripts and remote content by its Content-Security-Policy: one barrier
is not enough for mail from strangers.
"""

import html as entities
import re
from collections.abc import Mapping
from urllib.parse import unquote

import nh3

from waypost.mime import cleaning, links, nesting, style
from waypost.mime.message import Link, SafeHtml
from waypost.mime.names import names

__all__ = ["Link", "SafeHtml", "sanitised"]

_TAGS = names(
    "a abbr address article aside b bdi big blockquote br caption center cite code col colgroup dd del dfn div dl dt "
    "em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark ol p pre q rp rt ruby s "
    "samp section small span strike strong sub sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
_WITH_CONTENT = names(
    "applet audio button canvas embed frameset head iframe math noembed noframes noscript object plaintext script "
    "select style svg template textarea title video xmp"
)
"""The elements that are removed together with their content. Other unknown elements leave their content."""
_REMOTE = frozenset({"background", "src", "srcset"})
"""The attributes that load files."""
_ATTRIBUTES = {
    "*": {
        "align",
        "background",
        "bgcolor",
        "dir",
        "height",
        "lang",
        "src",
        "srcset",
        "style",
        "title",
        "valign",
        "width",
    },
    "a": {"href"},
    "col": {"span"},
    "font": {"color", "face", "size"},
    "img": {"alt", "border"},
    "li": {"value"},
    "ol": {"start", "type"},
    "table": {"border", "cellpadding", "cellspacing"},
    "td": {"colspan", "nowrap", "rowspan"},
    "th": {"colspan", "nowrap", "rowspan"},
}
_VALUES = {
    name: re.compile(pattern, re.IGNORECASE)
    for attributes, pattern in {
        "align valign": r"[a-z]{1,10}",
        "bgcolor color": r"#?[a-z0-9]{1,30}",
        "border cellpadding cellspacing colspan rowspan span start value": r"\d{1,3}",
        "dir": r"ltr|rtl|auto",
        "face": r"[\w ,.-]{1,200}",
        "height width": r"\d{1,4}(?:px|%)?",
        "lang": r"[a-z0-9-]{1,35}",
        "nowrap": r"(?:nowrap)?",
        "size": r"[+-]?\d",
        "type": r"[1aAiI]",
    }.items()
    for name in attributes.split()
}
"""What the value of an attribute must match. Other attributes may have any value."""
_PICTURE = re.compile(r"data:image/(?:png|gif|jpeg|jpg|webp|bmp|avif)[;,]", re.IGNORECASE)
_WEB = re.compile(r"(?:https?:)?//|https?:", re.IGNORECASE)
_IN_SRCSET = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_SERIALISED_TAG = re.compile(r"(<[^<>]*>)")
"""A tag in the output of `nh3`, which escapes `<` and `>` in text and in attributes."""
_HREF = re.compile(r' href="([^"]*)"')
_STYLE = re.compile(r' style="([^"]*)"')
_TITLE_LIMIT = 500


def sanitised(html: str, *, parts_by_cid: Mapping[str, str], allow_remote: bool) -> SafeHtml:
    """Return HTML that contains nothing that runs, submits, or covers other parts of the page.

    `parts_by_cid` has the URL for each Content-ID. Remote pictures are removed unless `allow_remote`, and files that
    CSS refers to are always removed; `remote` counts both in any case. Each link opens a new page and shows its real
    address as a tooltip, and also after its text if the text looks like another address.
    """
    html, was_cut = nesting.cut(cleaning.text(html))
    filtering = _Filter(parts_by_cid, allow_remote=allow_remote)
    clean = nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes=_ATTRIBUTES,
        attribute_filter=filtering.value,
        url_schemes={"cid", "data", "http", "https", "mailto", "tel"},
        link_rel=None,
    )
    shown, found = _with_targets(cleaning.without_overrides(clean))
    problems = ("The HTML is too deep or too long, so its end is not shown.",) if was_cut else ()
    return SafeHtml(shown, filtering.remote, found, problems)


class _Filter:
    """Decides about the values of attributes, and counts references to remote files."""

    def __init__(self, parts_by_cid: Mapping[str, str], *, allow_remote: bool) -> None:
        self._parts_by_cid = parts_by_cid
        self._allow_remote = allow_remote
        self.remote = 0

    def value(self, tag: str, attribute: str, value: str) -> str | None:
        """Return the value that an attribute gets; None if the attribute is removed."""
        if attribute == "style":
            self.remote += style.remote_references(value)
            return style.filtered(value) or None
        if attribute == "href":
            return links.href(value)
        if attribute == "srcset":
            self.remote += bool(_IN_SRCSET.search(value))
            return None
        if attribute in _REMOTE:
            url = self._file(links.normalised(value))
            return url if tag == "img" or attribute == "background" else None
        if attribute in _VALUES:
            return value if _VALUES[attribute].fullmatch(value) else None
        return value

    def _file(self, url: str) -> str | None:
        """Return the URL of a file that the browser may load."""
        if url[:4].lower() == "cid:":
            return self._parts_by_cid.get(unquote(url[4:]).strip("<> "))
        if _PICTURE.match(url):
            return url
        if not _WEB.match(url):
            return None
        self.remote += 1
        if not self._allow_remote:
            return None
        return f"https:{url}" if url.startswith("//") else url


def _with_targets(html: str) -> tuple[str, tuple[Link, ...]]:
    """Complete the links of serialised HTML, and return the HTML and the links, in the order of their ends.

    A link can contain others: in a table, the parser does not end a link where the next one begins. The text of a link
    includes the texts of the links in it.
    """
    pieces: list[str] = []
    found: list[Link] = []
    opened: list[tuple[str | None, list[str]]] = []
    for piece in _SERIALISED_TAG.split(html):
        if piece.startswith("<a ") or piece == "<a>":
            start = _HREF.search(piece)
            href = entities.unescape(start[1]) if start else None
            opened.append((href, []))
            pieces.append(_opened(href, _STYLE.search(piece)))
        elif piece == "</a>":
            pieces.append(piece)
            href, text = opened.pop()
            if href is not None:
                found.append(links.described(href, "".join(text)))
                pieces.append(_warning(found[-1]))
        else:
            pieces.append(piece)
            if opened and not piece.startswith("<"):
                shown = entities.unescape(piece)
                for _, text in opened:
                    text.append(shown)
    return "".join(pieces), tuple(found)


def _opened(href: str | None, styled: re.Match[str] | None) -> str:
    attributes = f' style="{styled[1]}"' if styled else ""
    if href is None:
        return f"<a{attributes}>"
    title = entities.escape(links.described(href, "").target[:_TITLE_LIMIT])
    return (
        f'<a href="{entities.escape(href)}" rel="noopener noreferrer nofollow" target="_blank" title="{title}"'
        f"{attributes}>"
    )


def _warning(link: Link) -> str:
    if not link.is_misleading:
        return ""
    return f"<small> [leads to {entities.escape(link.target[:_TITLE_LIMIT])}]</small>"
