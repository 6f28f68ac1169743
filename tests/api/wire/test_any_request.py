"""Tests that every signed request gets a response that the model permits, and never an internal error."""

import asyncio
import json
import string
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.refusals import MODEL
from tests.kit.examples import examples
from tests.kit.values import TENANT, TERMS, NoSeal, an_email_address, make_instance
from waypost.api.access.throttle import Throttle
from waypost.api.application import Api
from waypost.api.wire import shapes
from waypost.api.wire.http import Request
from waypost.app.limit_state import OwnState
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.limits import rates
from waypost.host.clock import now
from waypost.store.sqlite.store import SqliteStore

KEY = AccessKey("AKIDEXAMPLE", "secret", TENANT.account)
COMMON = {
    "AccessDeniedException": 403,
    "RequestEntityTooLargeException": 413,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
}
"""The errors that any request may get (docs/aws-compatibility.md), without internal errors."""

some = settings(max_examples=examples(20), deadline=None, database=None)

ARN = f"arn:aws:connect:{TENANT.region}:{TENANT.account}:instance/i"
OTHERS = ["nobody", "arn:", f"{ARN}/x/y"]
KNOWN = {
    "InstanceId": ["i"] * 12 + [ARN, f"{ARN}/email-address/a", *OTHERS],
    "EmailAddressId": [*"abcd"] * 4 + [f"{ARN}/email-address/a", f"{ARN}/email-address/b", ARN, *OTHERS],
    "ARN": [ARN, f"{ARN}/email-address/a", f"{ARN}/email-address/b"] * 3 + OTHERS,
    "ClientToken": ["", "t", "u", "\N{GRINNING FACE}" * 500],
    "EmailAddress": ["a@example.com", "New@example.com", "ü@bücher.example", "a@b@c.d", "\N{GRINNING FACE}@x.example"],
    "TagKey": ["team", "AWS:x", "aws:x", "ü", "k" * 128],
    "DirectoryAlias": ["alias", "ALIAS", "d-x"],
    "String": ["", "a", "ab", "abc", "emailAddress", "description", "resourceId", "team", '"', "%", "\uffff"],
}
"""Values of some shapes that are meaningful in the tested store."""

