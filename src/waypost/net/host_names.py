"""Explain why a host name could not be resolved."""

import socket

_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
"""The error numbers for a host name that does not exist or that has no address."""


def why_no_address(error: socket.gaierror | UnicodeError) -> str:
    """Return, in words, the reason why a host name has no address.

    `error` is a `UnicodeError` if the string cannot be a host name.
    """
    if isinstance(error, UnicodeError) or error.errno in _UNKNOWN:
        return "no such host"
    return error.strerror or "its address cannot be looked up"
