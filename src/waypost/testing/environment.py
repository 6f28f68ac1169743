"""Points boto3 and the AWS CLI at the server of a test, by environment variables, and restores the environment.

moto sets an access key of its own in the environment, for its mocks of other services, and may do so later than this
module. Therefore, requests to the server are signed with the server's key, whatever key the client has. As moto does,
this module adds a handler to those with which each new session of botocore begins.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from waypost.client import environment

if TYPE_CHECKING:
    from waypost.testing.process import Server

_keys: dict[str, Any] = {}
"""The credentials for each server, by the HOST:PORT of its API."""


def variables(server: "Server", instance_id: str) -> dict[str, str | None]:
    """Return the variables for a server; None for each variable that must be unset."""
    found = environment.variables(server.run, server.profile, instance_id=instance_id, environment=os.environ)
    return {**found, **dict.fromkeys(environment.UNSET)}


@contextmanager
def patched(server: "Server", given: Mapping[str, str | None]) -> Iterator[None]:
    """Set these variables, and sign requests to a server with its key, in the `with` block."""
    before = {name: os.environ.get(name) for name in given}
    _set(given)
    try:
        with _signing(server), _default_session(server):
            yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _signing(server: "Server") -> Iterator[None]:
    """Sign all requests to a server with its key, if botocore is installed."""
    try:
        from botocore import credentials, handlers  # noqa: PLC0415 - it is optional
    except ImportError:
        yield
        return
    handler = ("before-sign.connect", _use_key)
    is_new = handler not in handlers.BUILTIN_HANDLERS
    before = _keys.get(server.run.http)
    _keys[server.run.http] = credentials.Credentials(server.profile.key.id, server.profile.key.secret)
    if is_new:
        handlers.BUILTIN_HANDLERS.append(handler)
    try:
        yield
    finally:
        if before is None:
            del _keys[server.run.http]
        if is_new:
            handlers.BUILTIN_HANDLERS.remove(handler)


def _use_key(request: Any, **_: Any) -> None:
    """Let botocore sign a request with the key of the server that it is for."""
    key = _keys.get(urlsplit(request.url).netloc)
    if key:
        request.context.setdefault("signing", {})["request_credentials"] = key


@contextmanager
def _default_session(server: "Server") -> Iterator[None]:
    """Give boto3 another default session, because a session remembers the access key that it finds first.

    A server has the same default session each time, because a new one reads the model of the API again, for tenths of a
    second.
    """
    try:
        import boto3  # noqa: PLC0415 - it is optional
    except ImportError:
        yield
        return
    before = boto3.DEFAULT_SESSION
    if server.default_session is None:
        server.default_session = boto3.Session()
    boto3.DEFAULT_SESSION = server.default_session
    try:
        yield
    finally:
        boto3.DEFAULT_SESSION = before
