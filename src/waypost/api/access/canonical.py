"""Builds the canonical form of a request for SigV4, and computes the request's signature.

Source: "Create a signed AWS API request" in the IAM User Guide. AWS's own test suite is in
`tests/api/access/aws4_testsuite`.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from posixpath import normpath
from urllib.parse import quote, unquote_to_bytes

from waypost.api.wire.http import OCTETS, Request

ALGORITHM = "AWS4-HMAC-SHA256"

_SPACES = re.compile(r" +")
_UNRESERVED_PATH = re.compile(r"[A-Za-z0-9/_.~-]+")
_NO_BODY = hashlib.sha256(b"").hexdigest()


def signature(request: Request, *, secret: str, timestamp: str, scope: str, signed_headers: tuple[str, ...]) -> str:
    """Return the expected signature of a request, in lower-case hex. `scope` has the form
    DATE/REGION/SERVICE/aws4_request.
    """
    digest = hashlib.sha256(canonical_request(request, signed_headers)).hexdigest()
    return _hmac(_signing_key(secret, scope), f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}").hex()


def canonical_request(request: Request, signed_headers: tuple[str, ...]) -> bytes:
    """Return the canonical request (step 1 of SigV4).

    The received path is percent-encoded a second time, as SigV4 requires for every service except S3. The body hash is
    computed from the received body, because the header X-Amz-Content-Sha256 is not trusted.
    """
    values = _all_values(request, signed_headers) if request.has_repeated_headers else request.first
    lines = [
        request.method,
        _canonical_path(request.raw_path),
        _canonical_query(request.query),
        *[f"{name}:{_trimmed(values.get(name, ''))}" for name in signed_headers],
        "",
        ";".join(signed_headers),
        hashlib.sha256(request.body).hexdigest() if request.body else _NO_BODY,
    ]
    return "\n".join(lines).encode(*OCTETS)


def _all_values(request: Request, signed_headers: tuple[str, ...]) -> Mapping[str, str]:
    """Return the values of all headers with the same name as one value, in which they are separated by commas."""
    values: dict[str, list[str]] = {name: [] for name in signed_headers}
    for name, value in request.headers:
        if name in values:
            values[name].append(_trimmed(value))
    return {name: ",".join(found) for name, found in values.items()}


def _trimmed(value: str) -> str:
    """Return a header value without leading and trailing spaces, and with each run of spaces reduced to one space."""
    value = value.strip()
    return _SPACES.sub(" ", value) if "  " in value else value


def _canonical_path(path: str) -> str:
    normal = _normal_path(path)
    if _UNRESERVED_PATH.fullmatch(normal):  # the common case
        return normal
    return _percent_encoded(normal.encode(*OCTETS), safe="/")


def _normal_path(path: str) -> str:
    """Remove empty segments and dot segments from a path, as SigV4 clients do. The result is used only for the
    signature, not for routing.
    """
    if "//" not in path and "/." not in path:
        return path or "/"
    normal = "/" + normpath(path).lstrip("/")
    return normal + "/" if path.endswith("/") and normal != "/" else normal


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = [pair.partition("=") for pair in query.split("&")]
    encoded = sorted((_reencoded(name), _reencoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _reencoded(text: str) -> str:
    """Decode a percent-encoded string, and encode it again according to SigV4's rules."""
    # This shortcut saves time. Time matters here, because a query may have a thousand parameters, and the caller is not
    # authenticated yet.
    if not text or (text.isascii() and text.isalnum()):
        return text
    return _percent_encoded(unquote_to_bytes(text.encode(*OCTETS)), safe="")


def _percent_encoded(octets: bytes, *, safe: str) -> str:
    return quote(octets, safe=f"{safe}~")


@lru_cache(maxsize=256)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(*OCTETS), "sha256")