ANY_TEXT = st.text(st.characters(), max_size=20)
"""Texts of any characters, including lone surrogates and NUL."""

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just("x" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


def texts(name, shape):
    """Return a strategy for texts of a shape: meaningful texts, and texts at and just outside the size limits."""
    if "enum" in shape:
        return st.sampled_from([*shape["enum"], shape["enum"][0].lower()])
    sizes = [size + more for size in (shape.get("min", 0), shape.get("max", 20)) for more in (-1, 0, 1)]
    sized = st.builds("".join, st.sampled_from(sizes).flatmap(lambda size: st.just("é" * size)))
    known = st.sampled_from(KNOWN.get(name, ["words"]))
    return st.sampled_from([known] * 16 + [sized, ANY_TEXT]).flatmap(lambda chosen: chosen)


def values(name, depth=0):
    """Return a strategy for JSON values of a shape, of which most are valid."""
    shape = MODEL.shapes[name]
    match shape["type"]:
        case "structure":
            return members(shape, depth + 1)
        case "list":
            items = values(shape["member"]["shape"], depth + 1)
            return st.lists(items, max_size=2) | st.lists(items, min_size=1, max_size=2)
        case "map":
            return st.dictionaries(
                values(shape["key"]["shape"]), values(shape["value"]["shape"]), min_size=1, max_size=3
            )
        case "string":
            return texts(name, shape)
        case "boolean":
            return st.booleans()
        case _:
            edges = [edge + more for edge in (shape.get("min", 0), shape.get("max", 9)) for more in (-1, 0, 1)]
            return st.sampled_from([shape.get("max", 9)] * 6 + [*edges, 2**63, -(2**70)])


def members(shape, depth=0):
    """Return a strategy for members of a structure. Required members are rarely missing, and some values are random."""
    if depth > 6:
        return st.just({})
    names = shape["members"]
    mostly = {name: values(reference["shape"], depth) for name, reference in names.items()}
    required = {name: mostly.pop(name) for name in shape.get("required", ())}
    valid = st.fixed_dictionaries(required, optional=mostly)
    if not names:
        return valid
    changes = st.dictionaries(st.sampled_from([*names, "Unknown"]), ANY_JSON, max_size=1)
    gone = st.sampled_from([None] * 6 * len(names) + [*names])
    changed = st.sampled_from([st.just({})] * 5 + [changes]).flatmap(lambda chosen: chosen)
    return st.builds(without, gone, valid, changed)


def without(gone, valid, changes):
    return {name: value for name, value in {**valid, **changes}.items() if name != gone}


INPUTS = {name: members(operation.input.shape) for name, operation in MODEL.operations.items()}


def encoded(value):
    """Percent-encode a value for a path or query. The value may be anything, also a text with lone surrogates."""
    text = value if isinstance(value, str) else json.dumps(value)
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def rest_json(operation, given):
    """Return the request in rest-json for members with any values."""
    left = dict(given)
    labels = {member.wire_name: encoded(left.pop(member.name, "")) for member in operation.input.labels}
    path = "".join(f"/{labels[part[1:-1]] if part.startswith('{') else part}" for part in operation.segments)
    pairs = []
    for member in operation.input.query:
        value = left.pop(member.name, None)
        pairs += [(member.wire_name, encoded(one)) for one in (value if isinstance(value, list) else [value])]
    query = "&".join(f"{name}={value}" for name, value in pairs if value != "null")
    return Request(operation.method, path, query, (), json.dumps(left).encode() if left else b"")


def json_1_1(operation, given):
    headers = (
        ("x-amz-target", f"AmazonConnectService.{operation.name}"),
        ("content-type", "application/x-amz-json-1.1"),
    )
    return Request("POST", "/", "", headers, json.dumps(given).encode())


def twice(body):
    """Return a JSON object in which each member occurs twice, first with null and then with its value."""
    inside = body.strip()[1:-1]
    names = json.loads(body or b"{}")
    doubled = ",".join(f"{json.dumps(name)}:null" for name in names).encode()
    return b"{" + b",".join(part for part in (doubled, inside) if part) + b"}"


BODIES = (
    st.binary(max_size=40)
    | ANY_JSON.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(
        [
            b"{",
            b"null",
            b"[" * 5000,
            b'{"SearchCriteria":' * 90 + b"{}" + b"}" * 90,
            b'{"a":' * 200_000,
            b" " * 1_100_000,
        ]
    )
)


class ApiWithoutNetwork:
    """An `Api` with a real store, which a test calls without a network."""

    def __init__(self, path, sign):
        self._runner = asyncio.Runner()
        self._sign = sign
        self.events = []
        self._store = self._runner.run(self._opened(path))
        self._api = Api(
            self._store,
            terms=TERMS,
            throttle=Throttle(rates.RELAXED, OwnState()),
            failures=FailedSignatures(OwnState()),
            clock=now,
            emit=self.events.append,
        )
        self._write(lambda tx: tx.add_access_key(KEY))

    async def _opened(self, path):
        return SqliteStore(path, NoSeal())

    def _write(self, use_case):
        self._runner.run(self._store.write(use_case))

    def send(self, request):
        """Send a request; return the response. The store has an instance with linked and unlinked email addresses."""
        self._write(create_missing_resources)
        return self._runner.run(self._response(self._sign(request, KEY)))

    async def _response(self, request):
        return await self._api.answer(request, peer="192.0.2.1", request_id="r")

    def close(self):
        self._runner.run(self._store.close())
        self._runner.close()


def create_missing_resources(tx):
    if tx.instance(TENANT, "i") is None:
        make_instance(tx, "i")
    for name in "abcd":
        if tx.email_address_by_id(name) is None and tx.email_address_by_key(f"{name}@example.com") is None:
            tx.add_email_address(an_email_address(name), {"team": name})
    if not tx.links_of(["a", "b"]) and tx.email_address_by_id("a") and tx.email_address_by_id("b"):
        tx.add_link(AliasLink("a", "b", now()))


@pytest.fixture(scope="module")
def api(tmp_path_factory, signed):
    api = ApiWithoutNetwork(tmp_path_factory.mktemp("any") / "waypost.sqlite3", signed)
    yield api
    api.close()


def assert_permitted(answer, permitted, *, content_type, has_output=True):
    """Check that a response is JSON, and that it is a success or a permitted error."""
    assert answer.content_type.decode() == content_type
    if answer.status == 200:
        assert json.loads(answer.body) is not None if has_output else answer.body == b""
        return
    code = answer.error_type
    assert {**COMMON, **permitted}.get(code) == answer.status, (code, answer.status, answer.body)
    body = json.loads(answer.body)
    assert body.pop("__type", code) == code
    (message,) = body.values()
    assert message


@pytest.mark.parametrize("name", MODEL.operations)
@some
@given(data=st.data())
def test_every_call_gets_a_response_that_the_model_permits(api, name, data):
    operation, given_members = MODEL.operations[name], data.draw(INPUTS[name])
    targeted = data.draw(st.booleans())
    request = (json_1_1 if targeted else rest_json)(operation, given_members)
    change = data.draw(st.sampled_from(["none"] * 8 + ["another body", "doubled members", "more in the query"]))
    body, query = request.body, request.query
    if change == "another body":
        body = data.draw(BODIES)
    elif change == "doubled members":
        body = twice(body)
    elif change == "more in the query":
        query = f"{query}&{data.draw(st.text(string.printable, max_size=20)).translate(NO_LINE_ENDS)}"
    answer = api.send(Request(request.method, request.raw_path, query, request.headers, body))
    content_type = "application/x-amz-json-1.1" if targeted else "application/json"
    has_output = targeted or operation.output is not None
    assert_permitted(answer, operation.errors, content_type=content_type, has_output=has_output)
    assert api.events == []


NO_LINE_ENDS = dict.fromkeys(map(ord, " \t\r\n\x0b\x0c#"), "%")
MODELLED = {code: status for operation in MODEL.operations.values() for code, status in operation.errors.items()}
SEGMENTS = st.sampled_from(
    ["instance", "email-addresses", "tags", "i", "a", "", ".", "..", "%2F", "%FF", "%", "{InstanceId}"]
)
PATHS = st.lists(SEGMENTS | ANY_TEXT.map(encoded), max_size=5).map(lambda parts: "/" + "/".join(parts))
TARGETS = st.sampled_from([f"AmazonConnectService.{name}" for name in MODEL.operations]) | st.text(
    string.ascii_letters + "._", max_size=20
)


@settings(some, max_examples=examples(100))
@given(
    where=st.tuples(st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "get"]), PATHS | st.just("/"))
    | st.just(("POST", "/")),
    query=st.dictionaries(ANY_TEXT.map(encoded), ANY_TEXT.map(encoded), max_size=3).map(urlencode),
    body=BODIES | st.just(b""),
    target=TARGETS | st.none(),
)
def test_every_signed_request_gets_a_response_in_json(api, where, query, body, target):
    headers = () if target is None else (("x-amz-target", target),)
    answer = api.send(Request(*where, query, headers, body))
    targeted = where == ("POST", "/")
    assert answer.status != 200 or answer.body == b"" or json.loads(answer.body) is not None
    if answer.status != 200:
        content_type = "application/x-amz-json-1.1" if targeted else "application/json"
        assert_permitted(answer, MODELLED, content_type=content_type)
    assert api.events == []


def test_the_table_of_common_errors_has_no_internal_errors():
    assert max(COMMON.values()) < 500
    assert shapes.load().operations.keys() == INPUTS.keys()
