"""Tests of the protocol without sockets: routing by the raw path, and parsing the members of a request."""

import json

import pytest

from waypost.api.errors import ApiError
from waypost.api.wire import bodies, protocol, shapes
from waypost.api.wire.http import Request

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
def test_a_label_is_decoded_once_after_the_path_is_split(segment, label):
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
def test_a_request_with_an_unknown_method_or_path_is_refused(method, path):
    error = refusal(method, path)
    assert (error.code, error.status) == ("UnknownOperationException", 404)


WRONG_TYPES = {
    "boolean-for-text": b'{"ClientToken":true}',
    "integer-for-text": b'{"ClientToken":1' + b"0" * 400 + b"}",
    "wrong-type": b'{"AliasConfiguration":"a"}',
    "wrong-type-inside": b'{"AliasConfiguration":{"EmailAddressId":["a"]}}',
    "number-for-text": b'{"ClientToken":1}',
}


@pytest.mark.parametrize("body", [b"no JSON", *WRONG_TYPES.values()], ids=["not-json", *WRONG_TYPES])
def test_a_body_that_cannot_be_parsed_is_an_invalid_request(body):
    error = refusal("POST", LINK, body)
    assert (error.code, error.status) == ("InvalidRequestException", 400)


def test_the_error_message_names_all_members_of_the_wrong_type():
    message = refusal("PUT", "/instance", b'{"IdentityManagementType":1,"InboundCallsEnabled":"yes"}').message
    assert message == (
        "Value at 'identityManagementType' must be a JSON string; "
        "Value at 'inboundCallsEnabled' must be a JSON boolean."
    )


def nested(depth):
    """Return the body of a search with this many levels of nested arrays and objects."""
    pairs, odd = divmod(depth - 1, 2)
    inner = b"{}" if odd else b""
    return b'{"InstanceId":"i","SearchCriteria":' + b'{"OrConditions":[' * pairs + inner + b"]}" * pairs + b"}"


def test_a_body_may_be_nested_up_to_the_limit():
    _, members = parse("POST", "/search-email-addresses", nested(bodies.DEPTH_LIMIT))
    assert members.search_criteria.or_conditions[0].or_conditions[0].and_conditions is None


@pytest.mark.parametrize("depth", [bodies.DEPTH_LIMIT + 1, 900, 100_000])
def test_a_body_that_is_nested_too_deeply_is_refused_without_an_internal_error(depth):
    error = refusal("POST", "/search-email-addresses", nested(depth))
    assert (error.code, error.status) == ("InvalidRequestException", 400)
    assert error.message == "The request body has more than 100 levels of nested arrays and objects."


def test_a_wide_body_does_not_count_as_deeply_nested():
    body = b'{"AliasConfiguration":{"EmailAddressId":"a"},"Unknown":[' + b"[{}]," * 100_000 + b"[]]}"
    assert parse("POST", LINK, body)[1].alias_configuration.email_address_id == "a"


NULS = {
    "body": (
        "POST",
        LINK,
        b'{"AliasConfiguration":{"EmailAddressId":"a\\u0000"}}',
        "",
        "aliasConfiguration.emailAddressId",
    ),
    "label": ("GET", "/email-addresses/i/e%00", b"", "", "emailAddressId"),
    "query": ("DELETE", "/tags/arn", b"", "tagKeys=a&tagKeys=%00", "tagKeys.2.member"),
}


@pytest.mark.parametrize(("method", "path", "body", "query", "member"), NULS.values(), ids=NULS)
def test_the_character_nul_is_refused_in_every_member(method, path, body, query, member):
    error = refusal(method, path, body, query)
    assert (error.code, error.status) == ("InvalidParameterException", 400)
    assert error.message == (
        f"1 validation error detected: Value at '{member}' failed to satisfy constraint: "
        "Member must not contain the character NUL"
    )


@pytest.mark.parametrize("text", [b"\\\\u0000", b"\\\\\\u0041", b"%00"])
def test_a_text_that_merely_resembles_an_escaped_nul_is_accepted(text):
    _, members = parse("POST", LINK, b'{"AliasConfiguration":{"EmailAddressId":"' + text + b'"}}')
    assert members.alias_configuration.email_address_id == json.loads(b'"' + text + b'"')


def test_the_character_nul_is_ignored_in_unknown_members():
    body = b'{"AliasConfiguration":{"EmailAddressId":"a","New":"\\u0000"},"\\u0000":1}'
    assert parse("POST", LINK, body, query="x=%00")[1].client_token is None


def test_the_last_value_of_a_repeated_member_is_used():
    body = (
        b'{"AliasConfiguration":{"EmailAddressId":1},"AliasConfiguration":{"EmailAddressId":"a","EmailAddressId":"b"}}'
    )
    assert parse("POST", LINK, body)[1].alias_configuration.email_address_id == "b"


