"""Describes the options of a route in words, for lists of routes."""

from collections.abc import Mapping
from typing import Any

from waypost.domain.mail.routes import INBOX, Route

_DEFAULTS = Route(match="*", to=INBOX)


def in_words(route: Mapping[str, Any]) -> list[str]:
    """Return the options of a route as phrases. Options with their default value are omitted.

    `route` is the result of `routes.without_secret`.
    """
    phrases = [
        "and in the inbox" if route["keep"] and route["to"] != INBOX else "",
        f"TLS {route['tls']}" if route["tls"] != _DEFAULTS.tls else "",
        "certificate not verified" if route["tls"] == "require" else "",
        f"as {route['user']}" if route["user"] else "",
        "sender not rewritten" if not route["rewrite_sender"] else "",
        "private networks allowed" if route["allow_private"] else "",
        f"{route['connections']} connections" if route["connections"] != _DEFAULTS.connections else "",
        f"line ends {route['line_ends']}" if route["line_ends"] != _DEFAULTS.line_ends else "",
        f"INJECTED FAULT: {route['fault']}" if route["fault"] else "",
    ]
    return [phrase for phrase in phrases if phrase]
