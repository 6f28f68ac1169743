"""Explains in words why a host name has no address."""

import socket

_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
"""The name does not exist, or it has no address."""


def why_no_address(error: socket.gaierror | UnicodeError) -> str:
    """Why a host name has no address. A name that no host can have is `UnicodeError` in Python."""
    if isinstance(error, UnicodeError) or error.errno in _UNKNOWN:
        return "no such host"
    return error.strerror or "its address cannot be found out"
