"""Detects requests of web pages that misuse the credentials of the browser's user.

A page of another site can make a browser send requests here, and the browser adds the credentials that its user once
typed. Two things give such a page away: the site that the browser says it is of (`Sec-Fetch-Site`, Fetch Metadata; in
older browsers `Origin`, RFC 6454), or, where the name of that site was made to lead here (DNS rebinding), that name
(`Host`, RFC 9110 section 7.2). Programs other than browsers send neither `Sec-Fetch-Site` nor `Origin`.
"""

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address

_PORT = re.compile(r":[0-9]*\Z")
_OWN_SITES = ("same-origin", "none")
"""`none`: the user has typed the address, or used a bookmark."""


def refusal(headers: Mapping[str, str], own_names: Collection[str]) -> str | None:
    """The reason to refuse a request with credentials because of its origin, in a sentence; None to accept it.

    `headers` are looked up by names in lower case; `own_names` are host names in lower case, besides IP addresses and
    localhost.
    """
    host = headers.get("host", "").lower()
    name = _name(host)
    if not _is_own(name, own_names):
        return (
            f"The inspection API does not answer to the name {name!r}. Use an IP address, localhost or the server's "
            "host name, or add the name to --http-names."
        )
    site = headers.get("sec-fetch-site", "").lower()
    if site in _OWN_SITES:
        return None
    origin = headers.get("origin", "").lower()
    if site or (origin and not _is_same(origin, host, own_names)):
        return "A page of another origin may not ask this API through a browser."
    return None


def _name(host: str) -> str:
    """The host without its port, brackets, and the dot of a complete name."""
    return _PORT.sub("", host).removeprefix("[").removesuffix("]").removesuffix(".")


def _is_own(name: str, own_names: Collection[str]) -> bool:
    """Whether this name is certain to be the server's. Without a name the client is not a browser (HTTP/1.0)."""
    if not name or name in own_names or name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str, own_names: Collection[str]) -> bool:
    """Whether a page is of this server. A proxy before it may have another scheme, and another Host."""
    scheme, _, authority = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return authority.removesuffix(default) == host.removesuffix(default) or _name(authority) in own_names
