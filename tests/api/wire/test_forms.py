"""Tests of the two protocols, rest-json and JSON 1.1: how requests are parsed, and how responses are written."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.api.errors import ApiError
from waypost.api.wire import protocol, shapes, texts
from waypost.api.wire.http import Request
from waypost.domain import moments

MODEL = shapes.load()
PROTOCOL = protocol.Protocol(MODEL)

EXAMPLE_1 = b"""{
   "InstanceId": "12345678-1234-1234-1234-123456789012",
   "EmailAddressId": "87654321-4321-4321-4321-210987654321",
   "AliasConfiguration": {
     "EmailAddressId": "11111111-2222-3333-4444-555555555555"
   }
}"""


def targeted(target, body=b"{}", *, headers=()):
    return Request("POST", "/", "", (("x-amz-target", target), *headers), body)


def parse(operation, body):
    request = targeted(f"AmazonConnectService.{operation}", json.dumps(body).encode())
    match = PROTOCOL.route(request)
    assert (match.operation.name, match.form) == (operation, protocol.JSON_1_1)
    return PROTOCOL.parse(match, request)


def test_the_example_of_the_api_reference_is_parsed():
    headers = (("content-type", "application/x-amz-json-1.1"), ("x-amz-date", "20170705T211529Z"))
    request = targeted("AmazonConnectService.AssociateEmailAddressAlias", EXAMPLE_1, headers=headers)
    members = PROTOCOL.parse(PROTOCOL.route(request), request)
    assert members.instance_id == "12345678-1234-1234-1234-123456789012"
    assert members.email_address_id == "87654321-4321-4321-4321-210987654321"
    assert members.alias_configuration.email_address_id == "11111111-2222-3333-4444-555555555555"
    assert members.client_token is None


def test_in_json_1_1_the_body_has_all_members_by_their_names_in_the_model():
    members = parse("ListInstances", {"NextToken": "t", "MaxResults": 3, "maxResults": 99})
    assert (members.next_token, members.max_results) == ("t", 3)
    assert parse("UntagResource", {"resourceArn": "arn", "tagKeys": ["a", "b"]}).tag_keys == ["a", "b"]
    assert parse("TagResource", {"resourceArn": "arn", "tags": {"k": "v"}}).tags == {"k": "v"}
    assert parse("DeleteInstance", {"InstanceId": "i", "ClientToken": "t"}).client_token == "t"


@pytest.mark.parametrize("name", MODEL.operations)
def test_every_operation_has_a_target(name):
    match = PROTOCOL.route(targeted(f"AmazonConnectService.{name}"))
    assert (match.operation.name, match.form) == (name, protocol.JSON_1_1)


@pytest.mark.parametrize(
    ("operation", "body", "code", "member"),
    [
        ("ListInstances", {"MaxResults": "3"}, "InvalidRequestException", "maxResults"),
        ("DescribeEmailAddress", {"InstanceId": "i"}, "InvalidParameterException", "emailAddressId"),
        (
            "DescribeEmailAddress",
            {"InstanceId": "i", "EmailAddressId": "\0"},
            "InvalidParameterException",
            "emailAddressId",
        ),
        ("TagResource", {"resourceArn": "arn", "tags": {}}, "InvalidParameterException", "tags"),
    ],
)
def test_json_1_1_is_validated_like_rest_json(operation, body, code, member):
    with pytest.raises(ApiError, match=f"at '{member}'") as caught:
        parse(operation, body)
    assert (caught.value.code, caught.value.status) == (code, 400)


UNKNOWN = {
    "none": Request("POST", "/", "", (), b"{}"),
    "other": targeted("AmazonConnectService.StartEmailContact"),
    "case": targeted("AmazonConnectService.listInstances"),
    "no-prefix": targeted("ListInstances"),
    "other-service": targeted("DynamoDB_20120810.ListInstances"),
    "empty": targeted(""),
    "long": targeted("x" * 10_000),
    "other-method": Request("GET", "/", "", (("x-amz-target", "AmazonConnectService.ListInstances"),), b""),
    "other-path": Request("POST", "//", "", (("x-amz-target", "AmazonConnectService.ListInstances"),), b""),
}


@pytest.mark.parametrize("request_", UNKNOWN.values(), ids=UNKNOWN)
def test_a_request_with_an_unknown_target_is_refused(request_):
    with pytest.raises(ApiError) as caught:
        PROTOCOL.route(request_)
    assert (caught.value.code, caught.value.status) == ("UnknownOperationException", 404)
    named, _, operations = caught.value.message.partition(
        " is not an operation that Waypost implements. Waypost implements "
    )
    assert len(named) < 300
    assert set(MODEL.operations) == set(operations.removesuffix(".").split(", "))


def test_the_target_is_ignored_if_method_and_path_name_an_operation():
    headers = (("x-amz-target", "AmazonConnectService.DeleteInstance"),)
    match = PROTOCOL.route(Request("GET", "/instance/i", "", headers, b""))
    assert (match.operation.name, match.form) == ("DescribeInstance", protocol.REST_JSON)


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "application/x-amz-json-1.1", "text/plain", "\udcff"]
)
def test_both_protocols_ignore_the_content_type_of_a_request(content_type):
    headers = (("content-type", content_type),) if content_type else ()
    for request in (
        Request("GET", "/instance", "", headers, b"{}"),
        targeted("AmazonConnectService.ListInstances", headers=headers),
    ):
        assert PROTOCOL.parse(PROTOCOL.route(request), request).max_results is None


def test_the_protocol_is_known_without_an_operation():
    assert protocol.form("POST", "/") is protocol.JSON_1_1
    assert protocol.form("GET", "/") is protocol.form("POST", "/instance") is protocol.REST_JSON


REST, AMZ = b"application/json", b"application/x-amz-json-1.1"


def test_an_empty_output_is_serialised_as_an_empty_object():
    operation = MODEL.operations["AssociateEmailAddressAlias"]
    assert protocol.serialise(operation, {}) == protocol.Response(200, b"{}", REST)
    assert protocol.serialise(operation, {}, form=protocol.JSON_1_1) == protocol.Response(200, b"{}", AMZ)


def test_without_an_output_shape_the_body_is_empty_in_rest_json_and_an_empty_object_in_json_1_1():
    operation = MODEL.operations["DeleteInstance"]
    assert operation.output is None
    assert protocol.serialise(operation, {}) == protocol.Response(200, b"", REST)
    assert protocol.serialise(operation, {}, form=protocol.JSON_1_1) == protocol.Response(200, b"{}", AMZ)


def test_an_output_member_that_is_none_is_left_out():
    response = protocol.serialise(MODEL.operations["ListInstances"], {"InstanceSummaryList": [], "NextToken": None})
    assert json.loads(response.body) == {"InstanceSummaryList": []}


@pytest.mark.parametrize(("modelled", "member"), [(True, "Message"), (False, "message")])
def test_an_error_has_its_type_in_a_header_and_in_json_1_1_also_in_the_body(modelled, member):
    error = ApiError("ResourceNotFoundException", 404, "ü\udcff")
    rest = protocol.serialise_error(error, modelled=modelled)
    assert (rest.status, rest.content_type, rest.error_type) == (404, REST, "ResourceNotFoundException")
    assert json.loads(rest.body) == {member: "ü?"}
    amz = protocol.serialise_error(error, modelled=modelled, form=protocol.JSON_1_1)
    assert (amz.status, amz.content_type, amz.error_type) == (404, AMZ, "ResourceNotFoundException")
    assert json.loads(amz.body) == {"__type": "ResourceNotFoundException", member: "ü?"}


@given(st.datetimes(timezones=st.just(UTC)))
@example(datetime(2026, 11, 22, 12, tzinfo=UTC))
@example(datetime(1, 1, 1, 0, 0, 0, 999, tzinfo=UTC))
def test_a_time_has_three_digits_of_a_second(moment):
    assert texts.iso_8601(moment) == moments.iso8601(moment)
