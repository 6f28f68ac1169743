"""Links with which the operator of a server signs in to the console once, on the machine of the server."""

import secrets
from functools import partial
from ipaddress import ip_address

from waypost.app import ports
from waypost.app.directory import sessions
from waypost.domain import errors
from waypost.host.clock import now
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run

PATH = "/console/link/"


def console_address(http: str) -> str | None:
    """Return the HOST:PORT at which a browser on this machine reaches the console; None if the API does not listen on
    loopback. `http` is the HOST:PORT on which the API listens.
    """
    host, _, port = http.rpartition(":")
    name = host.removeprefix("[").removesuffix("]")
    if name == "localhost":
        return http
    try:
        address = ip_address(name)
    except ValueError:
        return None
    if address.is_loopback:
        return http
    if address.is_unspecified:
        return f"127.0.0.1:{port}" if address.version == 4 else f"[::1]:{port}"
    return None


def console_url(run: Run) -> str | None:
    """Return the URL, without the path, at which a browser reaches the console of a running server: over HTTPS if the
    server has it, or else over HTTP on this machine. Return None if there is no such address.
    """
    if run.https:
        return run.https_url
    address = console_address(run.http)
    return f"http://{address}" if address else None


def owners_key_id(directory: DataDirectory) -> str | None:
    """Return the id of the access key in the credentials file; None if there is no such file."""
    return directory.profiles()[0].key.id if directory.credentials.exists() else None


def make(tx: ports.WriteTx, access_key_id: str, *, url: str) -> str:
    """Make a link that signs in with an access key, and return its URL. Raises `errors.NotFound`.

    `url` is the URL of the server, from `console_url`.
    """
    token = secrets.token_urlsafe(32)
    sessions.make_link(tx, access_key_id, token=token, now=now())
    return f"{url}{PATH}{token}"


async def at_start(store: ports.Store, directory: DataDirectory, run: Run) -> str:
    """Return the URL of a new link for a server that has started. Return an empty string if the console cannot be
    reached, or if there is no active access key in the credentials file.
    """
    url, key_id = console_url(run), owners_key_id(directory)
    if url is None or key_id is None:
        return ""
    try:
        return await store.write(partial(make, access_key_id=key_id, url=url))
    except errors.NotFound:
        return ""
