"""Tests of JSON 1.1, the protocol in the examples of the API Reference, against the real server."""

import json
import re
import socket
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from tests.api.refusals import INSTANCE, MISSING_ID, MODEL, json_1_1, rest_json
from tests.kit.patience import PATIENCE
from tests.kit.stores import direct_writes
from tests.kit.values import TENANT, an_email_address, make_instance
from waypost.api.access import canonical
from waypost.api.wire.http import Request
from waypost.app.directory import access_keys
from waypost.domain.iam.access_keys import AccessKey
from waypost.testing import Server

JSON_1_1 = "application/x-amz-json-1.1"


@pytest.fixture
def call(server, signed, exchange):
    """Make a call in one of the two protocols."""
    return lambda form, operation, members: exchange(signed(form(operation, members), server.profile.key))


@pytest.fixture
def call_in_both(call):
    """Make a call in both protocols in turn, check that the responses are equal, and return the output."""

    def call_in_both(operation, **members):
        targeted, rest = call(json_1_1, operation, members), call(rest_json, operation, members)
        assert (targeted.status, targeted.headers["content-type"]) == (200, JSON_1_1)
        assert (rest.status, rest.headers["content-type"]) == (200, "application/json")
        answer = json.loads(targeted.body)
        assert answer == json.loads(rest.body or b"{}")
        # In JSON 1.1, the response is an empty object if the operation has no output shape.
        assert bool(rest.body) == (MODEL.operations[operation].output is not None)
        return answer

    return call_in_both


def test_every_operation_has_the_same_output_in_both_protocols(call_in_both, spelling):
    """The second call of each pair is a repetition of the first call, in some cases with a client token."""
    called = set()

    def both(operation, **members):
        called.add(operation)
        return call_in_both(operation, **members)

    made = both("CreateInstance", **INSTANCE, Tags={"a": "b"}, ClientToken=spelling())
    own = {"InstanceId": made["Id"]}
    ids = [
        both("CreateEmailAddress", **own, EmailAddress=spelling(), DisplayName="ü", ClientToken=str(number))[
            "EmailAddressId"
        ]
        for number in range(2)
    ]
    primary = {**own, "EmailAddressId": ids[0]}
    pair = {**primary, "AliasConfiguration": {"EmailAddressId": ids[1]}}
    assert both("AssociateEmailAddressAlias", **pair, ClientToken="t") == {}
    updated = both("UpdateEmailAddressMetadata", **primary, Description="words", ClientToken="t")
    assert updated["EmailAddressId"] == ids[0]
    described = both("DescribeEmailAddress", **primary)
    assert (described["Description"], described["AliasConfigurations"]) == ("words", [{"EmailAddressId": ids[1]}])
    assert both("DescribeInstance", **own)["Instance"]["Tags"] == {"a": "b"}
    criteria = {"StringCondition": {"FieldName": "description", "ComparisonType": "EXACT", "Value": "WORDS"}}
    found = both("SearchEmailAddresses", **own, SearchCriteria=criteria, MaxResults=1)
    assert [one["EmailAddressId"] for one in found["EmailAddresses"]] == [ids[0]]
    resource = {"resourceArn": described["EmailAddressArn"]}
    assert both("TagResource", **resource, tags={"a": "b", "c": ""}) == {}
    assert both("ListTagsForResource", **resource) == {"tags": {"a": "b", "c": ""}}
    assert both("UntagResource", **resource, tagKeys=["a", "c"]) == {}
    assert both("ListTagsForResource", **resource) == {"tags": {}}
    assert len(both("ListInstances", MaxResults=1)["InstanceSummaryList"]) == 1
    assert both("DisassociateEmailAddressAlias", **pair, ClientToken="t") == {}
    assert both("DeleteInstance", **own, ClientToken="t") == {}
    assert called == MODEL.operations.keys() - {"DeleteEmailAddress"}


def test_an_email_address_is_deleted(call, connect, instance_id, new_address):
    members = {"InstanceId": instance_id, "EmailAddressId": new_address()}
    reply = call(json_1_1, "DeleteEmailAddress", members)
    assert (reply.status, reply.body) == (200, b"{}")
    with pytest.raises(ClientError, match="was not found"):
        connect.describe_email_address(**members)


ARN = f"arn:aws:connect:us-east-1:000000000000:instance/{MISSING_ID}"
PAIR = {"InstanceId": MISSING_ID, "EmailAddressId": "e", "AliasConfiguration": {"EmailAddressId": "a"}}
REFUSED = {
    "AssociateEmailAddressAlias": PAIR,
    "CreateEmailAddress": {"InstanceId": MISSING_ID, "EmailAddress": "a"},
    "CreateInstance": {"IdentityManagementType": "x"},
    "DeleteEmailAddress": {"InstanceId": MISSING_ID, "EmailAddressId": "e"},
    "DeleteInstance": {"InstanceId": MISSING_ID},
    "DescribeEmailAddress": {"InstanceId": MISSING_ID, "EmailAddressId": "e"},
    "DescribeInstance": {"InstanceId": ARN},
    "DisassociateEmailAddressAlias": PAIR,
    "ListInstances": {"NextToken": "x"},
    "ListTagsForResource": {"resourceArn": ARN},
    "SearchEmailAddresses": {"InstanceId": MISSING_ID, "MaxResults": 101},
    "TagResource": {"resourceArn": ARN, "tags": {"aws:a": "b"}},
    "UntagResource": {"resourceArn": "x", "tagKeys": ["a"]},
    "UpdateEmailAddressMetadata": {"InstanceId": MISSING_ID, "EmailAddressId": "e"},
}


