"""Tests of access rules: policies, accounts, regions and client tokens, with boto3 against the real server."""

import contextlib
import json
import sqlite3
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from tests.api.operations.test_concurrency import at_once
from tests.kit.patience import wait_until
from tests.kit.stores import direct_writes
from tests.kit.values import make_instance
from waypost.api.operations import table
from waypost.api.wire.http import Request
from waypost.app import ports
from waypost.domain.directory.instances import Tenant
from waypost.domain.iam.access_keys import AccessKey
from waypost.testing import Server
from waypost.testing import server as waypost_server

ACCOUNT, OTHER_ACCOUNT = "000000000000", "111111111111"
MISSING_ID = "00000000-0000-4000-8000-000000000000"
INSTANCE = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}
DENIED = ("AccessDeniedException", 403)


@dataclass(frozen=True)
class Place:
    """An instance with two email addresses."""

    instance_id: str
    primary: str
    alias: str

    @property
    def instance_arn(self):
        return f"arn:aws:connect:us-east-1:{ACCOUNT}:instance/{self.instance_id}"

    def arn(self, email_address_id=None):
        return f"{self.instance_arn}/email-address/{email_address_id or self.primary}"

    @property
    def path(self):
        return {"InstanceId": self.instance_id, "EmailAddressId": self.primary}

    @property
    def pair(self):
        return {**self.path, "AliasConfiguration": {"EmailAddressId": self.alias}}


@pytest.fixture(scope="session")
def new_place(connect, new_instance):
    """Create a place with a linked primary and alias. The primary has tags, and the alias has none."""

    def new_address(instance_id, **members):
        members |= {"InstanceId": instance_id, "EmailAddress": new_spelling()}
        return connect.create_email_address(**members)["EmailAddressId"]

    def new_place():
        instance_id = new_instance()
        tags = {"team": "blue", "owner": "ann"}
        place = Place(instance_id, new_address(instance_id, Tags=tags), new_address(instance_id))
        connect.associate_email_address_alias(**place.pair)
        return place

    return new_place


@pytest.fixture
def place(new_place):
    return new_place()


@pytest.fixture(scope="session")
def shared_place(new_place):
    """A place that several tests share, and that no test changes."""
    return new_place()


@dataclass(frozen=True)
class Calling:
    """A successful call of an operation on a place, and the ARNs on which the policy must allow the operation."""

    members: object
    arn: object
    ready: object = lambda connect, place: None
    """A function that prepares the place so that the call succeeds."""
    others: object = lambda place: []
    """A function that returns the ARNs that are authorised after the first ARN."""

    def arns(self, place):
        return [self.arn(place), *self.others(place)]


def unlinked(connect, place):
    connect.disassociate_email_address_alias(**place.pair)


def its_alias(place):
    return [place.arn(place.alias)]


def new_spelling():
    return f"{uuid.uuid4().hex}@waypost.example"


CALLS = {
    "AssociateEmailAddressAlias": Calling(lambda p: p.pair, Place.arn, unlinked, its_alias),
    "CreateEmailAddress": Calling(
        lambda p: {"InstanceId": p.instance_id, "EmailAddress": new_spelling()}, lambda p: p.instance_arn
    ),
    "CreateInstance": Calling(lambda p: INSTANCE, lambda p: "*"),
    "DeleteEmailAddress": Calling(lambda p: p.path, Place.arn),
    "DeleteInstance": Calling(lambda p: {"InstanceId": p.instance_id}, lambda p: p.instance_arn),
    "DescribeEmailAddress": Calling(lambda p: p.path, Place.arn),
    "DescribeInstance": Calling(lambda p: {"InstanceId": p.instance_id}, lambda p: p.instance_arn),
    "DisassociateEmailAddressAlias": Calling(lambda p: p.pair, Place.arn, others=its_alias),
    "ListInstances": Calling(lambda p: {}, lambda p: "*"),
    "ListTagsForResource": Calling(lambda p: {"resourceArn": p.arn()}, Place.arn),
    "SearchEmailAddresses": Calling(lambda p: {"InstanceId": p.instance_id}, lambda p: p.instance_arn),
    "TagResource": Calling(lambda p: {"resourceArn": p.arn(), "tags": {"a": "b"}}, Place.arn),
    "UntagResource": Calling(lambda p: {"resourceArn": p.arn(), "tagKeys": ["team"]}, Place.arn),
    "UpdateEmailAddressMetadata": Calling(lambda p: {**p.path, "DisplayName": "Help"}, Place.arn),
}

on_something = pytest.mark.parametrize("operation", [name for name in CALLS if not name.endswith("Instances")])
every_operation = pytest.mark.parametrize("operation", CALLS)


def call(client, operation, **members):
    """Call an operation by its name in the model."""
    (method,) = (name for name, each in client.meta.method_to_api_mapping.items() if each == operation)
    return getattr(client, method)(**members)


