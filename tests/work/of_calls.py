"""The parsers for HTTP requests, which run on the event loop, before and after authentication."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from types import SimpleNamespace

from tests.kit.values import TENANT
from tests.work.of_messages import MARKS
from tests.work.rows import BODY, HEAD, HEADER, PLAIN_HEADERS, Where, field, filled, refusing, rows, text
from waypost.api.access import canonical, sigv4
from waypost.api.errors import ApiError
from waypost.api.operations import arns, page_tokens, searching
from waypost.api.wire import bodies, protocol, shapes
from waypost.api.wire.http import Request
from waypost.domain import errors
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail import messages
from waypost.domain.mailauth import forecasts, verdicts
from waypost.inspection import requests
from waypost.observe.spans import contexts

_KEYS = page_tokens.PageTokens(b"k" * 32)
_HOST = ("host", "a.example")
_SIGNED_AT = "20261122T120000Z"
_NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "secret", "111111111111")
_AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={_KEY.id}/20261122/us-east-1/connect/aws4_request,SignedHeaders="
_INSTANCE = "11111111-1111-4111-8111-111111111111"


@cache
def _protocol() -> protocol.Protocol:
    return protocol.Protocol(shapes.load())


def _request(
    *, query: str = "", path: str = "/", headers: tuple[tuple[str, str], ...] = (), body: bytes = b""
) -> Request:
    return Request(method="POST", raw_path=path, query=query, headers=(_HOST, *headers), body=body)


def _canonical(request: Request) -> bytes:
    names = tuple(dict.fromkeys(name for name, _ in request.headers))
    return canonical.canonical_request(request, names)


def of_headers(unit: str, count: int) -> Callable[[int], Request]:
    return lambda size: _request(headers=(("x-amz-a", unit * (size // len(unit) // count)),) * count)


def _half_is_names(size: int) -> Request:
    """Return a request with a long header, and with a signature that names this header many times."""
    authorization = _AUTHORIZATION + "a;" * (size // 4) + "host;x-amz-date,Signature=0"
    headers = (("authorization", authorization), ("x-amz-date", _SIGNED_AT), ("a", "b" * (size // 2)))
    return _request(headers=headers)


def _signed_names(size: int) -> Request:
    """Return a request with many headers of different names that are all signed."""
    names = [f"{number:x}" for number in range(size // 14)]
    authorization = _AUTHORIZATION + ";".join(["host", "x-amz-date", *names]) + ",Signature=0"
    headers = (("authorization", authorization), ("x-amz-date", _SIGNED_AT), *((name, "a") for name in names))
    return _request(headers=headers)


def _signature_of(request: Request) -> object:
    """Verify the signature of a request, as the server does for the id of an active access key."""
    found = sigv4.claim(request, service="connect")
    return sigv4.verify(request, found, _KEY, now=_NOW)


def _presigned(unit: str) -> Callable[[int], Request]:
    return lambda size: _request(query="X-Amz-Signature=a&" + unit * (size // len(unit)))


def _authorized(unit: str, before: str = "") -> Callable[[int], Request]:
    build = text(unit, f"AWS4-HMAC-SHA256 {before}")
    return lambda size: _request(headers=(("authorization", build(size)),))


def _parse(operation: str) -> Callable[[bytes], object]:
    """Return a function that parses the body of a call in the AWS JSON 1.1 protocol."""

    def parse(body: bytes) -> object:
        request = _request(headers=(("x-amz-target", f"AmazonConnectService.{operation}"),), body=body)
        return _protocol().parse(_protocol().route(request), request)

    return refusing(parse, ApiError)


def _members(**members: object) -> bytes:
    return json.dumps({"InstanceId": _INSTANCE, **members}).encode()


def _search(size: int) -> bytes:
    one = {"StringCondition": {"FieldName": "description", "Value": "a", "ComparisonType": "CONTAINS"}}
    return _members(SearchCriteria={"OrConditions": [one] * (size // len(json.dumps(one)))})


def _nested_search(size: int) -> bytes:
    inside = b'{"OrConditions":['
    depth = min(90, size // len(inside)) // 2
    return b'{"InstanceId":"%s","SearchCriteria":' % _INSTANCE.encode() + inside * depth + b"]}" * depth + b"}"


def _condition(value: str) -> object:
    one = SimpleNamespace(
        or_conditions=None,
        and_conditions=None,
        string_condition=SimpleNamespace(field_name="description", value=value, comparison_type="CONTAINS"),
    )
    return searching.condition(one, None)


def _header_in_body(octets: bytes) -> bytes:
    octets = requests._BARE_LINE_END.sub(b"\r\n", octets)
    return octets[: messages.end_of_header(octets)]


_JSON = {
    "open arrays": filled(b"["),
    "arrays in arrays": lambda size: b"[" * 99 + b"[]," * ((size - 200) // 3) + b"[]" + b"]" * 99,
    "empty arrays": filled(b"[],", b"[", b"[]]"),
    "keys": lambda size: b"{" + b",".join(b'"%d":1' % number for number in range(size // 9)) + b"}",
    "the same key": filled(b'"a":1,', b"{", b'"a":1}'),
    "escapes": filled(b"\\u00e9", b'"', b'"'),
    "digits": filled(b"1"),
    "a long number": filled(b"1", b"", b"e9"),
    "text without an end": filled(b"\\\\", b'"'),
    "bytes that are not UTF-8": filled(b"\xff", b'"', b'"'),
    "spaces": filled(b" ", b"", b"1"),
}

ROWS = [
    *rows("JSON", Where.LOOP, BODY, refusing(bodies.value, ApiError), _JSON),
    *rows(
        "canonical request",
        Where.LOOP,
        HEAD,
        _canonical,
        {
            "parameters": lambda size: _request(query="a&" * min(999, size // 2)),
            "encoded parameters": lambda size: _request(query="%C3%BC=" + "%2F" * (size // 3) + "&"),
            "octets": lambda size: _request(query="\udcff" * size),
            "percent signs": lambda size: _request(query="%" * size),
            "the maximum number of parameters": lambda size: _request(query=("%" * (size // 1_000 - 1) + "&") * 999),
            "a path of dots": lambda size: _request(path="/." * (size // 2)),
            "a path that goes up": lambda size: _request(path="/a/.." * (size // 5)),
            "a path of slashes": lambda size: _request(path="/" * size),
            "spaces in a header": of_headers("  a", 1),
            "many headers": of_headers("a ", 100),
            "names of headers": lambda size: _request(headers=tuple((f"a{n}", "") for n in range(size // 8))),
        },
    ),
    *rows(
        "signature",
        Where.LOOP,
        HEAD,
        refusing(partial(sigv4.claim, service="connect"), ApiError),
        {
            "parameters": _authorized("Signature=a,"),
            "beginnings of parameters": _authorized("Signature="),
            "slashes in the credential": _authorized("/", "Credential="),
            "signed headers": _authorized(
                "a;", "Credential=a/20261122/us-east-1/connect/aws4_request,Signature=a,SignedHeaders="
            ),
            "parameters of the query": _presigned("X-Amz-Date=a&"),
            "ampersands": _presigned("&"),
            "the maximum number of parameters": lambda size: _request(
                query="X-Amz-Signature=a" + ("&" + "%C3%BC" * (size // 6_000)) * 999
            ),
            "an encoded value": _presigned("%C3%BC"),
        },
    ),
    *rows(
        "traceparent",
        Where.LOOP,
        HEAD,
        contexts.read,
        {
            "digits": text("0"),
            "hyphens": text("-"),
            "a long version of the future": text("a", f"cc-{'1' * 32}-{'1' * 16}-01-"),
        },
    ),
    *rows(
        "signature of a known key",
        Where.LOOP,
        HEAD,
        refusing(_signature_of, ApiError),
        {
            "one name many times": _half_is_names,
            "many names": _signed_names,
        },
    ),
    *rows(
        "call",
        Where.LOOP,
        BODY,
        _parse("CreateEmailAddress"),
        {
            "a long address": lambda size: _members(EmailAddress="a" * (size - 90)),
            "a long description": lambda size: _members(EmailAddress="a@a.example", Description="a" * (size - 120)),
            "many tags": lambda size: _members(
                EmailAddress="a@a.example", Tags={f"{number}": "a" for number in range(size // 14)}
            ),
            "tags of a wrong type": lambda size: _members(
                EmailAddress="a@a.example", Tags={f"{number}": 1 for number in range(size // 12)}
            ),
            "unknown members": lambda size: _members(**{f"a{number}": 1 for number in range(size // 12)}),
            "long keys of tags": lambda size: _members(EmailAddress="a@a.example", Tags={"\n" * (size // 2 - 60): ""}),
        },
    ),
    *rows(
        "search",
        Where.LOOP,
        BODY,
        _parse("SearchEmailAddresses"),
        {
            "conditions": _search,
            "conditions in conditions": _nested_search,
            "nothing": lambda size: _members(SearchCriteria={"OrConditions": [{}] * (size // 4 - 40)}),
            "nothing, and one wrong condition": lambda size: _members(
                SearchCriteria={"OrConditions": [*[{}] * (size // 4 - 40), 1]}
            ),
            "unknown members, and one wrong condition": lambda size: _members(
                SearchCriteria={"OrConditions": [*[{"a": 1}] * (size // 10 - 40), 1]}
            ),
            "a long value": lambda size: _members(
                SearchCriteria={
                    "StringCondition": {"FieldName": "a" * (size - 200), "Value": "a", "ComparisonType": "EXACT"}
                }
            ),
        },
    ),
    *rows(
        "condition of a search",
        Where.LOOP,
        BODY,
        refusing(_condition, errors.Invalid),
        {"letters": text("a"), "combining marks": lambda size: text(MARKS, "a")(min(size, 4_096))},
    ),
    *rows(
        "page token",
        Where.LOOP,
        BODY,
        refusing(lambda token: _KEYS.read(token, query=b"q"), errors.Invalid),
        {"letters": text("A"), "not base64": text("\N{LATIN SMALL LETTER U WITH DIAERESIS}")},
    ),
    *rows(
        "ARN",
        Where.LOOP,
        HEAD,
        refusing(lambda arn: arns.parse(arn, TENANT), errors.Invalid, errors.NotFound),
        {"colons": text(":", "arn"), "letters": text("a", "arn:aws:connect:a:a:instance/", ":")},
    ),
    *rows(
        "mail to explain",
        Where.LOOP,
        HEADER,
        lambda octets: forecasts.read_author(_header_in_body(octets)),
        field(b"From") | field(b"DKIM-Signature") | PLAIN_HEADERS | {"bare LFs": filled(b"\n"), "LFs": filled(b"a:\n")},
    ),
    *rows(
        "Message-ID to look for",
        Where.LOOP,
        HEAD,
        messages.read_header_id,
        {"comments": text("(a)"), "open comments": text("("), "brackets": text("<"), "spaces": text(" a")},
    ),
    *rows(
        "results of other servers",
        Where.LOOP,
        HEADER,
        lambda header: verdicts.trusted_results(header, "mx.example"),
        field(b"Authentication-Results"),
    ),
]
