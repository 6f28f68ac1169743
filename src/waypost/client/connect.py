"""Calls operations of the Amazon Connect API, so that a test needs no SDK to make an email address.

The calls use the JSON 1.1 protocol: `POST /`, with the name of the operation in `X-Amz-Target`. They are signed with
AWS Signature Version 4 (source: "Create a signed AWS API request" in the IAM User Guide).
"""

import hashlib
import hmac
import json
import time
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

from waypost.client import clock
from waypost.client.http import SECONDS, NoServer

_KIND = "application/x-amz-json-1.1"
_SIGNED = ("content-type", "host", "x-amz-date", "x-amz-target")


class CallFailed(Exception):
    """The API refused a call. `code` is the code of the error, such as `ResourceConflictException`."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"{operation} failed with {code}: {message}")
        self.code = code


class Connect:
    """Calls the Amazon Connect API of a server with one access key, in one region."""

    def __init__(self, http: str, *, key_id: str, secret: str, region: str, when_unreachable: str = "") -> None:
        """`http` is the HOST:PORT of the server, and `when_unreachable` is advice for a server that does not answer."""
        self._http, self._key_id, self._secret, self._region = http, key_id, secret, region
        self._when_unreachable = when_unreachable

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Call an operation, and return its response. Raises `CallFailed` and `NoServer`."""
        body = json.dumps(members).encode()
        headers = {
            "content-type": _KIND,
            "host": self._http,
            "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.seconds_since_1970())),
            "x-amz-target": f"AmazonConnectService.{operation}",
        }
        headers["authorization"] = self._authorization(headers, body)
        try:
            with closing(HTTPConnection(self._http, timeout=SECONDS)) as connection:
                connection.request("POST", "/", body, headers)
                response = connection.getresponse()
                status, answer = response.status, json.loads(response.read() or b"{}")
        except (OSError, HTTPException, ValueError) as error:
            raise NoServer(f"The server at {self._http} does not answer.{self._when_unreachable}") from error
        if status != HTTPStatus.OK:
            message = answer.get("Message") or answer.get("message", "")
            raise CallFailed(operation, answer.get("__type", "").rpartition("#")[2], message)
        return dict(answer)

    def _authorization(self, headers: dict[str, str], body: bytes) -> str:
        day = headers["x-amz-date"][:8]
        scope = f"{day}/{self._region}/connect/aws4_request"
        names = ";".join(_SIGNED)
        lines = [f"{name}:{headers[name]}" for name in _SIGNED]
        request = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(body).hexdigest()])
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{self._secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
