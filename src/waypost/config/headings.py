"""The headings of the settings in the help of `waypost serve`."""

from collections.abc import Iterable, Mapping

FIRST = {
    "config": "Server",
    "http": "API, console and metrics",
    "smtp": "Listeners for mail",
    "tls_certificate": "TLS",
    "proxy_networks": "Clients that send mail",
    "authentication": "Senders, names and domains",
    "database": "Database",
    "account": "Account and limits of the API",
    "trace_refusals": "Operation",
    "log_level": "Log",
    "clock": "Tests",
}
"""The heading above each of these settings. It is also the heading of the settings that follow in the table."""


def headings(names: Iterable[str]) -> Mapping[str, str]:
    """Return the heading of each setting. `names` are in the order of the table; the first must have a heading."""
    found = {}
    heading = ""
    for name in names:
        heading = FIRST.get(name, heading)
        found[name] = heading
    return found
