"""The protocol without sockets: routing on the raw path, members out of a request, answers."""

import json

import pytest

from waypost.api import protocol, shapes
from waypost.api.errors import ApiError
from waypost.api.http import Request

MODEL = shapes.load()
PROTOCOL = protocol.Protocol(MODEL)
LINK = "/email-addresses/i/e/associate-alias"


def parse(method, path, body=b"", query=""):
    request = Request(method, path, query, (), body)
    match = PROTOCOL.route(request)
    return match.operation.name, PROTOCOL.parse(match, request)


def refusal(method, path, body=b"", query=""):
    with pytest.raises(ApiError) as caught:
        parse(method, path, body, query)
    return caught.value


@pytest.mark.parametrize(
    ("segment", "label"),
    [
        ("plain", "plain"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("%C3%BC%20", "ü "),
        ("a;b=c", "a;b=c"),
        (".", "."),
        ("associate-alias", "associate-alias"),
    ],
)
def test_a_label_is_decoded_once_and_after_the_path_was_split(segment, label):
    name, members = parse("GET", f"/email-addresses/i/{segment}")
    assert name == "DescribeEmailAddress"
    assert (members.instance_id, members.email_address_id) == ("i", label)


def test_an_arn_is_one_label():
    arn = "arn:aws:connect:us-east-1:000000000000:instance/i/email-address/e"
    name, members = parse("GET", "/tags/" + arn.replace(":", "%3A").replace("/", "%2F"))
    assert (name, members.resource_arn) == ("ListTagsForResource", arn)


UNKNOWN = {
    "path": ("GET", "/nothing"),
    "root": ("GET", "/"),
    "empty": ("GET", ""),
    "method": ("PATCH", "/instance"),
    "lower-case-method": ("get", "/instance"),
    "case": ("GET", "/Instance"),
    "trailing-slash": ("GET", "/instance/i/"),
    "more-segments": ("GET", "/tags/arn:aws:connect:us-east-1:000000000000:instance/i"),
    "dots": ("GET", "/x/../instance"),
    "encoded-literal": ("GET", "/%69nstance"),
    "other-action": ("POST", "/email-addresses/i/e/associate"),
}


@pytest.mark.parametrize(("method", "path"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_method_or_path_is_no_operation(method, path):
    error = refusal(method, path)
    assert (error.code, error.status) == ("UnknownOperationException", 404)


NO_REQUESTS = {
    "no-utf-8-inside": b'{"ClientToken":"\xff"}',
    "no-json": b"EmailAddressId=a",
    "half": b'{"AliasConfiguration":',
    "two": b"{}{}",
    "spaces": b"  ",
    "array": b"[]",
    "string": b'"AliasConfiguration"',
    "number": b"1",
    "null": b"null",
    "nan": b'{"ClientToken":NaN}',
    "infinity": b'{"ClientToken":Infinity}',
    "latin-1": "ü".encode("latin-1"),
    "utf-16": '{"ClientToken":"t"}'.encode("utf-16"),
    "lone-surrogate": b'{"ClientToken":"\\udc00 and more"}',
    "thousands-of-arrays": b'{"ClientToken":' + b"[" * 100_000,
    "wrong-type": b'{"AliasConfiguration":"a"}',
    "wrong-type-inside": b'{"AliasConfiguration":{"EmailAddressId":["a"]}}',
    "number-for-text": b'{"ClientToken":1}',
}


@pytest.mark.parametrize("body", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_a_body_that_cannot_be_understood_is_an_invalid_request(body):
    error = refusal("POST", LINK, body)
    assert (error.code, error.status) == ("InvalidRequestException", 400)


def test_the_members_of_the_wrong_type_are_named():
    message = refusal("PUT", "/instance", b'{"IdentityManagementType":1,"InboundCallsEnabled":"yes"}').message
    assert message == (
        "Value at 'identityManagementType' must be a JSON string; "
        "Value at 'inboundCallsEnabled' must be a JSON boolean."
    )


def test_a_deep_value_is_refused_and_not_taken_for_our_mistake():
    criteria = b'{"OrConditions":[' * 450 + b"{}" + b"]}" * 450
    assert refusal("POST", "/search-email-addresses", b'{"SearchCriteria":' + criteria + b"}").status == 400


def test_broken_constraints_are_all_named():
    error = refusal("PUT", "/email-addresses/" + "i" * 101, b'{"EmailAddress":"","Tags":{}}')
    assert (error.code, error.status) == ("InvalidParameterException", 400)
    assert error.message.startswith("3 validation errors detected: Value 'iii")
    assert all(f"at '{member}' failed" in error.message for member in ("instanceId", "emailAddress", "tags"))


def test_one_broken_constraint_is_one_error():
    message = refusal("POST", LINK).message
    assert message == (
        "1 validation error detected: Value null at 'aliasConfiguration' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_an_operation_without_invalid_parameter_answers_invalid_request():
    error = refusal("GET", "/instance", query="maxResults=11")
    assert (error.code, error.status) == ("InvalidRequestException", 400)


@pytest.mark.parametrize("query", ["maxResults=x", "maxResults=1.0", "maxResults=", "maxResults=" + "9" * 5000])
def test_a_number_in_the_query_is_a_number(query):
    assert refusal("GET", "/instance", query=query).code == "InvalidRequestException"


@pytest.mark.parametrize(
    ("path", "query"), [("/instance/%FF", ""), ("/instance", "nextToken=%FF"), ("/instance", "%FF")]
)
def test_octets_that_are_no_utf_8_are_refused(path, query):
    error = refusal("GET", path, query=query)
    assert (error.code, error.status) == ("InvalidRequestException", 400)


def test_an_empty_label_is_refused_like_an_empty_member():
    assert "at 'instanceId'" in refusal("GET", "/email-addresses//e").message


def test_what_the_model_does_not_know_is_passed_over():
    body = b'{"AliasConfiguration":{"EmailAddressId":"a","New":1},"Unknown":{"x":[1]},"InstanceId":7}'
    _, members = parse("POST", LINK, body, query="unknown=1&=&x")
    assert (members.instance_id, members.alias_configuration.email_address_id) == ("i", "a")


def test_null_is_absent():
    _, members = parse("POST", LINK, b'{"AliasConfiguration":{"EmailAddressId":"a"},"ClientToken":null}')
    assert members.client_token is None
    assert "'aliasConfiguration'" in refusal("POST", LINK, b'{"AliasConfiguration":null}').message


def test_a_list_in_the_query_has_every_value():
    _, members = parse("DELETE", "/tags/arn", query="tagKeys=a&tagKeys=b+c&tagKeys=%C3%BC")
    assert members.tag_keys == ["a", "b c", "ü"]


def test_an_output_is_an_object_even_when_empty():
    assert protocol.serialise(MODEL.operations["DeleteEmailAddress"], {}) == protocol.Response(200, b"{}")


def test_an_operation_without_an_output_answers_nothing():
    assert protocol.serialise(MODEL.operations["DeleteInstance"], {}) == protocol.Response(200, b"")


def test_what_is_none_is_left_out():
    response = protocol.serialise(MODEL.operations["ListInstances"], {"InstanceSummaryList": [], "NextToken": None})
    assert json.loads(response.body) == {"InstanceSummaryList": []}
