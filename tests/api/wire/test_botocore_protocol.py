"""Tests with botocore's own test suite for rest-json, from its source distribution, and with Waypost as the server.

For each request of an SDK, the tests check that Waypost parses the members of the request. For each output, they check
that Waypost sends the response that an SDK expects. The tables below list the cases that do not apply to Waypost, with
the reasons. All other cases must pass.
"""

import json
import math
import os
import tarfile
from pathlib import Path

import msgspec
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import ServiceModel
from botocore.parsers import ResponseParserFactory
from botocore.utils import parse_timestamp

from waypost.api.errors import ApiError
from waypost.api.wire import protocol, shapes
from waypost.api.wire.http import Request

FOLDER = Path(__file__).parents[3] / ".venv" / "botocore-sdist"

BLOB = "Amazon Connect has no blobs in these operations"
COMPRESSED = "Amazon Connect has no compressed requests"
QUERY_MAP = "for a server, such a map has all query parameters (in Smithy's tests for servers), unlike for a client"
ERROR = "an error of Amazon Connect has only a message"
NO_BLOB_BODY = {"RestJsonHttpPayloadTraitsWithBlob": BLOB, "RestJsonHttpPayloadTraitsWithNoBlobBody": BLOB}

NOT_OURS = {
    "input": {
        **NO_BLOB_BODY,
        "RestJsonJsonBlobs": BLOB,
        "RestJsonSerializeBlobUnionValue": BLOB,
        "RestJsonHttpWithEmptyBlobPayload": BLOB,
        "RestJsonTestPayloadBlob": BLOB,
        "SDKAppliedContentEncoding_restJson1": COMPRESSED,
        "SDKAppendedGzipAfterProvidedEncoding_restJson1": COMPRESSED,
        "RestJsonHostWithPath": "the path prefix comes from the endpoint of the client",
        "RestJsonQueryParamsStringListMap": QUERY_MAP,
        "RestJsonQueryPrecedence": QUERY_MAP,
    },
    "output": {
        **NO_BLOB_BODY,
        "RestJsonJsonBlobs": BLOB,
        "RestJsonDeserializeBlobUnionValue": BLOB,
        "RestJsonComplexErrorWithNoMessage": ERROR,
        "RestJsonEmptyComplexErrorWithNoMessage": ERROR,
    },
}

ONLY_READ = [
    "RestJsonDateTimeWithNegativeOffset",
    "RestJsonDateTimeWithPositiveOffset",
    "RestJsonDeserializeIgnoreType",
    "RestJsonDeserializesDenseSetMapAndSkipsNull",
    "RestJsonDoesntDeserializeNullStructureValues",
    "RestJsonEmptyInputAndEmptyOutputJsonObjectOutput",
    "RestJsonFooErrorUsingCode",
    "RestJsonFooErrorUsingCodeAndNamespace",
    "RestJsonFooErrorUsingCodeUriAndNamespace",
    "RestJsonFooErrorUsingXAmznErrorTypeWithUri",
    "RestJsonFooErrorUsingXAmznErrorTypeWithUriAndNamespace",
    "RestJsonFooErrorWithDunderType",
    "RestJsonFooErrorWithDunderTypeAndNamespace",
    "RestJsonFooErrorWithDunderTypeUriAndNamespace",
    "RestJsonGreetingWithErrorsNoPayload",
    "RestJsonHttpResponseCodeWithNoPayload",
    "RestJsonIgnoreQueryParamsInResponseNoPayload",
    "RestJsonNoInputAndOutputNoPayload",
]
"""Responses with an oddity that a client must accept, but a server need not produce.

An SDK must parse Waypost's response to the same output.
"""

NOT_READ = [
    "MediaTypeHeaderOutputBase64",
    "RestJsonHttpPayloadWithUnsetUnion",
    "RestJsonInputAndOutputWithQuotedStringHeaders",
    "RestJsonInputAndOutputWithTimestampHeaders",
]
"""Responses that botocore cannot parse yet, and skips in its own tests.

Waypost's responses are only compared with the suite.
"""


def sdist():
    found = os.environ.get("WAYPOST_BOTOCORE_SDIST") or next(map(str, sorted(FOLDER.glob("*.tar.gz"))), None)
    return Path(found) if found else None


def cases(direction):
    extracted = (
        FOLDER / "protocols" / direction / "rest-json.json"
    )  # `make` extracts the file, because the archive is large
    if extracted.exists() and "WAYPOST_BOTOCORE_SDIST" not in os.environ:
        suites = json.loads(extracted.read_text(encoding="utf-8"))
    elif sdist() is None:
        return {}
    else:
        with tarfile.open(sdist()) as archive:
            (name,) = [n for n in archive.getnames() if n.endswith(f"/tests/unit/protocols/{direction}/rest-json.json")]
            suites = json.load(archive.extractfile(name))
    return {case["id"]: (suite["shapes"], case) for suite in suites for case in suite["cases"]}


SUITE = {direction: cases(direction) for direction in ("input", "output")}
OURS = {direction: [name for name in cases if name not in NOT_OURS[direction]] for direction, cases in SUITE.items()}

MISSING = f"botocore's source distribution is not in {FOLDER}, and WAYPOST_BOTOCORE_SDIST does not name it"
needs_suite = pytest.mark.skipif(sdist() is None, reason=MISSING)


