"""Find out where a link leads, and whether its text says something else."""

import re
from functools import lru_cache

from waypost.domain import errors
from waypost.domain.mail import hosts
from waypost.mime.message import Link

HREF_LIMIT = 8_000
"""The maximum length of a link's address, in characters."""

_TEXT_LIMIT = 300
"""How much of a link's text is examined and kept, in characters."""

_IGNORED = re.compile(r"[\t\r\n]")
"""The characters that browsers remove from an address, wherever they are (https://url.spec.whatwg.org/#url-parsing)."""
_ENDS = "".join(map(chr, range(0x21)))
"""The characters that browsers remove from both ends of an address."""
_WEB = re.compile(r"(https?):[/\\]*", re.IGNORECASE)
_AUTHORITY = re.compile(r"https?://([^/?#]*)")
_PORT = re.compile(r":\d*$")
_LOOKS_LIKE_HOST = re.compile(r"(?:[a-z]+:/*)?(?:[^\s/@]{1,64}@)?((?:[\w-]{1,63}\.){1,10}[\w-]{2,63})", re.IGNORECASE)
_HIDING = re.compile(r"[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Characters that are invisible, or that change the direction of text."""


def normalised(address: str) -> str:
    """Return an address as browsers read it. An address of another scheme than http and https is only trimmed."""
    address = _IGNORED.sub("", address).strip(_ENDS)
    web = _WEB.match(address)
    if web is None:
        return address
    path, question, query = address[web.end() :].partition("?")
    return f"{web[1].lower()}://" + path.replace("\\", "/") + question + query


def href(address: str) -> str | None:
    """Return the address of a link as it may stand in `href`; None if a link must not lead there."""
    address = normalised(address)
    scheme, colon, _ = address.partition(":")
    if not colon or scheme.lower() not in {"http", "https", "mailto", "tel"} or len(address) > HREF_LIMIT:
        return None
    return address


def described(address: str, text: str) -> Link:
    """Describe a link for a reader, from its address (see `href`) and its text."""
    host = _host(address)
    ascii_host = _ascii(host)
    target = f"{address} ({ascii_host})" if ascii_host != host else address
    is_hiding = _HIDING.search(text[:_TEXT_LIMIT]) is not None
    seen = _HIDING.sub("", text[:_TEXT_LIMIT]).strip()
    return Link(seen, target, is_hiding or _names_another(seen, ascii_host) or ascii_host == _MALFORMED)


_MALFORMED = "the host name is malformed"


def _host(address: str) -> str:
    web = _AUTHORITY.match(address)
    if web:
        return _PORT.sub("", web[1].rpartition("@")[2]).lower()
    return address.partition("?")[0].rpartition("@")[2].lower() if address.lower().startswith("mailto:") else ""


@lru_cache(maxsize=256)
def _ascii(host: str) -> str:
    if host.isascii():
        return host
    try:
        return hosts.parse(host)
    except errors.Invalid:
        return _MALFORMED


def _names_another(text: str, host: str) -> bool:
    """Return whether a text begins with a host name, and the link leads neither there nor to a subdomain of it."""
    named = _LOOKS_LIKE_HOST.match(text)
    if named is None:
        return False
    name = _ascii(named[1].lower()).removeprefix("www.")
    return host != name and not host.endswith(f".{name}")
