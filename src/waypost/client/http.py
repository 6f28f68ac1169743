"""The HTTP client for the inspection API of a running server."""

import base64
import json
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from waypost.client import clock
from waypost.client.text import plain

LONGEST_WORK = 600.0
"""The timeout, in seconds, for a request that may change many messages."""

SECONDS = 30.0
"""The timeout, in seconds, for all other requests."""

LEAST = 0.001
"""The shortest time limit of a read, in seconds, because 0 means that a socket does not wait at all."""

LONGEST = 86_400.0
"""The longest time limit of a socket, in seconds, because sockets refuse infinity and very large numbers."""

_LONGEST_ERROR = 64 * 1024
"""The maximum number of bytes to read from an error response."""

_LONGEST_REASON = 500
"""The maximum length, in characters, of a plain-text error response. A longer response is not shown to the user."""

PART = 1024 * 1024
"""The number of bytes to read from a response at a time."""

_BYTES = "surrogatepass"
"""How text is encoded that is not valid UTF-8, such as an argument of a command. The server finds nothing for it."""

Query = Mapping[str, str | int | None]


class ServerRefused(Exception):
    """The server refused a request. The exception's message gives the server's reason."""


class NotThere(ServerRefused):
    """The server does not have the requested resource (HTTP 404)."""


class Conflict(ServerRefused):
    """The request conflicts with what the server has now (HTTP 409), which may have changed in the meantime."""


class NoServer(Exception):
    """No server answers, or the server fails with HTTP 5xx. The same request may succeed later."""