def denial(client, operation, **members):
    """Make a call, check that it is denied, and return the error message."""
    with pytest.raises(client.exceptions.AccessDeniedException) as caught:
        call(client, operation, **members)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == DENIED
    return response["Error"]["Message"]


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": f"connect:{action}", "Resource": resource, **more}


EVERYTHING = allow("*")


def deny(action, resource="*", **more):
    return {**allow(action, resource, **more), "Effect": "Deny"}


@pytest.fixture(scope="session")
def client_with(new_client, new_key):
    """Build a client whose access key has a policy with these statements."""
    return lambda *statements, **options: new_client(**new_key(*statements, **options))


@pytest.fixture(scope="session")
def powerless_client(client_with):
    """A client whose policy allows no operation of the API."""
    return client_with(allow("Nothing"), name="ann")


def everything_of(connect, place):
    """Return everything that the API shows of a place."""
    found = [
        connect.describe_instance(InstanceId=place.instance_id),
        *(
            connect.describe_email_address(InstanceId=place.instance_id, EmailAddressId=each)
            for each in (place.primary, place.alias)
        ),
        connect.search_email_addresses(InstanceId=place.instance_id),
        connect.list_tags_for_resource(resourceArn=place.arn()),
    ]
    for each in found:
        del each["ResponseMetadata"]
    return found


def test_every_operation_is_tested():
    assert CALLS.keys() == table.OPERATIONS.keys()


@every_operation
def test_a_policy_that_allows_one_operation_on_its_resources_allows_nothing_else(
    connect, client_with, place, operation
):
    calling = CALLS[operation]
    calling.ready(connect, place)
    client = client_with(allow(operation, calling.arns(place)))
    for other in CALLS.keys() - {operation}:
        assert f"connect:{other}" in denial(client, other, **CALLS[other].members(place))
    assert call(client, operation, **calling.members(place))["ResponseMetadata"]["HTTPStatusCode"] == 200


@every_operation
def test_a_policy_that_allows_an_operation_on_other_resources_does_not_allow_the_call(
    connect, client_with, shared_place, operation
):
    others = [
        f"{shared_place.instance_arn}x",
        f"{shared_place.instance_arn}/contact/*",
        shared_place.arn(shared_place.alias),
        shared_place.arn(MISSING_ID),
    ]
    if CALLS[operation].arn(shared_place) == shared_place.arn():
        others += [
            shared_place.instance_arn,
            shared_place.arn()[:-1],
            shared_place.arn().replace("instance", "INSTANCE"),
        ]
    client = client_with(allow(operation, others))
    assert denial(client, operation, **CALLS[operation].members(shared_place)).endswith(
        f"{operation} on resource: {CALLS[operation].arn(shared_place)} "
        f"because no identity-based policy allows the connect:{operation} action"
    )


@every_operation
def test_a_deny_statement_overrides_an_allow_statement(client_with, shared_place, operation):
    for arn in CALLS[operation].arns(shared_place):
        client = client_with(EVERYTHING, deny(operation, arn), name="ann")
        assert denial(client, operation, **CALLS[operation].members(shared_place)) == (
            f"User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to perform: connect:{operation} "
            f"on resource: {arn} with an explicit deny in an identity-based policy"
        )


