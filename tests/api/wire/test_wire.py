"""Tests of the wire format with botocore as the client, and of the error responses of the real server."""

import json
from datetime import UTC, datetime

import botocore.session
import msgspec
import pytest
from botocore.awsrequest import prepare_request_dict
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from waypost.api.errors import ApiError
from waypost.api.wire import protocol, shapes
from waypost.api.wire.http import Request

MODEL = shapes.load()
PROTOCOL = protocol.Protocol(MODEL)
BOTOCORE = botocore.session.Session().get_service_model("connect")
few = settings(max_examples=examples(25), deadline=None, database=None)

TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TIMES = st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def value_of(shape, depth=0):
    """Return a strategy for valid values of a shape in botocore's model."""
    least, most = shape.metadata.get("min", 0), min(shape.metadata.get("max", 5), 8)
    match shape.type_name:
        case "structure":
            members = {} if depth > 4 else {n: value_of(member, depth + 1) for n, member in shape.members.items()}
            required = {name: members.pop(name) for name in shape.required_members if name in members}
            return st.fixed_dictionaries(required, optional=members)
        case "list":
            return st.lists(value_of(shape.member, depth + 1), min_size=least, max_size=most)
        case "map":
            key, value = value_of(shape.key), value_of(shape.value)
            return st.dictionaries(key, value, min_size=least, max_size=most)
        case "string" if shape.enum:
            return st.sampled_from(shape.enum)
        case "string" if "pattern" in shape.metadata:
            return st.from_regex(shapes.python_pattern(shape.metadata["pattern"])).filter(
                lambda text: max(least, 1) <= len(text) <= shape.metadata["max"] and "\0" not in text
            )
        case "string":
            return st.text(TEXT, min_size=max(least, 1 if depth < 2 else 0), max_size=max(most, least))
        case "boolean":
            return st.booleans()
        case "timestamp":
            return TIMES
        case _:
            return st.integers(shape.metadata.get("min", 0), shape.metadata.get("max", 2**31))


def sent(operation, params):
    """Return the request that an SDK sends for an operation."""
    wanted = create_serializer("rest-json", False).serialize_to_request(params, operation)
    prepare_request_dict(wanted, endpoint_url="http://connect.example")
    target = wanted["url"].removeprefix("http://connect.example")
    path, _, query = target.partition("?")
    body = wanted["body"]
    return Request(wanted["method"], path, query, (), body if isinstance(body, bytes) else body.encode())


def known(value):
    """Return members in the form that botocore gets: without the None values that our types have for absent members."""
    if isinstance(value, dict):
        return {name: known(member) for name, member in value.items() if member is not None}
    return [known(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", MODEL.operations)
@few
@given(data=st.data())
def test_a_request_that_botocore_sends_is_parsed_to_the_same_members(name, data):
    operation = BOTOCORE.operation_model(name)
    params = data.draw(value_of(operation.input_shape))
    request = sent(operation, params)
    match = PROTOCOL.route(request)
    assert match.operation.name == name
    assert known(msgspec.to_builtins(PROTOCOL.parse(match, request))) == known(params)


def as_sent(value):
    """Convert an output to the form of our operations, in which a timestamp is a number of seconds."""
    if isinstance(value, dict):
        return {name: as_sent(member) for name, member in value.items()}
    if isinstance(value, datetime):
        return value.timestamp()
    return [as_sent(item) for item in value] if isinstance(value, list) else value


def read_by_botocore(response, shape):
    headers = {"x-amzn-requestid": "r"} | ({"x-amzn-errortype": response.error_type} if response.error_type else {})
    answer = {"status_code": response.status, "headers": headers, "body": response.body}
    return create_parser("rest-json").parse(answer, shape)


@pytest.mark.parametrize("name", [name for name, operation in MODEL.operations.items() if operation.output])
@few
@given(data=st.data())
def test_botocore_parses_the_response_to_the_same_output(name, data):
    shape = BOTOCORE.operation_model(name).output_shape
    output = data.draw(value_of(shape))
    parsed = read_by_botocore(protocol.serialise(MODEL.operations[name], as_sent(output)), shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "r"
    assert parsed == output


@pytest.mark.parametrize("modelled", [True, False])
@pytest.mark.parametrize("name", MODEL.operations)
def test_botocore_parses_every_error_that_an_operation_may_return(name, modelled):
    operation = BOTOCORE.operation_model(name)
    for shape in operation.error_shapes:
        status = MODEL.operations[name].errors[shape.name]
        error = ApiError(shape.name, status, "An ü in a sentence.")
        parsed = read_by_botocore(protocol.serialise_error(error, modelled=modelled), operation.output_shape)
        assert parsed["Error"] == {"Code": shape.name, "Message": "An ü in a sentence."}
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] == shape.metadata["error"]["httpStatusCode"] == status


def request(method, path, body=b"", query="", headers=()):
    return Request(method, path, query, headers, body)


REFUSED = {
    "unknown-path": (request("GET", "/nothing"), 404, "UnknownOperationException"),
    "unknown-method": (request("PATCH", "/instance"), 404, "UnknownOperationException"),
    "missing-instance": (request("GET", "/instance/i"), 404, "ResourceNotFoundException"),
    "not-json": (request("PUT", "/instance", b"<html>"), 400, "InvalidRequestException"),
    "invalid-utf-8-in-the-path": (request("GET", "/instance/%FF"), 400, "InvalidRequestException"),
    "broken-constraint": (request("PUT", "/email-addresses/i", b"{}"), 400, "InvalidParameterException"),
    "unknown-session-token": (
        request("GET", "/instance", headers=(("x-amz-security-token", "t"),)),
        403,
        "UnrecognizedClientException",
    ),
    "too-large": (request("PUT", "/instance", b" " * (256 * 1024 + 1)), 413, "RequestEntityTooLargeException"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_every_error_response_is_json_with_an_error_type_and_a_request_id(server, signed, exchange, case):
    refused, status, code = case
    reply = exchange(signed(refused, server.profile.key))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (status, code)
    assert_json_error(reply)


def assert_json_error(reply):
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-amzn-requestid"].count("-") == 4
    (message,) = json.loads(reply.body).values()
    assert message


@pytest.mark.parametrize("path", ["/", "/instance", "/nothing"])
def test_the_error_response_to_an_unsigned_request_is_json(exchange, path):
    reply = exchange(request("GET", path, headers=(("host", "h"),)))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
    assert_json_error(reply)


def test_the_error_response_to_invalid_utf_8_in_the_authorization_is_json(server, signed, exchange):
    valid = signed(request("GET", "/instance"), server.profile.key)
    headers = tuple((name, value.replace("/20", "/\udcff20")) for name, value in valid.headers)
    assert_json_error(exchange(request("GET", "/instance", headers=headers)))


def test_a_body_of_256_kibibytes_is_accepted(server, signed, exchange):
    reply = exchange(signed(request("GET", "/instance", b"{}" + b" " * (256 * 1024 - 2)), server.profile.key))
    assert reply.status == 200


def test_a_successful_response_has_a_request_id(connect):
    metadata = connect.list_instances()["ResponseMetadata"]
    assert metadata["RequestId"] == metadata["HTTPHeaders"]["x-amzn-requestid"] != ""


def test_a_wrong_secret_is_refused(new_client):
    with pytest.raises(ClientError, match="signature you provided") as caught:
        new_client(aws_secret_access_key="another").list_instances()
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