@pytest.mark.parametrize("operation", MODEL.operations)
def test_an_error_is_the_same_in_both_protocols_except_for_its_type_in_the_body(call, operation):
    targeted, rest = (call(form, operation, REFUSED[operation]) for form in (json_1_1, rest_json))
    assert (targeted.status, targeted.headers["x-amzn-errortype"]) == (rest.status, rest.headers["x-amzn-errortype"])
    assert 400 <= targeted.status < 500
    body = json.loads(targeted.body)
    assert body.pop("__type") == targeted.headers["x-amzn-errortype"]
    assert body == json.loads(rest.body)
    assert targeted.headers["content-type"] == JSON_1_1


def target(value):
    return (("x-amz-target", value),)


UNKNOWN = {
    "operation": target("AmazonConnectService.StartEmailContact"),
    "letter case": target("AmazonConnectService.listInstances"),
    "service": target("DynamoDB_20120810.ListInstances"),
    "no service": target("ListInstances"),
    "nothing": target(""),
    "no header": (),
}


@pytest.mark.parametrize("headers", UNKNOWN.values(), ids=UNKNOWN)
def test_a_request_with_an_unknown_target_is_refused(server, signed, exchange, headers):
    reply = exchange(signed(Request("POST", "/", "", headers, b"{}"), server.profile.key))
    assert (reply.status, reply.headers["content-type"]) == (404, JSON_1_1)
    assert json.loads(reply.body)["__type"] == reply.headers["x-amzn-errortype"] == "UnknownOperationException"


def test_the_error_for_a_wrong_signature_has_its_type_in_the_body(server, signed, exchange):
    key = AccessKey(server.profile.key.id, "another", "000000000000")
    reply = exchange(signed(json_1_1("ListInstances", {}), key))
    assert (reply.status, json.loads(reply.body)["__type"]) == (403, "InvalidSignatureException")


KEY = AccessKey("AKIAI44QH8DHBEXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", TENANT.account)
INSTANCE_ID = "12345678-1234-1234-1234-123456789012"
PRIMARY, ALIAS = "87654321-4321-4321-4321-210987654321", "11111111-2222-3333-4444-555555555555"
EXAMPLE_BODY = (
    f'{{ "InstanceId": "{INSTANCE_ID}", "EmailAddressId": "{PRIMARY}",'
    f' "AliasConfiguration": {{ "EmailAddressId": "{ALIAS}" }} }}'
).encode()
EXAMPLE_2 = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Wed, 05 Jul 2017 21:15:29 GMT\r\n"
    b"Content-Type: application/x-amz-json-1.1\r\n"
    b"Content-Length: 2\r\n"
    b"Connection: keep-alive\r\n"
    b"x-amzn-RequestId: 12345678-1234-1234-1234-123456789012\r\n"
    b"\r\n"
    b"{}"
)


@pytest.fixture(scope="module")
def server_of_the_page(tmp_path_factory):
    """A server with the access key, the instance and the email addresses of the example in the API Reference."""
    server = Server(tmp_path_factory.mktemp("page") / "data")

    def fill(tx):
        access_keys.create(tx, KEY)
        make_instance(tx, INSTANCE_ID)
        for email_address_id in (PRIMARY, ALIAS):
            tx.add_email_address(an_email_address(email_address_id, INSTANCE_ID), {})

    server.start()
    direct_writes.write(server.data, fill)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def example_2(server_of_the_page):
    """The bytes of the server's response to Example 1.

    The Content-Length on the page is too small for its body, so the fixture computes it. The backslashes on the page
    are line ends.
    """
    timestamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{timestamp[:8]}/us-east-1/connect/aws4_request"
    headers = {
        "Host": "connect.us-east-1.amazonaws.com",
        "Content-Length": str(len(EXAMPLE_BODY)),
        "X-Amz-Target": "AmazonConnectService.AssociateEmailAddressAlias",
        "X-Amz-Date": timestamp,
        "Authorization": None,
        "Content-Type": JSON_1_1,
    }
    names = ("content-type", "host", "x-amz-date", "x-amz-target")
    sent = Request("POST", "/", "", tuple((name.lower(), value) for name, value in headers.items()), EXAMPLE_BODY)
    signature = canonical.signature(sent, secret=KEY.secret, timestamp=timestamp, scope=scope, signed_headers=names)
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY.id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    lines = ["POST / HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    address, _, port = server_of_the_page.run.http.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join(lines).encode() + EXAMPLE_BODY)
        octets = b""
        while not octets.endswith(b"\r\n\r\n{}"):
            received = connection.recv(65536)
            assert received, octets
            octets += received
    return octets


def with_the_date_and_id_of_the_page(octets):
    octets = re.sub(rb"(\nDate: )[^\r]+", rb"\1Wed, 05 Jul 2017 21:15:29 GMT", octets)
    return re.sub(rb"(\nx-amzn-RequestId: )[0-9a-f-]{36}", rb"\g<1>" + INSTANCE_ID.encode(), octets)


def test_the_response_to_example_1_is_example_2_byte_for_byte(example_2):
    assert with_the_date_and_id_of_the_page(example_2) == EXAMPLE_2


def test_example_1_creates_the_alias_link(server_of_the_page, example_2, new_client):
    connect = new_client(**server_of_the_page.client_arguments)
    found = connect.describe_email_address(InstanceId=INSTANCE_ID, EmailAddressId=PRIMARY)
    assert found["AliasConfigurations"] == [{"EmailAddressId": ALIAS}]


def test_the_response_has_the_current_date(example_2):
    (date,) = re.findall(rb"\r\nDate: ([^\r]+)", example_2)
    sent_at = datetime.strptime(date.decode(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - sent_at).total_seconds()) < 60