def test_the_error_message_names_the_root_user(client_with):
    message = denial(client_with(allow("Nothing"), name="root"), "ListInstances")
    assert message.startswith(f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: connect:ListInstances")


@pytest.mark.parametrize("operation", ["TagResource", "UntagResource", "ListTagsForResource"])
def test_operations_on_tags_of_an_instance_are_allowed_on_the_instance(connect, client_with, place, operation):
    client = client_with(allow(operation, place.instance_arn))
    members = {**CALLS[operation].members(place), "resourceArn": place.instance_arn}
    assert call(client, operation, **members)
    assert place.arn() in denial(client, operation, **CALLS[operation].members(place))


def test_a_denied_call_changes_nothing(connect, powerless_client, shared_place):
    before = everything_of(connect, shared_place)
    for operation, calling in CALLS.items():
        denial(powerless_client, operation, **calling.members(shared_place))
    assert everything_of(connect, shared_place) == before


@on_something
def test_a_denial_does_not_reveal_whether_a_resource_exists(powerless_client, shared_place, operation):
    missing = Place(MISSING_ID, MISSING_ID, MISSING_ID)
    message = denial(powerless_client, operation, **CALLS[operation].members(shared_place))
    assert denial(powerless_client, operation, **CALLS[operation].members(missing)) == message.replace(
        shared_place.arn(), missing.arn()
    ).replace(shared_place.instance_arn, missing.instance_arn)


def test_a_denial_does_not_reveal_that_an_address_exists(connect, powerless_client, shared_place):
    taken = connect.describe_email_address(**shared_place.path)["EmailAddress"]
    denial(powerless_client, "CreateEmailAddress", InstanceId=shared_place.instance_id, EmailAddress=taken)


def test_a_denial_does_not_reveal_that_a_client_token_was_used(connect, powerless_client, place):
    members = {"InstanceId": place.instance_id, "EmailAddress": new_spelling(), "ClientToken": "once"}
    connect.create_email_address(**members)
    denial(powerless_client, "CreateEmailAddress", **members)


def where(operator, key, value, action="DescribeEmailAddress", *, effect="Allow"):
    return {**allow(action, Condition={operator: {key: value}}), "Effect": effect}


# Each row has an operator, a value with which the policy allows the call, and a value with which it does not.
CONDITIONS = {
    "connect:InstanceId": ("StringEquals", "{instance_id}", MISSING_ID),
    "aws:ResourceTag/team": ("StringEquals", "blue", "red"),
    "aws:ResourceTag/TEAM": ("StringEquals", ["green", "blue"], "Blue"),
    "aws:ResourceTag/none": ("Null", "true", "false"),
    "aws:ResourceTag/owner": ("StringEquals", "${aws:username}", "${aws:userid}"),
    "aws:SourceIp": ("IpAddress", ["192.0.2.0/24", "127.0.0.0/8"], "192.0.2.0/24"),
    "aws:SecureTransport": ("Bool", "false", "true"),
    "aws:CurrentTime": ("DateGreaterThan", "2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"),
    "aws:EpochTime": ("NumericGreaterThan", "1767225600", "4922899200"),
    "aws:RequestedRegion": ("StringEquals", "us-east-1", "eu-west-1"),
    "aws:username": ("StringLike", "a*", "b*"),
    "aws:PrincipalAccount": ("StringEquals", ACCOUNT, OTHER_ACCOUNT),
    "aws:PrincipalArn": ("ArnEquals", f"arn:aws:iam::{ACCOUNT}:user/ann", f"arn:aws:iam::{ACCOUNT}:user/bob"),
    "aws:PrincipalType": ("StringEquals", "User", "Account"),
    "aws:UserAgent": ("StringLike", "*Boto3/*", "curl/*"),
    "AWS:SOURCEIP": ("NotIpAddress", "192.0.2.0/24", "127.0.0.0/8"),
}


@pytest.mark.parametrize("key", CONDITIONS)
def test_an_allow_applies_only_if_the_call_satisfies_its_condition(client_with, shared_place, key):
    operator, right, wrong = CONDITIONS[key]
    right = right.format(instance_id=shared_place.instance_id) if right == "{instance_id}" else right
    assert client_with(where(operator, key, right), name="ann").describe_email_address(**shared_place.path)
    denial(client_with(where(operator, key, wrong), name="ann"), "DescribeEmailAddress", **shared_place.path)


def test_a_resource_that_does_not_exist_has_no_tags(client_with, shared_place):
    missing = {"InstanceId": shared_place.instance_id, "EmailAddressId": MISSING_ID}
    client = client_with(where("StringEquals", "aws:ResourceTag/team", "blue"))
    denial(client, "DescribeEmailAddress", **missing)
    client = client_with(where("Null", "aws:ResourceTag/team", "true"))
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_email_address(**missing)


def test_a_deny_applies_only_if_the_call_satisfies_its_condition(client_with, shared_place):
    for owner, denied in (("bob", False), ("ann", True)):
        client = client_with(EVERYTHING, where("StringEquals", "aws:ResourceTag/owner", owner, "*", effect="Deny"))
        if denied:
            message = denial(client, "DescribeEmailAddress", **shared_place.path)
            assert message.endswith("with an explicit deny in an identity-based policy")
        else:
            assert client.describe_email_address(**shared_place.path)


@pytest.fixture(scope="session")
def send_as(exchange, signed):
    """Send a request unchanged, signed with the access key in a client's arguments."""

    def send_as(arguments, request):
        key = AccessKey(arguments["aws_access_key_id"], arguments["aws_secret_access_key"], ACCOUNT)
        return exchange(signed(request, key))

    return send_as


def test_the_source_address_is_the_connection_s_and_not_that_of_a_proxy_header(send_as, new_key):
    limited = new_key(
        where("IpAddress", "aws:SourceIp", "192.0.2.1/32", "ListInstances"),
        where("Bool", "aws:SecureTransport", "true", "ListInstances"),
    )
    proxies = [(name, "192.0.2.1") for name in ("x-forwarded-for", "x-real-ip", "true-client-ip")]
    proxies += [("x-forwarded-proto", "https"), ("forwarded", "for=192.0.2.1;proto=https")]
    assert send_as(limited, Request("GET", "/instance", "", tuple(proxies), b"")).status == 403


def test_a_policy_can_restrict_the_tags_of_a_new_email_address(client_with, place):
    client = client_with(
        where("StringEquals", "aws:RequestTag/team", "blue", "CreateEmailAddress"),
        where("ForAnyValue:StringNotEquals", "aws:TagKeys", ["team", "cost"], "CreateEmailAddress", effect="Deny"),
    )

    def create(**tags):
        return {"InstanceId": place.instance_id, "EmailAddress": new_spelling(), "Tags": tags}

    assert client.create_email_address(**create(team="blue", cost="1"))
    denial(client, "CreateEmailAddress", **create(team="red"))
    denial(client, "CreateEmailAddress", **create(cost="1"))
    denial(client, "CreateEmailAddress", InstanceId=place.instance_id, EmailAddress=new_spelling())
    assert "explicit deny" in denial(client, "CreateEmailAddress", **create(team="blue", other=""))


def test_a_policy_can_restrict_the_tags_of_a_new_instance(client_with):
    client = client_with(where("StringEquals", "aws:RequestTag/team", "blue", "CreateInstance"))
    assert client.create_instance(**INSTANCE, Tags={"team": "blue"})
    denial(client, "CreateInstance", **INSTANCE)


def test_a_policy_can_restrict_the_keys_of_tags_that_are_added_and_removed(client_with, place):
    client = client_with(where("ForAllValues:StringEquals", "aws:TagKeys", ["cost", "team"], "*Resource"))
    client.tag_resource(resourceArn=place.arn(), tags={"cost": "1"})
    client.untag_resource(resourceArn=place.arn(), tagKeys=["cost", "team"])
    denial(client, "TagResource", resourceArn=place.arn(), tags={"cost": "1", "owner": "bob"})
    denial(client, "UntagResource", resourceArn=place.arn(), tagKeys=["cost", "owner"])


def tagged(**condition):
    return {"SearchFilter": {"TagFilter": condition}}


def either(*several):
    return tagged(OrConditions=list(several))


BLUE, RED, ANN = (
    [{"TagKey": key, "TagValue": value}] for key, value in [("team", "blue"), ("team", "red"), ("owner", "ann")]
)

SEARCHES = {
    "the tag": (tagged(TagCondition={"TagKey": "team", "TagValue": "blue"}), True),
    "the tag and another tag": (
        tagged(AndConditions=[*BLUE, *ANN]),
        True,
    ),
    "another value": (tagged(TagCondition={"TagKey": "team", "TagValue": "red"}), False),
    "one of two values": (either(BLUE, RED), False),
    "one of two values, in the other order": (either(RED, BLUE), False),
    "two values together": (tagged(AndConditions=[*RED, *BLUE]), False),
    "any value": (tagged(TagCondition={"TagKey": "team"}), False),
    "another tag": (tagged(TagCondition={"TagKey": "owner", "TagValue": "blue"}), False),
    "no tag": ({}, False),
    "an empty filter": (tagged(), False),
}


@pytest.mark.parametrize(("members", "is_allowed"), SEARCHES.values(), ids=SEARCHES)
def test_a_policy_can_restrict_searches_to_a_tag(client_with, shared_place, members, is_allowed):
    client = client_with(where("StringEquals", "connect:SearchTag/team", "blue", "SearchEmailAddresses"))
    if is_allowed:
        found = client.search_email_addresses(InstanceId=shared_place.instance_id, **members)
        assert [each["EmailAddressId"] for each in found["EmailAddresses"]] == [shared_place.primary]
    else:
        denial(client, "SearchEmailAddresses", InstanceId=shared_place.instance_id, **members)


@pytest.mark.parametrize("members", [either(BLUE, ANN), either(BLUE, [])], ids=["another tag", "nothing"])
def test_a_search_that_is_restricted_to_a_tag_cannot_have_an_alternative_without_it(client_with, shared_place, members):
    client = client_with(where("StringEquals", "connect:SearchTag/team", "blue", "SearchEmailAddresses"))
    denial(client, "SearchEmailAddresses", InstanceId=shared_place.instance_id, **members)


SPELLINGS = {
    "the instance": lambda p: {"InstanceId": p.instance_arn},
    "the address": lambda p: {"EmailAddressId": p.arn()},
    "both": lambda p: {"InstanceId": p.instance_arn, "EmailAddressId": p.arn()},
}
SPELT = [
    *(("DescribeEmailAddress", spell) for spell in SPELLINGS),
    *((name, "both") for name in CALLS if CALLS[name].arn is Place.arn and not name.endswith("Resource")),
]


@pytest.mark.parametrize(("operation", "spell"), SPELT)
def test_a_policy_applies_in_the_same_way_to_an_arn_and_an_id(connect, client_with, place, operation, spell):
    members = {**CALLS[operation].members(place), **SPELLINGS[spell](place)}
    denied = client_with(EVERYTHING, deny(operation, place.arn()))
    assert f"on resource: {place.arn()} with" in denial(denied, operation, **members)
    CALLS[operation].ready(connect, place)
    assert call(client_with(allow(operation, CALLS[operation].arns(place))), operation, **members)


@pytest.mark.parametrize("operation", ["CreateEmailAddress", "SearchEmailAddresses"])
def test_a_policy_applies_in_the_same_way_to_an_arn_and_an_id_of_an_instance(client_with, place, operation):
    members = {**CALLS[operation].members(place), "InstanceId": place.instance_arn}
    denied = client_with(EVERYTHING, deny(operation, place.instance_arn))
    assert f"on resource: {place.instance_arn} with" in denial(denied, operation, **members)
    assert call(client_with(allow(operation, place.instance_arn)), operation, **members)


def percent_encoded(text):
    return "".join(f"%{ord(character):02x}" for character in text)


RAW = {
    "escapes": lambda p: f"/email-addresses/{percent_encoded(p.instance_id)}/{percent_encoded(p.primary)}",
    "an ARN in escapes": lambda p: f"/email-addresses/{p.instance_id}/{percent_encoded(p.arn())}",
    "an ARN as it is": lambda p: f"/email-addresses/{p.instance_id}/{p.arn().replace('/', '%2F')}",
    "upper case": lambda p: f"/email-addresses/{p.instance_id.upper()}/{p.primary.upper()}",
    "an ARN in upper case": lambda p: f"/email-addresses/{p.instance_id}/{percent_encoded(p.arn().upper())}",
    "white space": lambda p: f"/email-addresses/{p.instance_id}/{p.primary}%20",
    "an empty segment": lambda p: f"/email-addresses//{p.instance_id}/{p.primary}",
    "a dot segment": lambda p: f"/email-addresses/./{p.instance_id}/{p.primary}",
    "a dot-dot segment": lambda p: f"/email-addresses/{p.instance_id}/x/../{p.primary}",
    "a wildcard": lambda p: f"/email-addresses/{p.instance_id}/*",
    "a NUL": lambda p: f"/email-addresses/{p.instance_id}/{p.primary}%00",
    "a slash": lambda p: f"/email-addresses/{p.instance_id}%2Femail-address%2F{p.primary}/x",
}


@pytest.mark.parametrize("path", RAW.values(), ids=RAW)
def test_a_deny_cannot_be_evaded_by_another_spelling_of_an_id(send_as, new_key, shared_place, path):
    denied = new_key(EVERYTHING, deny("DescribeEmailAddress", shared_place.arn()))
    reply = send_as(denied, Request("GET", path(shared_place), "", (), b""))
    assert reply.headers["x-amzn-errortype"] in {
        "AccessDeniedException",
        "ResourceNotFoundException",
        "UnknownOperationException",
        "InvalidParameterException",
    }
    assert shared_place.alias.encode() not in reply.body


def test_a_policy_applies_in_the_same_way_to_json_1_1(send_as, new_key, place):
    limited = new_key(allow("DescribeEmailAddress", place.arn()), name="ann")

    def send(operation, **members):
        headers = (
            ("x-amz-target", f"AmazonConnectService.{operation}"),
            ("content-type", "application/x-amz-json-1.1"),
        )
        return send_as(limited, Request("POST", "/", "", headers, json.dumps(members).encode()))

    assert send("DescribeEmailAddress", **place.path).status == 200
    reply = send("DeleteEmailAddress", **place.path)
    assert (reply.status, json.loads(reply.body)["__type"]) == (403, "AccessDeniedException")


BAD_BODIES = [b"", b"{", b"[]", b'{"EmailAddress":1}', b"\xff", b"[" * 5000]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_the_body_of_an_unauthenticated_request_is_not_parsed(exchange, signed, server, body):
    request = signed(Request("PUT", "/email-addresses/i", "", (), body), server.profile.key)
    assert exchange(request).status in {400, 404}
    forged = replace(request, headers=tuple((name, value.replace("us-e", "eu-e")) for name, value in request.headers))
    reply = exchange(forged)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")


def test_an_unauthenticated_client_cannot_find_out_which_operations_exist(exchange, signed, server):
    for path in ("/instance", "/nothing", "/"):
        assert exchange(Request("GET", path, "", (("host", "x"),), b"")).headers["x-amzn-errortype"] == (
            "MissingAuthenticationTokenException"
        )


@pytest.fixture(scope="session")
def other_clients(new_client, new_key):
    """Two clients with all permissions: one in another account, and one in another region."""
    return {
        "another account": new_client(**new_key(account=OTHER_ACCOUNT)),
        "another region": new_client(region_name="eu-west-1"),
    }


def test_a_call_in_an_invented_region_is_refused(new_client):
    for region in ("xx-aaa-1", "us-test-1", "nz-new-1"):
        with pytest.raises(ClientError, match=r"InvalidSignatureException.*scoped to a valid region"):
            new_client(region_name=region).create_instance(**INSTANCE)


def test_an_older_instance_in_an_invented_region_can_still_be_used(new_client):
    with waypost_server() as running:
        account = running.profile.key.account
        direct_writes.write(running.data, lambda tx: make_instance(tx, "old", Tenant(account, "eu-test-1")))
        running.stop()
        running.start()
        client = new_client(**{**running.client_arguments, "region_name": "eu-test-1"})
        assert client.describe_instance(InstanceId="old")["Instance"]["Arn"].startswith("arn:aws:connect:eu-test-1:")


from_another_tenant = pytest.mark.parametrize("other_tenant", ["another account", "another region"])


@from_another_tenant
def test_no_resource_is_visible_from_another_account_or_region(other_clients, other_tenant, connect, shared_place):
    before, client = everything_of(connect, shared_place), other_clients[other_tenant]
    for operation in CALLS.keys() - {"CreateInstance", "ListInstances"}:
        with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
            call(client, operation, **CALLS[operation].members(shared_place))
        assert "was not found in account" in caught.value.response["Error"]["Message"]
    pages = client.get_paginator("list_instances").paginate()
    assert shared_place.instance_id not in {each["Id"] for page in pages for each in page["InstanceSummaryList"]}
    assert everything_of(connect, shared_place) == before


@from_another_tenant
def test_existing_and_missing_resources_look_the_same_from_another_account_or_region(
    other_clients, other_tenant, connect, shared_place
):
    missing = Place(*(str(uuid.uuid4()) for _ in range(3)))
    for operation in CALLS.keys() - {"CreateInstance", "ListInstances"}:
        messages = []
        for each in (shared_place, missing):
            with pytest.raises(ClientError) as caught:
                call(other_clients[other_tenant], operation, **CALLS[operation].members(each))
            text = caught.value.response["Error"]["Message"]
            messages.append(text.replace(each.instance_id, "I").replace(each.primary, "P").replace(each.alias, "A"))
        assert messages[0] == messages[1]


@from_another_tenant
@pytest.mark.parametrize("form", ["ids", "own ARN"])
def test_an_arn_with_the_caller_s_own_account_and_region_does_not_reach_other_resources(
    other_clients, other_tenant, shared_place, form, connect
):
    client = other_clients[other_tenant]
    own = {"another account": ("us-east-1", OTHER_ACCOUNT), "another region": ("eu-west-1", ACCOUNT)}[other_tenant]
    arn = shared_place.arn().replace(f"us-east-1:{ACCOUNT}", ":".join(own))
    attempts = {
        "ids": [(client.describe_email_address, shared_place.path)],
        "own ARN": [
            (client.list_tags_for_resource, {"resourceArn": arn}),
            (client.tag_resource, {"resourceArn": arn, "tags": {"a": "b"}}),
            (client.untag_resource, {"resourceArn": arn, "tagKeys": ["team"]}),
            (client.describe_email_address, {**shared_place.path, "EmailAddressId": arn}),
            (client.describe_email_address, {"InstanceId": arn.partition("/email-")[0], "EmailAddressId": arn}),
            (client.delete_email_address, {**shared_place.path, "EmailAddressId": arn}),
        ],
    }[form]
    for attempt, members in attempts:
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            attempt(**members)
    assert connect.list_tags_for_resource(resourceArn=shared_place.arn())["tags"] == {"team": "blue", "owner": "ann"}


ELSEWHERE = {
    "another account": (ACCOUNT, OTHER_ACCOUNT),
    "another region": ("us-east-1", "eu-west-1"),
    "no account": (ACCOUNT, ""),
}


@pytest.mark.parametrize(("old", "new"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_arn_of_another_account_or_region_does_not_match_a_resource_with_the_same_id(
    connect, shared_place, old, new
):
    arn = shared_place.arn().replace(f":{old}:", f":{new}:")
    instance_arn = arn.partition("/email-address")[0]
    for attempt, members in (
        (connect.list_tags_for_resource, {"resourceArn": arn}),
        (connect.list_tags_for_resource, {"resourceArn": instance_arn}),
        (connect.describe_email_address, {**shared_place.path, "EmailAddressId": arn}),
        (connect.describe_email_address, {**shared_place.path, "InstanceId": instance_arn}),
    ):
        with pytest.raises(connect.exceptions.ResourceNotFoundException):
            attempt(**members)


def test_an_arn_with_another_instance_does_not_match_an_email_address_of_this_instance(
    connect, shared_place, instance_id
):
    arn = shared_place.arn().replace(shared_place.instance_id, instance_id)
    with pytest.raises(connect.exceptions.ResourceNotFoundException):
        connect.describe_email_address(**{**shared_place.path, "EmailAddressId": arn})


@from_another_tenant
def test_an_alias_link_cannot_cross_accounts_or_regions(other_clients, other_tenant, shared_place):
    client = other_clients[other_tenant]
    instance_id = client.create_instance(**INSTANCE)["Id"]
    own = client.create_email_address(InstanceId=instance_id, EmailAddress=new_spelling())["EmailAddressId"]
    for primary, alias in (
        (own, shared_place.alias),
        (shared_place.primary, own),
        (own, shared_place.arn(shared_place.alias)),
    ):
        link = {"EmailAddressId": primary, "AliasConfiguration": {"EmailAddressId": alias}}
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.associate_email_address_alias(InstanceId=instance_id, **link)


@dataclass(frozen=True)
class Tokened:
    """An operation that accepts a client token: a valid call, a different call, and the functions around them."""

    ready: object
    members: object
    other: object
    mismatch: str
    undo: object


def redo_link(connect, place, _):
    connect.associate_email_address_alias(**place.pair)


def other_alias(place):
    return {**place.pair, "AliasConfiguration": {"EmailAddressId": MISSING_ID}}


TOKENED = {
    "AssociateEmailAddressAlias": Tokened(
        unlinked, lambda p: p.pair, other_alias, "IdempotencyException", lambda c, p, _: unlinked(c, p)
    ),
    "DisassociateEmailAddressAlias": Tokened(
        lambda c, p: None, lambda p: p.pair, other_alias, "ResourceConflictException", redo_link
    ),
    "CreateEmailAddress": Tokened(
        lambda c, p: None,
        lambda p: {"InstanceId": p.instance_id, "EmailAddress": f"{p.primary}@new.example"},
        lambda p: {"InstanceId": p.instance_id, "EmailAddress": f"{p.primary}@newer.example"},
        "IdempotencyException",
        lambda c, p, made: c.delete_email_address(InstanceId=p.instance_id, EmailAddressId=made["EmailAddressId"]),
    ),
    "UpdateEmailAddressMetadata": Tokened(
        lambda c, p: None,
        lambda p: {**p.path, "DisplayName": "Help"},
        lambda p: {**p.path, "DisplayName": "Support"},
        "IdempotencyException",
        lambda c, p, _: c.update_email_address_metadata(**p.path, DisplayName="before"),
    ),
    "CreateInstance": Tokened(
        lambda c, p: None,
        lambda p: INSTANCE,
        lambda p: {**INSTANCE, "InboundCallsEnabled": False},
        "InvalidRequestException",
        lambda c, p, made: c.delete_instance(InstanceId=made["Id"]),
    ),
}

tokened = pytest.mark.parametrize("operation", TOKENED)


@pytest.fixture
def token():
    return uuid.uuid4().hex


def answer(client, operation, **members):
    """Call an operation; return its output without the response metadata."""
    found = call(client, operation, **members)
    del found["ResponseMetadata"]
    return found


def seen(connect, place):
    """Return everything that the API shows of a place, and the number of instances."""
    pages = connect.get_paginator("list_instances").paginate()
    return everything_of(connect, place), sum(len(page["InstanceSummaryList"]) for page in pages)


@tokened
def test_a_repeated_call_has_the_same_response_and_takes_effect_once(connect, place, token, operation):
    case = TOKENED[operation]
    case.ready(connect, place)
    before = seen(connect, place)
    first = answer(connect, operation, **case.members(place), ClientToken=token)
    after = seen(connect, place)
    assert after != before
    for _ in range(2):
        assert answer(connect, operation, **case.members(place), ClientToken=token) == first
    assert seen(connect, place) == after


@tokened
def test_a_call_that_is_repeated_after_it_was_undone_has_no_effect(connect, place, token, operation):
    case = TOKENED[operation]
    case.ready(connect, place)
    first = answer(connect, operation, **case.members(place), ClientToken=token)
    case.undo(connect, place, first)
    undone = seen(connect, place)
    assert answer(connect, operation, **case.members(place), ClientToken=token) == first
    assert seen(connect, place) == undone


@tokened
def test_a_client_token_with_a_different_call_is_refused(connect, place, token, operation):
    case = TOKENED[operation]
    case.ready(connect, place)
    call(connect, operation, **case.members(place), ClientToken=token)
    after = seen(connect, place)
    with pytest.raises(ClientError) as caught:
        call(connect, operation, **case.other(place), ClientToken=token)
    assert caught.value.response["Error"]["Code"] == case.mismatch
    assert "ClientToken" in caught.value.response["Error"]["Message"]
    assert seen(connect, place) == after


@tokened
def test_concurrent_calls_with_the_same_client_token_take_effect_once(connect, new_client, place, token, operation):
    case = TOKENED[operation]
    case.ready(connect, place)
    clients = [new_client() for _ in range(4)]
    answers = at_once([lambda c=c: answer(c, operation, **case.members(place), ClientToken=token) for c in clients])
    assert not [each for each in answers if isinstance(each, ClientError)]
    assert all(each == answers[0] for each in answers)


def test_concurrent_deletions_of_an_instance_with_the_same_client_token_take_effect_once(
    new_client, instance_id, connect
):
    clients = [new_client() for _ in range(4)]
    members = {"InstanceId": instance_id, "ClientToken": "once"}
    answers = at_once([lambda c=c: c.delete_instance(**members) for c in clients])
    assert not [each for each in answers if isinstance(each, ClientError)]
    assert connect.delete_instance(**members)
    with pytest.raises(connect.exceptions.ResourceNotFoundException):
        connect.delete_instance(InstanceId=instance_id, ClientToken="another")


@tokened
def test_the_client_token_of_a_failed_call_is_not_stored(connect, place, token, operation):
    case = TOKENED[operation]
    case.ready(connect, place)
    invalid = {"InstanceAlias": "-"} if operation == "CreateInstance" else {"InstanceId": MISSING_ID}
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            call(connect, operation, **{**case.members(place), **invalid}, ClientToken=token)
        assert "ClientToken" not in caught.value.response["Error"]["Message"]
    if operation in {"AssociateEmailAddressAlias", "DisassociateEmailAddressAlias"}:
        with pytest.raises(connect.exceptions.ResourceNotFoundException):
            call(connect, operation, **other_alias(place), ClientToken=token)
    assert call(connect, operation, **case.members(place), ClientToken=token)


def test_client_tokens_are_compared_exactly(connect, place):
    made = [
        connect.create_email_address(InstanceId=place.instance_id, EmailAddress=new_spelling(), ClientToken=token)
        for token in ("t" * 500, "t" * 499, "T" * 500, "t", " t")
    ]
    assert len({each["EmailAddressId"] for each in made}) == 5


def test_an_empty_client_token_counts_as_missing(connect, place):
    made = [
        connect.create_email_address(InstanceId=place.instance_id, EmailAddress=new_spelling(), ClientToken="")
        for _ in range(2)
    ]
    assert made[0]["EmailAddressId"] != made[1]["EmailAddressId"]


def test_a_client_token_belongs_to_one_operation_in_one_instance(connect, new_instance, place, token):
    unlinked(connect, place)
    elsewhere = new_instance(ClientToken=token)
    for instance_id in (place.instance_id, elsewhere):
        connect.create_email_address(InstanceId=instance_id, EmailAddress=new_spelling(), ClientToken=token)
    connect.update_email_address_metadata(**place.path, DisplayName="Help", ClientToken=token)
    connect.associate_email_address_alias(**place.pair, ClientToken=token)
    connect.disassociate_email_address_alias(**place.pair, ClientToken=token)
    connect.delete_instance(InstanceId=elsewhere, ClientToken=token)
    connect.delete_instance(InstanceId=place.instance_id, ClientToken=token)


def test_a_client_token_belongs_to_one_account_in_one_region(connect, other_clients, token):
    clients = [connect, *other_clients.values()]
    made = [client.create_instance(**INSTANCE, ClientToken=token)["Id"] for client in clients]
    assert len(set(made)) == 3
    assert [client.create_instance(**INSTANCE, ClientToken=token)["Id"] for client in clients] == made


def test_all_users_of_an_account_share_its_client_tokens(connect, client_with, token):
    another = client_with(name="ann")
    assert (
        another.create_instance(**INSTANCE, ClientToken=token)["Id"]
        == (connect.create_instance(**INSTANCE, ClientToken=token)["Id"])
    )


def test_a_call_with_arns_is_the_same_call_as_one_with_ids(connect, place, token):
    unlinked(connect, place)
    connect.associate_email_address_alias(**place.pair, ClientToken=token)
    alias = {"AliasConfiguration": {"EmailAddressId": place.arn(place.alias)}}
    connect.associate_email_address_alias(
        InstanceId=place.instance_arn, EmailAddressId=place.arn(), **alias, ClientToken=token
    )


def test_expired_client_tokens_are_deleted_when_the_server_starts(tmp_path, administer):
    server = Server(tmp_path / "data", "--token-retention", "1s")
    times = {"old": datetime.now(UTC) - timedelta(seconds=2), "new": datetime.now(UTC) + timedelta(hours=1)}
    for token, made_at in times.items():
        key = ports.CallKey(Tenant(ACCOUNT, "us-east-1"), "CreateInstance", "", token)
        call = ports.RememberedCall(b"fingerprint", "answer", made_at)
        administer(lambda tx, key=key, call=call: tx.remember_call(key, call), data=server.data)
    server.start()
    with contextlib.closing(sqlite3.connect(server.data / "waypost.sqlite3", isolation_level=None)) as database:
        kept = "SELECT token FROM remembered_calls"
        wait_until(lambda: database.execute(kept).fetchall() == [("new",)])
    server.stop()
