"""The contents of `run.json`: the addresses of the running server, and the settings that commands need."""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, replace


class Run(Struct, frozen=True):
    """The addresses of the running server, as HOST:PORT, and the settings that commands need."""

    http: str
    smtp: str
    smtps: str = ""
    lmtp: str = ""
    metrics: str = ""
    """The first address of the listener for metrics alone, which also has the server's health; empty if there is
    none."""
    certificate: str = ""
    """The path of the self-signed certificate that clients can trust; empty if the server has not made one."""
    listeners: Sequence[str] = ()
    """All addresses of the mail listeners: SMTP, SMTP over TLS, and LMTP."""
    hostname: str = ""
    """The server's host name."""
    dns: str = ""
    """The server's `dns` setting; empty if the server uses the system's resolvers."""
    config: str = ""
    """The path of the server's settings file; empty if the server has none."""
    routes: list[dict[str, Any]] = field(default_factory=list)
    """The routes in the server's settings file, without secrets."""
    settings: dict[str, str] = field(default_factory=dict)
    """A digest of each setting in use, by its name in the settings file, to find settings that have changed since."""
    https: str = ""
    """The first address with HTTPS, as HOST:PORT; empty if there is none."""
    https_name: str = ""
    """The host name or IP address in URLs for `https`: one for which the certificate is valid."""
    https_authority: str = ""
    """The path of the file with the authority that clients need to verify the certificate; empty if it is public."""
    pid: int = field(default_factory=os.getpid)

    @property
    def https_url(self) -> str:
        """The URL of the API over HTTPS, without a slash at its end; empty if there is no HTTPS."""
        if not self.https:
            return ""
        name = f"[{self.https_name}]" if ":" in self.https_name else self.https_name
        port = self.https.rpartition(":")[2]
        return f"https://{name}" if port == "443" else f"https://{name}:{port}"

    @property
    def url(self) -> str:
        """The URL of the API for programs on this machine: with HTTP if the server has it, because no file must then be
        trusted; or else with HTTPS. It has no slash at its end, and is empty if the server has no API.
        """
        return f"http://{self.http}" if self.http else self.https_url

    @property
    def has_api(self) -> bool:
        """Whether the server has the API."""
        return bool(self.http or self.https)


_ADDRESS = re.compile(r"(?:[^\s\[\]:]+|\[[^\s\[\]]+\]):[0-9]{1,5}", re.ASCII)
"""The pattern for HOST:PORT, with brackets around an IPv6 address."""


def text_of(run: Run) -> str:
    """Return the text to write to `run.json`."""
    return json.dumps(asdict(run)) + "\n"


def parse(text: str) -> Run:
    """Parse the text of `run.json`, and replace the server's addresses with addresses at which clients can connect to
    the server.

    Raises `ValueError`, `TypeError` or `RecursionError` if no Waypost server could have written the text.
    """
    stored = json.loads(text)
    # A newer server may have written more fields.
    run = Run(**{name: stored[name] for name in Run.__struct_fields__ if name in stored})
    _refuse_foreign(run)
    return reachable(run)


def reachable(run: Run) -> Run:
    """Replace the server's addresses with addresses at which clients on this machine can connect to the server. The
    `listeners` remain, because a check of a route must know which of them are unspecified.
    """
    return replace(
        run,
        http=reachable_at(run.http),
        https=reachable_at(run.https),
        smtp=reachable_at(run.smtp),
        metrics=reachable_at(run.metrics),
        smtps=reachable_at(run.smtps),
        lmtp=reachable_at(run.lmtp),
    )


def _refuse_foreign(run: Run) -> None:
    """Raise `TypeError` or `ValueError` if no Waypost server could have written the values of `run`."""
    addresses = [run.http, run.https, run.smtp, run.smtps, run.lmtp, run.metrics, *run.listeners]
    texts = [*addresses, run.certificate, run.hostname, run.dns, run.config, run.https_name, run.https_authority]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(run)
    if not all(map(_ADDRESS.fullmatch, filter(None, addresses))):
        raise ValueError(run)
    os.fsencode("".join(texts))  # refuses lone surrogates, except in file names that are not UTF-8


def reachable_at(address: str) -> str:
    """Return the HOST:PORT to which a client on this machine connects to reach a listener.

    The addresses 0.0.0.0 and :: are not valid destinations, so they become the loopback address.
    """
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        found = ip_address(host.strip("[]"))
        if found.is_unspecified:
            return f"127.0.0.1:{port}" if found.version == 4 else f"[::1]:{port}"
    return address
