"""The HTTP client that commands use to call a running server."""

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

from waypost.cli.parameters import Argument, Option
from waypost.cli.terminal import plain
from waypost.config import rows
from waypost.host.data_directory import DataDirectory

Data = Annotated[
    str, Option("--data", help="The data directory of the running server.", envvar=rows.environment_name("data"))
]
Address = Annotated[str, Argument(metavar="ADDRESS", help="An email address, such as support@example.com.")]
Json = Annotated[bool, Option("--json", help="Print JSON instead of text, for use by programs.")]

DEFAULT_DATA = rows.DATA_DIRECTORY

LONGEST_WORK = 600.0
"""The timeout, in seconds, for a request that may change many messages."""

_LONGEST_ERROR = 64 * 1024
"""The maximum number of bytes to read from an error response."""

_LONGEST_REASON = 500
"""The maximum length, in characters, of a plain-text error response. A longer response is not shown to the user."""

PART = 1024 * 1024
"""The number of bytes to read from a response at a time."""


class ServerRefused(Exception):
    """The server refused a request. The exception's message gives the server's reason."""


class NotThere(ServerRefused):
    """The server does not have the requested resource (HTTP 404)."""


class NoServer(Exception):
    """No server answers, or the server fails with HTTP 5xx. The same request may succeed later."""


class Client:
    """A client for the server that is using a given data directory. The client authenticates with the server's own
    access key.
    """

    def __init__(self, data: str) -> None:
        directory = DataDirectory(Path(data))
        self._path = directory.path
        self.run = directory.running()
        self._credentials = directory.credentials
        profile = directory.profiles()[0]
        self.key, self.region = profile.key, profile.region

    def get(self, path: str, **query: str | int | None) -> Any:
        """Send a GET request to the inspection API, and return the parsed JSON response.

        Query parameters whose value is None are omitted. Like every method of this class, this method raises
        `ServerRefused` or `NoServer` if the request fails.
        """
        with self._answer(path, query) as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a POST request with a JSON body, and return the parsed JSON response.

        The server may take several minutes to respond.
        """
        octets, kind = json.dumps(body).encode(), "application/json"
        with self._answer(path, {}, octets=octets, kind=kind, seconds=LONGEST_WORK) as response:
            return json.load(response)

    def post_message(self, path: str, message: bytes, **query: str | int | None) -> Any:
        """Send a POST request with a message as its body, and return the parsed JSON response."""
        with self._answer(path, query, octets=message, kind="message/rfc822") as response:
            return json.load(response)

    def download(self, path: str, **query: str | int | None) -> Iterator[bytes]:
        """Send a GET request, and yield the body of the response in parts of at most `PART` bytes."""
        with self._answer(path, query) as response:
            while part := response.read(PART):
                yield part

    @contextmanager
    def stream(self, path: str, last_id: str, silence: float, **query: str | int | None) -> Iterator[Iterator[bytes]]:
        """Send a GET request for a stream of events, and yield an iterator of its bytes, which are yielded as they
        arrive.

        The stream continues after the event with the id `last_id`; an empty id means that it begins now. If no byte
        arrives for `silence` seconds, the connection is regarded as lost, and the iterator raises `NoServer`.
        """
        with self._answer(path, query, last_id=last_id, seconds=silence) as response:
            yield iter(lambda: response.read1(PART), b"")

    @contextmanager
    def _answer(
        self,
        path: str,
        query: dict[str, str | int | None],
        *,
        octets: bytes | None = None,
        kind: str = "",
        last_id: str = "",
        seconds: float = 30.0,
    ) -> Iterator[Any]:
        query_string = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        shown = base64.b64encode(f"{self.key.id}:{self.key.secret}".encode()).decode()
        optional = {"Content-Type": kind, "Last-Event-ID": last_id}
        headers = {"Authorization": f"Basic {shown}"} | {name: value for name, value in optional.items() if value}
        request = urllib.request.Request(f"http://{self.run.http}/_waypost/{path}?{query_string}", octets, headers)
        # Do not use a proxy that is set in the environment, because it could not connect to a loopback address of this
        # machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as response:
                yield response
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                raise ServerRefused(
                    f"The access key in {self._credentials} is no longer active. Remove the credentials file and start "
                    "Waypost again. Waypost then creates a new key."
                ) from error
            if error.code == HTTPStatus.NOT_FOUND:
                raise NotThere(_reason(error)) from error
            failed = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise (NoServer if failed else ServerRefused)(_reason(error)) from error
        except (OSError, HTTPException) as error:
            raise NoServer(
                f"The server at {self.run.http} does not answer. If it was killed, start it again: "
                f"waypost serve --data {shlex.quote(str(self._path))}"
            ) from error


def path_of(part: str) -> str:
    """Percent-encode a string from the user so that it is one segment of a URL path."""
    return urllib.parse.quote(part, safe="")


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the reason that an error response gives: the member `error` of its JSON body, its plain text if that is
    short, or else its status line.
    """
    octets = error.read(_LONGEST_ERROR)
    try:
        return str(json.loads(octets)["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(plain(line) for line in octets.decode(errors="replace").splitlines())
    status_line = f"The server answered {error.code} {error.reason}"
    is_readable = error.headers.get_content_type() == "text/plain" and 0 < len(text) <= _LONGEST_REASON
    return f"{status_line}: {text}" if is_readable else f"{status_line}."
