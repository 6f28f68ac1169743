"""Decides whether the connection to PostgreSQL must be encrypted.

By default (`sslmode=prefer`), libpq continues without TLS if the server does not offer TLS. An attacker on the network
can make it appear that the server does not offer TLS (libpq, "Protection Provided in Different Modes"). Therefore,
Waypost requires TLS for a database on another machine, unless the operator sets `sslmode`
(docs/decisions/0030-tls-to-the-database.md).
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

REQUIRED = "require"
"""The value to which Waypost sets `sslmode` so that libpq encrypts the connection. If libpq finds a file with root
certificates, it also verifies the server's certificate."""


def is_required(parameters: Mapping[str, Any], defaults: Mapping[str, str]) -> bool:
    """Return whether Waypost must require TLS. TLS is required if a host may be another machine and the operator has
    not set `sslmode`.

    `parameters` are the parameters in the URL, by their libpq names. `defaults` are the parameters in libpq's
    environment variables. TLS is not required for a URL with `service`, because the operator's service file can set
    `sslmode`.
    """

    def given(name: str) -> str:
        return str(parameters.get(name) or defaults.get(name) or "")

    if given("sslmode") or given("service"):
        return False
    # libpq connects to the address in `hostaddr`, and uses the name in `host` only to verify the certificate.
    addresses, names = given("hostaddr").split(","), given("host").split(",")
    count = max(len(addresses), len(names))
    addresses += [""] * (count - len(addresses))
    names += [""] * (count - len(names))
    return not all(_is_this_machine(address or name) for address, name in zip(addresses, names, strict=True))


def _is_this_machine(host: str) -> bool:
    """Return whether a host is a Unix socket, a loopback address or localhost.

    An empty host means libpq's default, which is a Unix socket.
    """
    if not host or host.startswith(("/", "@")) or host.lower().removesuffix(".") == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
