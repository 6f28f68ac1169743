"""Who is calling: verifies an AWS Signature Version 4 in the Authorization header.

The signature is recomputed over the raw path and the body that was received, never over what a header claims
the body to be. Source: "Signature Version 4 signing process" in the AWS General Reference; AWS's own test
suite is in `tests/api/aws4_testsuite`.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from posixpath import normpath
from urllib.parse import quote, unquote_to_bytes

import msgspec

from waypost.api.errors import ApiError
from waypost.api.http import OCTETS, Request
from waypost.domain.access_keys import AccessKey
from waypost.domain.instances import Tenant

ALGORITHM = "AWS4-HMAC-SHA256"

MAX_CLOCK_SKEW = timedelta(minutes=15)

_PARAMETER = re.compile(r"[ ,]*(Credential|SignedHeaders|Signature)=([^ ,]+)")
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_SPACES = re.compile(r" +")


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an Authorization header."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        """The credential scope, as it is signed."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


def authenticate(
    request: Request, *, access_keys: Callable[[str], AccessKey | None], service: str, now: datetime
) -> Tenant:
    """The account and region that this request is signed for.

    `access_keys` finds an access key by its id. Raises `ApiError` with the code and the text that AWS services
    give (docs/aws-differences.md has the table).
    """
    header = request.header("authorization")
    if not header:
        raise ApiError("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
    authorization = parse_authorization(header)
    timestamp, signed_at = _timestamp(request, authorization)
    _check_scope(authorization, service)
    key = access_keys(authorization.access_key_id)
    if key is None or request.header("x-amz-security-token") is not None:
        # We hand out no session tokens, so a request with one is signed with credentials that are not ours.
        message = "The security token included in the request is invalid."
        raise ApiError("UnrecognizedClientException", 403, message)
    _check_clock(timestamp, signed_at, now)
    expected = sign(request, authorization, timestamp, key.secret)
    if not hmac.compare_digest(expected.encode(), authorization.signature.encode(*OCTETS)):
        raise _invalid_signature(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )
    return Tenant(key.account, authorization.region)


def parse_authorization(header: str) -> Authorization:
    """Take an Authorization header apart. Raises `ApiError` IncompleteSignatureException if parts are missing."""
    algorithm, _, rest = header.partition(" ")
    parameters = dict(_PARAMETER.findall(rest))
    scope = parameters.get("Credential", "").rsplit("/", 4)
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if name not in parameters]
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': expected {ALGORITHM}.")
    if missing:
        raise _incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    if len(scope) != 5:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements: KEY/DATE/REGION/SERVICE/aws4_request."
        )
    access_key_id, date, region, service, terminator = scope
    return Authorization(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        terminator=terminator,
        signed_headers=tuple(parameters["SignedHeaders"].split(";")),
        signature=parameters["Signature"],
    )


def sign(request: Request, authorization: Authorization, timestamp: str, secret: str) -> str:
    """The signature that a request with this authorization must have, in lower-case hex."""
    canonical = canonical_request(request, authorization.signed_headers)
    digest = hashlib.sha256(canonical).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{authorization.scope}\n{digest}"
    key = _signing_key(secret, authorization.date, authorization.region, authorization.service)
    return _hmac(key, text).hex()


def canonical_request(request: Request, signed_headers: tuple[str, ...]) -> bytes:
    """The canonical request (SigV4, task 1). Any service but S3 encodes the path as received once more."""
    values: dict[str, list[str]] = {name: [] for name in signed_headers}
    for name, value in request.headers:
        if name in values:
            values[name].append(_trimmed(value))
    lines = [
        request.method,
        _percent_encoded(_normal_path(request.raw_path).encode(*OCTETS), safe="/"),
        _canonical_query(request.query),
        *(f"{name}:{','.join(values[name])}" for name in signed_headers),
        "",
        ";".join(signed_headers),
        hashlib.sha256(request.body).hexdigest(),
    ]
    return "\n".join(lines).encode(*OCTETS)


def _timestamp(request: Request, authorization: Authorization) -> tuple[str, datetime]:
    """The time of signing, as it is signed and as a value; checks that nothing that matters is unsigned."""
    signed = authorization.signed_headers
    unsigned = {name for name, _ in request.headers if name.startswith("x-amz-") and name not in signed}
    if unsigned or "host" not in signed:
        names = ", ".join(f"'{name}'" for name in sorted(unsigned or {"host"}))
        raise _invalid_signature(f"{names} must be a 'SignedHeader' in the AWS Authorization.")
    timestamp = request.header("x-amz-date") or ""
    try:
        signed_at = _moment(timestamp)
    except ValueError as error:
        message = "Authorization header requires existence of an 'X-Amz-Date' header, as YYYYMMDDTHHMMSSZ."
        raise _incomplete(message) from error
    if timestamp[:8] != authorization.date:
        raise _invalid_signature(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{authorization.date}' != '{timestamp[:8]}', from '{timestamp}'."
        )
    return timestamp, signed_at


def _check_scope(authorization: Authorization, service: str) -> None:
    if authorization.service != service:
        raise _invalid_signature(f"Credential should be scoped to correct service: '{service}'.")
    if authorization.terminator != "aws4_request":
        raise _invalid_signature("Credential should be scoped with a valid terminator: 'aws4_request'.")
    if not _REGION.fullmatch(authorization.region):
        raise _invalid_signature("Credential should be scoped to a valid region.")


@lru_cache(maxsize=64)
def _moment(timestamp: str) -> datetime:
    """The moment of an X-Amz-Date; raises ValueError. `strptime` would take ten times as long."""
    match = _DATE.fullmatch(timestamp)
    if match is None:
        raise ValueError(timestamp)
    year, month, day, hour, minute, second = map(int, match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _check_clock(timestamp: str, signed_at: datetime, now: datetime) -> None:
    if signed_at < now - MAX_CLOCK_SKEW:
        raise _invalid_signature(f"Signature expired: {timestamp} is now earlier than {_limit(now, -MAX_CLOCK_SKEW)}.")
    if signed_at > now + MAX_CLOCK_SKEW:
        raise _invalid_signature(
            f"Signature not yet current: {timestamp} is still later than {_limit(now, MAX_CLOCK_SKEW)}."
        )


def _limit(now: datetime, skew: timedelta) -> str:
    sign = "-" if skew < timedelta(0) else "+"
    return f"{now + skew:%Y%m%dT%H%M%SZ} ({now:%Y%m%dT%H%M%SZ} {sign} 15 min.)"


def _trimmed(value: str) -> str:
    """A header value without outer spaces, and with single ones inside."""
    value = value.strip()
    return _SPACES.sub(" ", value) if "  " in value else value


def _normal_path(path: str) -> str:
    """Without empty and dot segments, as signers see it. The path that is routed on stays as it came."""
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
    """Percent-encoded as SigV4 wants it, however it was encoded before."""
    return _percent_encoded(unquote_to_bytes(text.encode(*OCTETS)), safe="")


def _percent_encoded(octets: bytes, *, safe: str) -> str:
    return quote(octets, safe=f"{safe}~")


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(*OCTETS), "sha256")


def _incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", 403, message)


def _invalid_signature(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", 403, message)
