"""Host names in routes and settings. A name may be defined in the DNS, in /etc/hosts, or by Docker Compose."""

import re

import idna

from waypost.domain import errors

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
"""A host name whose labels follow RFC 1035, but may also contain underscores (RFC 2181 section 11), as in Docker
Compose.
"""

_LIMIT = 253
"""The maximum length of a host name without its final dot, in bytes (RFC 1035 section 2.3.4)."""


def parse(text: str) -> str:
    """Return a host name in lower case, with A-labels (RFC 5890). Raises `errors.Invalid` if the name is malformed.

    A final dot is kept, because it means that the resolver must not append a search domain.
    """
    name = text.lower()
    if not text.isascii() and len(text) <= _LIMIT:
        try:
            name = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise errors.Invalid(f"{text!r} is not a host name: {error}") from error
    if len(name.removesuffix(".")) > _LIMIT:
        raise errors.Invalid(f"a host name may have at most {_LIMIT} characters")
    if not _HOST.fullmatch(name):
        raise errors.Invalid(
            f"{text!r} is not a host name: use labels of letters, digits, _ and inner hyphens, separated by single dots"
        )
    return name
