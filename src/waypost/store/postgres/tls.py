"""Whether the connection to PostgreSQL must be encrypted. libpq's own default, `sslmode=prefer`, continues without TLS
where the server does not offer TLS, or where an attacker on the way says so (libpq, "Protection Provided in Different
Modes"). So a database on another machine has to offer TLS unless the operator says otherwise
(docs/decisions/0030-tls-to-the-database.md).
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

REQUIRED = "require"
"""The default `sslmode`: encrypted, and with a root certificate file also verified (libpq)."""


def is_required(parameters: Mapping[str, Any], defaults: Mapping[str, str]) -> bool:
    """Whether TLS must be required, because a host may be another machine and no `sslmode` was given.

    `parameters` are those of the URL, by libpq's names. `defaults` are those of libpq's environment variables. A URL
    with `service` names a file of the operator's, which can have `sslmode` itself, so nothing is required for it.
    """

    def given(name: str) -> str:
        return str(parameters.get(name) or defaults.get(name) or "")

    if given("sslmode") or given("service"):
        return False
    # An address is what libpq connects to; the name beside it is for the certificate alone.
    addresses, names = given("hostaddr").split(","), given("host").split(",")
    count = max(len(addresses), len(names))
    addresses += [""] * (count - len(addresses))
    names += [""] * (count - len(names))
    return not all(_is_this_machine(address or name) for address, name in zip(addresses, names, strict=True))


def _is_this_machine(host: str) -> bool:
    """Whether a host is a Unix socket (libpq's default among them), a loopback address or localhost."""
    if not host or host.startswith(("/", "@")) or host.lower().removesuffix(".") == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
