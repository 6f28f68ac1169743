"""How commands ask a running server."""

import base64
import json
import shlex
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.timeline import plain
from waypost.config.settings import ROWS
from waypost.host.data_directory import DataDirectory

Data = Annotated[
    str, typer.Option("--data", help="The data directory of the running server.", envvar=ROWS["data"].variable)
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An email address, such as support@example.com.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_DATA = ROWS["data"].default

LONGEST_WORK = 600.0
"""Seconds that something may take that is done with many messages."""

_LONGEST_ERROR = 64 * 1024
"""Octets of an answer that refuses."""

_LONGEST_REASON = 500
"""Characters of a text that is told as the reason."""

PART = 1024 * 1024
"""Octets that are read at once."""


class ServerRefused(Exception):
    """The server refused a request. The message gives its reason."""


class NotThere(ServerRefused):
    """The server has no such thing (HTTP 404)."""


class NoServer(Exception):
    """No server answers, or it fails. It may answer later."""


class Client:
    """The server that runs on a data directory, asked with its own access key."""

    def __init__(self, data: str) -> None:
        directory = DataDirectory(Path(data))
        self._path = directory.path
        self.run = directory.running()
        self._credentials = directory.credentials
        profile = directory.profiles()[0]
        self.key, self.region = profile.key, profile.region

    def get(self, path: str, **query: str | int | None) -> Any:
        """Ask the inspection API; what is None is not asked. Raises `ServerRefused`, `NoServer`, as all of these do."""
        with self._answer(path, query) as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Have something done, which may take a while."""
        octets, kind = json.dumps(body).encode(), "application/json"
        with self._answer(path, {}, octets=octets, kind=kind, seconds=LONGEST_WORK) as response:
            return json.load(response)

    def post_message(self, path: str, message: bytes, **query: str | int | None) -> Any:
        """Ask about a message."""
        with self._answer(path, query, octets=message, kind="message/rfc822") as response:
            return json.load(response)

    def download(self, path: str, **query: str | int | None) -> Iterator[bytes]:
        """Octets, part by part."""
        with self._answer(path, query) as response:
            while part := response.read(PART):
                yield part

    @contextmanager
    def _answer(
        self,
        path: str,
        query: dict[str, str | int | None],
        *,
        octets: bytes | None = None,
        kind: str = "",
        seconds: float = 30.0,
    ) -> Iterator[Any]:
        asked = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        shown = base64.b64encode(f"{self.key.id}:{self.key.secret}".encode()).decode()
        headers = {"Authorization": f"Basic {shown}"} | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(f"http://{self.run.http}/_waypost/{path}?{asked}", octets, headers)
        # No proxy: a proxy from the environment would be asked for our loopback address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as response:
                yield response
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                raise ServerRefused(
                    f"The access key in {self._credentials} is not active any more. Remove that file and start Waypost "
                    "again: it puts another one there."
                ) from error
            if error.code == HTTPStatus.NOT_FOUND:
                raise NotThere(_reason(error)) from error
            failed = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise (NoServer if failed else ServerRefused)(_reason(error)) from error
        except (OSError, HTTPException) as error:
            raise NoServer(
                f"The server at {self.run.http} does not answer. Was it killed? Start it again: "
                f"waypost serve --data {shlex.quote(str(self._path))}"
            ) from error


def path_of(part: str) -> str:
    """What somebody gave as a part of a path."""
    return urllib.parse.quote(part, safe="")


def _reason(error: urllib.error.HTTPError) -> str:
    """Why the server refused, in its own words if it has any: a JSON `error`, or a short text."""
    octets = error.read(_LONGEST_ERROR)
    try:
        return str(json.loads(octets)["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(plain(line) for line in octets.decode(errors="replace").splitlines())
    said = f"The server answered {error.code} {error.reason}"
    is_told = error.headers.get_content_type() == "text/plain" and 0 < len(text) <= _LONGEST_REASON
    return f"{said}: {text}" if is_told else f"{said}."