def model_of(suite_shapes, given):
    """Build a model with the operation of a case, without its blobs, because Waypost cannot compile them."""
    blobs = [name for name, shape in suite_shapes.items() if shape["type"] == "blob"]
    ours = {"Unit": {"type": "structure", "members": {}}}
    for name, shape in suite_shapes.items():
        members = shape.get("members", {})
        kept = {member: reference for member, reference in members.items() if reference["shape"] not in blobs}
        ours[name] = {**shape, "members": kept} if "members" in shape else shape
    operation = {
        "method": given["http"]["method"],
        "uri": given["http"]["requestUri"],
        "input": given.get("input", {"shape": "Unit"})["shape"],
        "output": given["output"]["shape"] if "output" in given else None,
        "errors": [error["shape"] for error in given.get("errors", [])],
    }
    return shapes.Model({"shapes": ours, "operations": {given["name"]: operation}})


def comparable(value):
    """Return members in a comparable form: without None and empty values, and with names for floats such as NaN."""
    if isinstance(value, dict):
        inside = {name: comparable(inner) for name, inner in value.items()}
        return {name: inner for name, inner in inside.items() if inner not in (None, [], {})}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value


def request_of(serialized):
    path, _, query = serialized["uri"].partition("?")
    headers = tuple((name.lower(), value) for name, value in serialized.get("headers", {}).items())
    return Request(serialized["method"], path, query, headers, serialized["body"].encode())


@needs_suite
@pytest.mark.parametrize("name", OURS["input"])
def test_the_request_of_an_sdk_is_parsed_to_its_members(name):
    suite_shapes, case = SUITE["input"][name]
    model = model_of(suite_shapes, case["given"])
    service = protocol.Protocol(model)
    request = request_of(case["serialized"])
    match = service.route(request)
    assert match.operation.name == case["given"]["name"]
    read = comparable(msgspec.to_builtins(service.parse(match, request)))
    token = {"token": "00000000-0000-4000-8000-000000000000"} if name.endswith("IdempotencyTokenAutoFill") else {}
    assert read == comparable({**token, **case["params"]})


def numbers(value):
    """Convert an output of the suite to the form of our operations, in which NaN and Infinity are floats."""
    if isinstance(value, dict):
        return {name: numbers(inner) for name, inner in value.items()}
    return float(value.replace("Infinity", "inf")) if value in ("NaN", "Infinity", "-Infinity") else value


def answer_of(suite_shapes, case):
    operation = model_of(suite_shapes, case["given"]).operations[case["given"]["name"]]
    if "error" not in case:
        return protocol.serialise(operation, numbers(case["result"]))
    error = ApiError(case["errorCode"], operation.errors[case["errorCode"]], case.get("errorMessage", ""))
    return protocol.serialise_error(error, modelled=True)


def headers_of(response):
    error = {"x-amzn-errortype": response.error_type} if response.error_type else {}
    always = {"content-type": response.content_type.decode(), "content-length": str(len(response.body))}
    return {**always, **error, **{name.decode(): value.decode() for name, value in response.headers}}


@needs_suite
@pytest.mark.parametrize("name", [name for name in OURS["output"] if name not in ONLY_READ])
def test_the_response_is_the_one_that_an_sdk_expects(name):
    suite_shapes, case = SUITE["output"][name]
    wanted, answer = case["response"], answer_of(suite_shapes, case)
    headers = {name.lower(): value for name, value in wanted.get("headers", {}).items()}
    assert answer.status == wanted["status_code"]
    assert headers.items() <= headers_of(answer).items()
    if answer.content_type == b"text/plain" or wanted.get("body") == "":
        assert answer.body.decode() == wanted["body"]
    elif "body" in wanted:
        assert json.loads(answer.body) == json.loads(wanted["body"])


def seconds(timestamp):
    return parse_timestamp(timestamp).timestamp()


@needs_suite
@pytest.mark.parametrize("name", [name for name in OURS["output"] if name not in NOT_READ])
def test_an_sdk_parses_the_response_to_the_same_output(name):
    suite_shapes, case = SUITE["output"][name]
    answer, given = answer_of(suite_shapes, case), case["given"]
    service = ServiceModel({"metadata": {}, "operations": {given["name"]: given}, "shapes": suite_shapes})
    parsers = ResponseParserFactory()
    parsers.set_parser_defaults(timestamp_parser=seconds)
    octets = {"status_code": answer.status, "headers": HeadersDict(headers_of(answer)), "body": answer.body}
    read = parsers.create_parser("rest-json").parse(octets, service.operation_model(given["name"]).output_shape)
    if "error" in case:
        assert read["Error"] == {"Code": case["errorCode"], "Message": case.get("errorMessage", "")}
    elif name == "HttpPrefixHeadersResponse":
        # The prefix of this member is empty, so it contains all headers.
        assert case["result"]["prefixHeaders"].items() <= read["prefixHeaders"].items()
    else:
        assert comparable({**read, "ResponseMetadata": None}) == comparable(case["result"])


@needs_suite
def test_all_excluded_cases_are_in_the_suite(record_property):
    assert {*ONLY_READ, *NOT_READ} <= SUITE["output"].keys()
    for direction, excluded in NOT_OURS.items():
        assert excluded.keys() <= SUITE[direction].keys()
    shares = ", ".join(f"{len(OURS[way])} of {len(SUITE[way])} {way} cases" for way in SUITE)
    record_property("to_be_told", f"botocore rest-json: {shares} are ours, and pass")
