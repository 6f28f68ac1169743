"""Links with which the operator of a server signs in to the console once, on the machine of the server."""

import secrets
from functools import partial
from ipaddress import ip_address

from waypost.app import ports
from waypost.app.directory import sessions
from waypost.domain import errors
from waypost.host.clock import now
from waypost.host.data_directory import DataDirectory

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


def owners_key_id(directory: DataDirectory) -> str | None:
    """Return the id of the access key in the credentials file; None if there is no such file."""
    return directory.profiles()[0].key.id if directory.credentials.exists() else None


def make(tx: ports.WriteTx, access_key_id: str, *, address: str) -> str:
    """Make a link that signs in with an access key, and return its URL. Raises `errors.NotFound`.

    `address` is the HOST:PORT of the console.
    """
    token = secrets.token_urlsafe(32)
    sessions.make_link(tx, access_key_id, token=token, now=now())
    return f"http://{address}{PATH}{token}"


async def at_start(store: ports.Store, directory: DataDirectory, *, http: str) -> str:
    """Return the URL of a new link for a server that has started. Return an empty string if the API does not listen on
    loopback, or if there is no active access key in the credentials file.
    """
    address, key_id = console_address(http), owners_key_id(directory)
    if address is None or key_id is None:
        return ""
    try:
        return await store.write(partial(make, access_key_id=key_id, address=address))
    except errors.NotFound:
        return ""