def test_the_error_message_names_all_broken_constraints():
    error = refusal("PUT", "/email-addresses/" + "i" * 101, b'{"EmailAddress":"","Tags":{}}')
    assert (error.code, error.status) == ("InvalidParameterException", 400)
    assert error.message.startswith("3 validation errors detected: Value 'iii")
    assert all(f"at '{member}' failed" in error.message for member in ("instanceId", "emailAddress", "tags"))


def test_if_some_members_have_the_wrong_type_only_they_are_named():
    error = refusal("PUT", "/email-addresses/i", b'{"EmailAddress":"no at","DisplayName":1,"Description":[]}')
    assert (error.code, error.message) == (
        "InvalidRequestException",
        "Value at 'description' must be a JSON string; Value at 'displayName' must be a JSON string.",
    )


def test_the_error_message_counts_one_broken_constraint_in_the_singular():
    message = refusal("POST", LINK).message
    assert message == (
        "1 validation error detected: Value null at 'aliasConfiguration' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_an_operation_without_invalid_parameter_returns_invalid_request():
    error = refusal("GET", "/instance", query="maxResults=11")
    assert (error.code, error.status) == ("InvalidRequestException", 400)


NUMBERS = {
    "1": None,
    "-0": "InvalidParameterException",
    "1" + "0" * 400: "InvalidParameterException",
    "1.0": "InvalidRequestException",
    "1e1": "InvalidRequestException",
    "true": "InvalidRequestException",
    '"1"': "InvalidRequestException",
}


@pytest.mark.parametrize(("number", "code"), NUMBERS.items(), ids=[number[:9] for number in NUMBERS])
def test_an_integer_in_the_body_must_be_written_as_an_integer(number, code):
    body = b'{"InstanceId":"i","MaxResults":' + number.encode() + b"}"
    if code is None:
        assert parse("POST", "/search-email-addresses", body)[1].max_results == 1
    else:
        error = refusal("POST", "/search-email-addresses", body)
        assert (error.code, error.status) == (code, 400)
        assert "at 'maxResults'" in error.message


@pytest.mark.parametrize("query", ["maxResults=x", "maxResults=1.0", "maxResults=", "maxResults=" + "9" * 5000])
def test_a_number_in_the_query_must_be_a_number(query):
    assert refusal("GET", "/instance", query=query).code == "InvalidRequestException"


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/instance/%FF", "", "Value at 'instanceId' cannot be decoded."),
        ("/instance/\udcff", "", "Value at 'instanceId' cannot be decoded."),
        ("/instance", "nextToken=%FF", "Value at 'nextToken' cannot be decoded."),
        ("/instance", "%FF", "The name of a query parameter is not valid UTF-8."),
    ],
)
def test_invalid_utf_8_is_refused(path, query, message):
    error = refusal("GET", path, query=query)
    assert (error.code, error.status, error.message) == ("InvalidRequestException", 400, message)


@pytest.mark.parametrize(
    ("query", "token"),
    [
        ("nextToken=a+b%2B", "a+b+"),
        ("nextToken=%zz%", "%zz%"),
        ("nextToken=", ""),
        ("nextToken", ""),
        ("nextToken=a=b", "a=b"),
        ("next%54oken=a", "a"),
        ("NextToken=a", None),
        ("unknown=%FF", None),
    ],
)
def test_a_query_is_decoded_by_the_rules_of_the_signature(query, token):
    assert parse("GET", "/instance", query=query)[1].next_token == token


@pytest.mark.parametrize("query", ["nextToken=a&nextToken=b", "nextToken=a&nextToken=a", "nextToken=&x=y&nextToken"])
def test_a_repeated_parameter_for_a_single_value_is_refused(query):
    error = refusal("GET", "/instance", query=query)
    assert (error.code, error.message) == ("InvalidRequestException", "Value at 'nextToken' may occur only once.")


def test_a_member_that_belongs_in_the_query_is_ignored_in_the_body():
    _, members = parse("GET", "/instance", b'{"NextToken":"t","nextToken":"t","MaxResults":3}')
    assert (members.next_token, members.max_results) == (None, None)


def test_an_empty_label_is_refused_like_an_empty_member():
    assert "at 'instanceId'" in refusal("GET", "/email-addresses//e").message


def test_unknown_members_and_parameters_are_ignored():
    body = b'{"AliasConfiguration":{"EmailAddressId":"a","New":1},"Unknown":{"x":[1]},"InstanceId":7}'
    _, members = parse("POST", LINK, body, query="unknown=1&=&x")
    assert (members.instance_id, members.alias_configuration.email_address_id) == ("i", "a")


def test_a_member_that_is_null_counts_as_absent():
    _, members = parse("POST", LINK, b'{"AliasConfiguration":{"EmailAddressId":"a"},"ClientToken":null}')
    assert members.client_token is None
    assert "'aliasConfiguration'" in refusal("POST", LINK, b'{"AliasConfiguration":null}').message


def test_a_list_in_the_query_has_every_value():
    _, members = parse("DELETE", "/tags/arn", query="tagKeys=a&tagKeys=b%20c&tagKeys=%C3%BC")
    assert members.tag_keys == ["a", "b c", "ü"]
