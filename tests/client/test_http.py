"""The HTTP client: the reason that it gives for an error, and the end of a stream at a deadline."""

import http.server
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tests.kit.patience import PATIENCE
from waypost.client.http import Connection, NoServer


@contextmanager
def answering(status, kind, body):
    """Run an HTTP server that sends the same response to every request, and yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (
            "text/plain",
            b"All connections are in use (--http-connections).\n",
            "The server answered 503 Service Unavailable: All connections are in use (--http-connections).",
        ),
        ("text/html", b"<html>Bad gateway</html>", "The server answered 503 Service Unavailable."),
        ("text/plain", b"x" * 501, "The server answered 503 Service Unavailable."),
        ("text/plain", b"two\x1b[31m\r\nlines", "The server answered 503 Service Unavailable: two\ufffd[31m lines"),
        ("text/plain", b"", "The server answered 503 Service Unavailable."),
        ("application/json", b'{"error": "Ask again."}', "Ask again."),
    ],
)
def test_a_command_reports_the_reason_that_the_server_gives(kind, body, message):
    with answering(503, kind, body) as address:
        client = Connection(address, key_id="AKIA", secret="secret")
        with pytest.raises(NoServer) as refused:
            client.get("messages")
    assert str(refused.value) == message


def test_a_stream_ends_at_its_deadline_also_before_the_response_has_begun():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Connection(f"127.0.0.1:{silent.getsockname()[1]}", key_id="AKIA", secret="secret")
        assert list(connection.stream_until("events", time.monotonic() + 0.05)) == []


def test_a_stream_of_a_server_that_has_ended_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as ended:
        connection = Connection(f"127.0.0.1:{ended.getsockname()[1]}", key_id="AKIA", secret="secret")
    with pytest.raises(NoServer):
        list(connection.stream_until("events", time.monotonic() + PATIENCE))