class Connection:
    """A client for the server at an address. Each request has its own TCP connection, and uses no proxy."""

    def __init__(
        self,
        http: str,
        *,
        key_id: str,
        secret: str,
        when_unauthorized: str = "The server does not know the access key.",
        when_unreachable: str = "",
        connect: Callable[[float], HTTPConnection] | None = None,
    ) -> None:
        """`http` is the HOST:PORT of the server, and `key_id` and `secret` are its access key. `connect` returns a new
        connection with a time limit in seconds, if the server is not reached by HTTP at `http`.

        `when_unauthorized` is the message of the error for an access key that is not active, and `when_unreachable` is
        advice for a server that does not answer.
        """
        self._http = http
        credentials = base64.b64encode(f"{key_id}:{secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"}
        self._connect = connect or (lambda seconds: HTTPConnection(http, timeout=seconds))
        self._when_unauthorized = when_unauthorized
        self._when_unreachable = when_unreachable

    def get(self, path: str, **query: str | int | None) -> Any:
        """Send a GET request to the inspection API, and return the parsed JSON response.

        Query parameters whose value is None are omitted. Like every method of this class, this method raises
        `ServerRefused` or `NoServer` if the request fails.
        """
        with self._answer("GET", path, query) as response:
            return json.load(response)

    def post(self, path: str, body: Mapping[str, Any], *, seconds: float = LONGEST_WORK) -> Any:
        """Send a POST request with a JSON body, and return the parsed JSON response.

        The server may take several minutes to respond. `seconds` is the time limit of each read.
        """
        octets, kind = json.dumps(body).encode(), "application/json"
        with self._answer("POST", path, {}, octets=octets, kind=kind, seconds=seconds) as response:
            return json.load(response)

    def delete(self, path: str, **query: str | int | None) -> Any:
        """Send a DELETE request, and return the parsed JSON response."""
        with self._answer("DELETE", path, query) as response:
            return json.load(response)

    def post_message(self, path: str, message: bytes, **query: str | int | None) -> Any:
        """Send a POST request with a message as its body, and return the parsed JSON response."""
        with self._answer("POST", path, query, octets=message, kind="message/rfc822") as response:
            return json.load(response)

    def download(self, path: str, **query: str | int | None) -> Iterator[bytes]:
        """Send a GET request, and yield the body of the response in parts of at most `PART` bytes."""
        with self._answer("GET", path, query) as response:
            while part := response.read(PART):
                yield part

    @contextmanager
    def stream(self, path: str, last_id: str, silence: float, **query: str | int | None) -> Iterator[Iterator[bytes]]:
        """Send a GET request for a stream of events, and yield an iterator of its bytes, which are yielded as they
        arrive.

        The stream continues after the event with the id `last_id`; an empty id means that it begins now. If no byte
        arrives for `silence` seconds, the connection is regarded as lost, and the iterator raises `NoServer`.
        """
        with self._answer("GET", path, query, last_id=last_id, seconds=silence) as response:
            yield iter(lambda: response.read1(PART), b"")

    def stream_until(self, path: str, deadline: float, **query: str | int | None) -> Generator[bytes, None, None]:
        """Send a GET request for a stream of events, and yield its bytes, as they arrive, until a time of
        `clock.monotonic`, which can be infinite. The stream begins now, and may end earlier.
        """
        seconds = min(max(LEAST, deadline - clock.monotonic()), LONGEST)
        try:
            with self._exchange("GET", path, query, seconds=seconds) as (response, connected):
                yield from _until(response, connected, deadline)
        except NoServer as error:
            if not isinstance(error.__cause__, TimeoutError):  # otherwise, the time was over before the response began
                raise

    @contextmanager
    def _answer(self, method: str, path: str, query: Query, **options: Any) -> Iterator[HTTPResponse]:
        with self._exchange(method, path, query, **options) as (response, _):
            yield response

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        query: Query,
        *,
        octets: bytes | None = None,
        kind: str = "",
        last_id: str = "",
        seconds: float = SECONDS,
    ) -> Iterator[tuple[HTTPResponse, socket.socket]]:
        """Send a request, and yield the response and its socket. `seconds` is the time limit of each read."""
        members = {name: value for name, value in query.items() if value is not None}
        given = urllib.parse.urlencode(members, errors=_BYTES)
        optional = {"Content-Type": kind, "Last-Event-ID": last_id}
        headers = self._headers | {name: value for name, value in optional.items() if value}
        try:
            with closing(self._connect(seconds)) as connection:
                connection.request(method, f"/_waypost/{path}{given and '?'}{given}", octets, headers)
                connected = connection.sock
                with connection.getresponse() as response:
                    self._check(response)
                    yield response, connected
        except ssl.SSLCertVerificationError as error:
            raise NoServer(
                f"The certificate of the server at {self._http} cannot be verified: {error.verify_message}. Check the "
                "certificate with: waypost doctor"
            ) from error
        except (OSError, HTTPException) as error:
            raise self._unreachable() from error

    def _unreachable(self) -> NoServer:
        return NoServer(f"The server at {self._http} does not answer.{self._when_unreachable}")

    def _check(self, response: HTTPResponse) -> None:
        """Raise the exception for an error response."""
        if response.status < HTTPStatus.BAD_REQUEST:
            return
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise ServerRefused(self._when_unauthorized)
        if response.status == HTTPStatus.NOT_FOUND:
            raise NotThere(_reason(response))
        if response.status == HTTPStatus.CONFLICT:
            raise Conflict(_reason(response))
        failed = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise (NoServer if failed else ServerRefused)(_reason(response))


def _until(response: HTTPResponse, connected: socket.socket, deadline: float) -> Iterator[bytes]:
    """Yield the bytes of a response as they arrive, until a time of `clock.monotonic`."""
    while (left := deadline - clock.monotonic()) > 0:
        connected.settimeout(min(left, LONGEST))
        try:
            part = response.read1(PART)
        except TimeoutError:
            return
        if not part:
            return
        yield part


def path_of(part: str) -> str:
    """Percent-encode a string from the user so that it is one segment of a URL path."""
    return urllib.parse.quote(part, safe="", errors=_BYTES)


def _reason(response: HTTPResponse) -> str:
    """Return the reason that an error response gives: the member `error` of its JSON body, its plain text if that is
    short, or else its status line.
    """
    octets = response.read(_LONGEST_ERROR)
    try:
        return str(json.loads(octets)["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(plain(line) for line in octets.decode(errors="replace").splitlines())
    status_line = f"The server answered {response.status} {response.reason}"
    is_readable = response.headers.get_content_type() == "text/plain" and 0 < len(text) <= _LONGEST_REASON
    return f"{status_line}: {text}" if is_readable else f"{status_line}."
