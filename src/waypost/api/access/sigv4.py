"""Authenticates calls that are signed with AWS Signature Version 4, in the Authorization header or in a presigned URL.

`claim` parses the signature fields of a request. The calling code then looks up the access key, and `verify` uses the
key to check the signature. Sources: "Create a signed AWS API request" and "Elements of an AWS API request signature" in
the IAM User Guide. The page docs/aws-differences.md has a table of the error codes for invalid signatures.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import unquote

import msgspec

from waypost.api.access import canonical
from waypost.api.access.canonical import ALGORITHM
from waypost.api.errors import ApiError
from waypost.api.wire.http import OCTETS, Request
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.partitions import is_region
from waypost.domain.iam.access_keys import MAX_CLOCK_SKEW, AccessKey

MAX_EXPIRES = 7 * 24 * 60 * 60
"""The maximum lifetime of a presigned URL, in seconds."""

MAX_PARAMETERS = 1_000
"""The maximum number of parameters in a request's query.

The operation with the most parameters is UntagResource, which accepts 50. The limit protects the server, which decodes
and encodes every parameter before it authenticates the caller. Without the limit, a query of 64 KiB could contain
65,000 parameters.
"""

_SHORT = 1_000
"""The maximum length of an Authorization header that is cached, in characters. The header of an SDK has about 200."""

_LAST_FIELD = ", Signature="
_SIGNATURE = re.compile("[0-9a-f]{64}")
_PARAMETER = re.compile(r"(Credential|SignedHeaders|Signature)=([^ ,]+)")
_PRESIGNED = re.compile(r"(?:^|&)X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token)=")
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_NAMED = 10
"""The maximum number of unsigned headers that an error message names."""

_SESSION_HEADER = "x-amz-security-token"


class Signer(msgspec.Struct, frozen=True):
    """The signature fields that a client sends unchanged in all its requests of one day."""

    access_key_id: str
    scope: str
    """The credential scope, as it appears in the string that is signed: DATE/REGION/SERVICE/aws4_request."""
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signed: frozenset[str]
    """The names of the signed headers, for tests of membership in constant time."""


class Claim(msgspec.Struct, frozen=True):
    """The unverified signature fields of a request, which say who signed the request, when, and how."""

    signer: Signer
    signature: str
    timestamp: str
    """The time of the signature, in the form YYYYMMDDTHHMMSSZ."""
    session_token: str | None = None
    expires: int | None = None
    """The lifetime of a presigned URL, in seconds from the time of its signature; None if the signature is in a
    header."""


def claim(request: Request, *, service: str, older_regions: Collection[str] = ()) -> Claim:
    """Return the signature fields of a request without verifying them.

    Raises an `ApiError` if the signature is missing or malformed, or if the query has too many parameters. The region
    must be in AWS's list of regions, or in `older_regions`.
    """
    if request.query.count("&") >= MAX_PARAMETERS:
        raise ApiError("InvalidRequestException", 400, f"A query may have at most {MAX_PARAMETERS} parameters.")
    header = request.first.get("authorization")
    if header:
        found = _from_header(request, header)
    elif "X-Amz-Signature=" in request.query:
        found = _from_query(request)
    else:
        raise ApiError("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
    _check_signed_headers(request, found)
    _check_scope(found, service, older_regions)
    return found


def verify(request: Request, found: Claim, key: AccessKey | None, *, now: datetime) -> tuple[AccessKey, Tenant]:
    """Verify the signature of a request; return the access key, and the account and region of the call.

    `key` is the access key that the claim names, or None if no such key exists.

    Raises an `ApiError`, with the error codes and messages that AWS services use, if the signature or the key is not
    valid.
    """
    if key is None or not key.active or not key.has_session_token(found.session_token):
        message = "The security token included in the request is invalid."
        raise ApiError("UnrecognizedClientException", 403, message)
    _check_clock(found, now)
    signer = found.signer
    expected = canonical.signature(
        request if found.expires is None else _without_signature(request),
        secret=key.secret,
        timestamp=found.timestamp,
        scope=signer.scope,
        signed_headers=signer.signed_headers,
    )
    if not hmac.compare_digest(expected.encode(), found.signature.encode(*OCTETS)):
        raise _invalid_signature(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )
    if key.is_expired(now):
        raise ApiError("ExpiredTokenException", 403, "The security token included in the request is expired")
    return key, _tenant(key.account, signer.region)


def _from_header(request: Request, header: str) -> Claim:
    """Parse the claim in an Authorization header."""
    first = request.first
    timestamp, session_token = first.get("x-amz-date", ""), first.get(_SESSION_HEADER)
    fields, _, signature = header.rpartition(_LAST_FIELD)
    if _SIGNATURE.fullmatch(signature) and len(fields) < _SHORT:  # the form that SDKs send
        return Claim(_signer_of_fields(fields), signature, timestamp, session_token)
    parameters = _parameters(header)
    return Claim(_signer_of(parameters), parameters["Signature"], timestamp, session_token)


def _parameters(header: str) -> Mapping[str, str]:
    """Parse the parameters of an Authorization header."""
    algorithm, _, rest = header.partition(" ")
    parameters = dict(_PARAMETER.findall(rest))
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if name not in parameters]
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': expected {ALGORITHM}.")
    if missing:
        raise _incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    return parameters


@lru_cache(maxsize=128)
def _signer_of_fields(fields: str) -> Signer:
    """Parse an Authorization header without its signature."""
    return _signer_of(_parameters(f"{fields}{_LAST_FIELD}-"))


def _signer_of(parameters: Mapping[str, str]) -> Signer:
    return _signer(parameters["Credential"], parameters["SignedHeaders"])


def _from_query(request: Request) -> Claim:
    """Parse the claim of a presigned URL, which has all signature fields in its query."""
    names = _PRESIGNED.findall(request.query)
    pairs = (pair.partition("=") for pair in request.query.split("&"))
    parameters = {name: unquote(value, *OCTETS) for name, _, value in pairs}
    needed = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    missing = [name for name in needed if name not in names]
    if missing:
        raise _incomplete(" ".join(f"AWS query-string parameters must include 'X-Amz-{name}'." for name in missing))
    if len(set(names)) != len(names):
        raise _incomplete("Each AWS query-string parameter may occur only once.")
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': expected {ALGORITHM}.")
    expires = parameters["X-Amz-Expires"]
    if not re.fullmatch("[0-9]{1,6}", expires, re.ASCII) or not 1 <= int(expires) <= MAX_EXPIRES:
        raise _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {MAX_EXPIRES}.")
    return Claim(
        _signer(parameters["X-Amz-Credential"], parameters["X-Amz-SignedHeaders"]),
        signature=parameters["X-Amz-Signature"],
        timestamp=parameters["X-Amz-Date"],
        session_token=parameters.get("X-Amz-Security-Token"),
        expires=int(expires),
    )


def _without_signature(request: Request) -> Request:
    """Return a presigned request in the form in which it was signed: without the signature in its query."""
    kept = [pair for pair in request.query.split("&") if not pair.startswith("X-Amz-Signature=")]
    return msgspec.structs.replace(request, query="&".join(kept))


def _signer(credential: str, signed_headers: str) -> Signer:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements: KEY/DATE/REGION/SERVICE/aws4_request."
        )
    access_key_id, date, region, service, terminator = parts
    names = tuple(signed_headers.split(";"))
    if len(set(names)) != len(names):
        # The canonical request repeats the whole value of a header each time that SignedHeaders names the header, so
        # repeated names could make the canonical request very large.
        raise _incomplete("SignedHeaders may name each header only once.")
    scope = f"{date}/{region}/{service}/{terminator}"
    return Signer(access_key_id, scope, date, region, service, terminator, names, frozenset(names))


def _check_signed_headers(request: Request, found: Claim) -> None:
    """Raise an `ApiError` if Host or an X-Amz-* header is unsigned.

    The header X-Amz-Security-Token may be unsigned. If someone changes its value, the value no longer matches the
    stored digest, and the request is refused.
    """
    signed = found.signer.signed
    unsigned = [
        name for name in request.first if name[:6] == "x-amz-" and name not in signed and name != _SESSION_HEADER
    ]
    if unsigned or "host" not in signed:
        names = ", ".join(f"'{name}'" for name in sorted(unsigned or ["host"])[:_NAMED])
        raise _invalid_signature(f"{names} must be a 'SignedHeader' in the AWS Authorization.")


def _check_scope(found: Claim, service: str, older_regions: Collection[str]) -> None:
    try:
        _moment(found.timestamp)
    except ValueError as error:
        message = "Authorization header requires existence of an 'X-Amz-Date' header, as YYYYMMDDTHHMMSSZ."
        raise _incomplete(message) from error
    signer = found.signer
    if found.timestamp[:8] != signer.date:
        raise _invalid_signature(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{signer.date}' != '{found.timestamp[:8]}', from '{found.timestamp}'."
        )
    if signer.service != service:
        raise _invalid_signature(f"Credential should be scoped to correct service: '{service}'.")
    if signer.terminator != "aws4_request":
        raise _invalid_signature("Credential should be scoped with a valid terminator: 'aws4_request'.")
    if not is_region(signer.region) and signer.region not in older_regions:
        raise _invalid_signature("Credential should be scoped to a valid region.")


@lru_cache(maxsize=64)
def _moment(timestamp: str) -> datetime:
    """Parse the time in an X-Amz-Date header or parameter. Raises `ValueError` for a malformed time.

    This function does not use `strptime`, which is ten times slower.
    """
    match = _DATE.fullmatch(timestamp)
    if match is None:
        raise ValueError(timestamp)
    year, month, day, hour, minute, second = map(int, match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _check_clock(found: Claim, now: datetime) -> None:
    signed_at = _moment(found.timestamp)
    if found.expires is None and -MAX_CLOCK_SKEW <= now - signed_at <= MAX_CLOCK_SKEW:  # the common case
        return
    if signed_at > now + MAX_CLOCK_SKEW:
        limit = f"{_shown(now + MAX_CLOCK_SKEW)} ({_shown(now)} + 15 min.)"
        raise _invalid_signature(f"Signature not yet current: {found.timestamp} is still later than {limit}.")
    if found.expires is not None:
        if now >= signed_at + timedelta(seconds=found.expires):
            raise _invalid_signature(
                f"Signature expired: {found.timestamp} was valid for {found.expires} seconds; it is now {_shown(now)}."
            )
    elif signed_at < now - MAX_CLOCK_SKEW:
        limit = f"{_shown(now - MAX_CLOCK_SKEW)} ({_shown(now)} - 15 min.)"
        raise _invalid_signature(f"Signature expired: {found.timestamp} is now earlier than {limit}.")


@lru_cache(maxsize=1024)
def _tenant(account: str, region: str) -> Tenant:
    return Tenant(account, region)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", 403, message)


def _invalid_signature(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", 403, message)
