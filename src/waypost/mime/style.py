"""Filter the CSS of a style attribute by allow-lists of properties and of characters.

A value may contain no backslash, quote, comment or bracket, except the brackets of colours. So it can contain no escape
sequence, no URL and no function, and needs no parser for CSS.
"""

import re

from waypost.mime.names import names

_PROPERTIES = names(
    "background background-color border-collapse border-color border-radius border-spacing border-style border-width "
    "caption-side clear color direction display empty-cells float font font-family font-size font-style font-variant "
    "font-weight height letter-spacing line-height list-style list-style-type max-height max-width min-height "
    "min-width overflow-wrap table-layout text-align text-decoration text-indent text-transform vertical-align "
    "white-space width word-break word-spacing word-wrap "
    "border border-top border-right border-bottom border-left margin margin-top margin-right margin-bottom margin-left "
    "padding padding-top padding-right padding-bottom padding-left "
    "border-top-color border-right-color border-bottom-color border-left-color border-top-style border-right-style "
    "border-bottom-style border-left-style border-top-width border-right-width border-bottom-width border-left-width"
)
_VALUE = re.compile(r"(?:(?:rgb|hsl)a?\([0-9.,%/ ]{1,40}\)|[a-z0-9#%.,/ -])+", re.IGNORECASE)
_NEGATIVE = re.compile(r"-[0-9.]")
"""A negative length could move content over something else on the page."""
_REMOTE = re.compile(r"(?:url\s*\(|@import)[\s\"']*(?:https?:)?//", re.IGNORECASE)
_LIMIT = 4_000
"""The maximum length of a style attribute, in characters."""


def filtered(style: str) -> str:
    """Return the declarations that are safe; empty if there are none."""
    declarations = (_declaration(each) for each in style[:_LIMIT].split(";"))
    return "; ".join(filter(None, declarations))


def remote_references(style: str) -> int:
    """Return the number of references to files on other hosts."""
    return len(_REMOTE.findall(style[:_LIMIT]))


def _declaration(text: str) -> str:
    name, _, value = text.partition(":")
    name, value = name.strip().lower(), " ".join(value.split())
    value, importance = (value[:-10].rstrip(), " !important") if value.lower().endswith("!important") else (value, "")
    if name == "font-family":
        value = value.replace('"', "").replace("'", "")  # names of fonts need no quotes
    if name not in _PROPERTIES or not _VALUE.fullmatch(value) or _NEGATIVE.search(value):
        return ""
    return f"{name}: {value}{importance}"
