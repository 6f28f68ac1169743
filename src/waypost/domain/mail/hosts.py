"""Names of hosts, as routes and settings name them: by the DNS, by /etc/hosts, or by Docker Compose."""

import re

import idna

from waypost.domain import errors

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
"""Labels as in RFC 1035, with the underscores of RFC 2181 section 11: a service of Docker Compose is a host."""

_LIMIT = 253
"""Octets of a name without its final dot (RFC 1035 section 2.3.4)."""


def parse(text: str) -> str:
    """The name of a host in lower case, with A-labels (RFC 5890). Raises `errors.Invalid`.

    A final dot is kept: such a name is complete, and no search domain is appended.
    """
    name = text.lower()
    if not text.isascii() and len(text) <= _LIMIT:
        try:
            name = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise errors.Invalid(f"{text!r} is no host name: {error}") from error
    if len(name.removesuffix(".")) > _LIMIT:
        raise errors.Invalid(f"a host name has {_LIMIT} octets at most")
    if not _HOST.fullmatch(name):
        raise errors.Invalid(
            f"{text!r} is no host name: letters, digits, _ and inner hyphens, with single dots between"
        )
    return name
