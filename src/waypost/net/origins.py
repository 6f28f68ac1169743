"""Detects browser requests with which a web page of another site misuses the user's credentials.

A page of another site can make a browser send requests to this server. The browser then adds the credentials that its
user entered earlier. A browser reports the site of the page in `Sec-Fetch-Site` (Fetch Metadata); older browsers use
`Origin` (RFC 6454). With DNS rebinding, a site makes its own host name resolve to this server. The browser's requests
to this server then have the host name of the hostile site in `Host` (RFC 9110 section 7.2). Programs other than
browsers send neither `Sec-Fetch-Site` nor `Origin`.
"""

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address

_PORT = re.compile(r":[0-9]*\Z")
_OWN_SITES = ("same-origin", "none")
"""The accepted values of `Sec-Fetch-Site`. The browser sends `none` if the user typed the URL or used a bookmark."""


def refusal(headers: Mapping[str, str], own_names: Collection[str], *, of: str) -> str | None:
    """If a request must be refused because of its origin, return the reason as a sentence. Otherwise return None.

    The names in `headers` are in lower case. `of` names what the request is for, such as "The inspection API".
    `own_names` are the host names of this server, in lower case. In addition, IP addresses and localhost are always
    accepted as host names.
    """
    host = headers.get("host", "").lower()
    name = _name(host)
    if not _is_own(name, own_names):
        return (
            f"{of} refuses the host name {name!r}. Use an IP address, localhost or the server's "
            "host name, or add the name to --http-names."
        )
    site = headers.get("sec-fetch-site", "").lower()
    if site in _OWN_SITES:
        return None
    origin = headers.get("origin", "").lower()
    if site or (origin and not _is_same(origin, host, own_names)):
        return f"{of} refuses requests from web pages of another origin."
    return None


def is_loopback(host: str) -> bool:
    """Return whether a `Host` names this machine itself: `localhost`, or an address such as 127.0.0.1 or [::1].

    An empty `Host` counts too, because only clients of HTTP/1.0 send none.
    """
    name = _name(host.lower())
    return not name or name == "localhost" or is_loopback_address(name)


def is_loopback_address(address: str) -> bool:
    """Return whether a text is a loopback address of IPv4 or IPv6."""
    try:
        return ip_address(address.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """Return a host without its port, its brackets, and its final dot."""
    return _PORT.sub("", host).removeprefix("[").removesuffix("]").removesuffix(".")


def _is_own(name: str, own_names: Collection[str]) -> bool:
    """Return whether a host name belongs to this server.

    An empty name is accepted: a client that sends no `Host` uses HTTP/1.0, so it cannot be a browser.
    """
    if not name or name in own_names or name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str, own_names: Collection[str]) -> bool:
    """Return whether `origin` is the origin of this server.

    A proxy in front of the server may change the scheme and the `Host` field. Therefore, any scheme is accepted, and an
    `origin` whose host name is in `own_names` need not match `host`.
    """
    scheme, _, authority = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return authority.removesuffix(default) == host.removesuffix(default) or _name(authority) in own_names
