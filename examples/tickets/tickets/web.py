"""The web application: it receives mail as signed webhooks, and lists the tickets as JSON."""

import hashlib
import hmac
import json
import time

from tickets import messages

TOLERANCE = 300
"""The age, in seconds, from which a webhook is refused, so that nobody can send an old one again."""

LARGEST = 1_000_000
"""The maximum size of a webhook in bytes."""


class Application:
    """A WSGI application (PEP 3333) for a desk. `secret` is that of the webhook."""

    def __init__(self, desk, secret):
        self._desk = desk
        self._secret = secret

    def __call__(self, environ, start_response):
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "POST", "/mail":
                status, answer = self._receive(environ)
            case "GET", "/tickets":
                tickets = [
                    {**ticket, "files": [name for name, _ in ticket["files"]]} for ticket in self._desk.tickets()
                ]
                status, answer = "200 OK", {"tickets": tickets}
            case _:
                status, answer = "404 Not Found", {"error": "There is no such page."}
        body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _receive(self, environ):
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if size > LARGEST:
            return "413 Content Too Large", {"error": f"A message may have up to {LARGEST} bytes."}
        body = environ["wsgi.input"].read(size)
        if not self._is_signed(environ, body):
            return "401 Unauthorized", {"error": "The signature is wrong, or too old."}
        metadata, raw = _parts(environ["CONTENT_TYPE"], body)
        number = self._desk.receive(
            messages.read(raw), queue=metadata["address"], delivery=environ["HTTP_IDEMPOTENCY_KEY"]
        )
        return "200 OK", {"ticket": number}

    def _is_signed(self, environ, body):
        timestamp = environ.get("HTTP_WAYPOST_TIMESTAMP", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE:
            return False
        expected = hmac.new(self._secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        given = environ.get("HTTP_WAYPOST_SIGNATURE", "")
        return hmac.compare_digest(f"v1={expected}".encode(), given.encode())


def _parts(content_type, body):
    """Return the metadata, and the bytes of the message: the two parts of a webhook."""
    boundary = content_type.partition("boundary=")[2].encode()
    _, metadata, message, _ = body.split(b"--" + boundary)
    return json.loads(metadata.partition(b"\r\n\r\n")[2]), message.partition(b"\r\n\r\n")[2][:-2]
