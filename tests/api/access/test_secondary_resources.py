"""Tests of secondary resources, which are resources that a call names in addition to its main resource.

The policy must allow the operation on each of them, so that no key reaches a resource that it may not use. One test
compares the declarations of all operations with the model.
"""

import uuid
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from tests.kit.values import NOW, TENANT, TERMS
from waypost.api.operations.calls import Call
from waypost.api.operations.table import OPERATIONS
from waypost.api.wire import shapes

MODEL = shapes.load()
MISSING_ID = "00000000-0000-4000-8000-000000000000"

NO_RESOURCES = {
    "ClientToken": "the caller invents this name",
    "DirectoryId": "a directory is a resource of another service, which Waypost does not have",
}
"""Members whose names end like the name of an id, with the reason why no policy applies to them."""


def ids_in(shape, path=()):
    """Yield the paths of the input members that name a resource by id or ARN."""
    for name, member in shape["members"].items():
        inner = MODEL.shapes[member["shape"]]
        if inner["type"] == "structure":
            yield from ids_in(inner, (*path, name))
        elif name.lower().endswith(("id", "ids", "arn", "arns")) and name not in NO_RESOURCES:
            yield (*path, name)


def snake(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def members_with_ids(operation, paths):
    """Build members for a call in which each id is its own path, so that the test can recognise it."""
    members = SimpleNamespace(tags={}, tag_keys=[])
    for *outer, name in paths:
        at = members
        for each in map(snake, outer):
            at.__dict__.setdefault(each, SimpleNamespace())
            at = getattr(at, each)
        setattr(at, snake(name), ".".join((*outer, name)))
    return members


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_declares_every_resource_that_its_input_names(name):
    operation = MODEL.operations[name]
    paths = list(ids_in(operation.input.shape))
    members = members_with_ids(name, paths)
    if hasattr(members, "resource_arn"):  # an operation with an ARN has no other resource
        assert paths == [("resourceArn",)]
        return
    call = Call(name, TENANT, None, None, None, members, NOW, TERMS)
    declared = [resource for resource in OPERATIONS[name].resources_of(call) if resource]
    # The instance of an email address is no resource of its own, because it is part of the email address's ARN.
    known = {resource.instance_id for resource in declared} | {resource.id for resource in declared}
    assert known == {".".join(path) for path in paths}
    assert len({resource.id for resource in declared}) == len(declared)


@pytest.fixture
def intern(connect, new_instance, new_client, new_key):
    """A key that may use one email address, and is denied another email address in the same instance."""
    instance_id = new_instance()

    def made(name, **more):
        members = {"InstanceId": instance_id, "EmailAddress": f"{name}-{uuid.uuid4().hex}@corp.example", **more}
        return connect.create_email_address(**members)

    mine, ceo = made("intern"), made("ceo")
    statements = [
        {"Effect": "Allow", "Action": "connect:*", "Resource": mine["EmailAddressArn"]},
        {"Effect": "Deny", "Action": "connect:*", "Resource": ceo["EmailAddressArn"]},
    ]
    client = new_client(**new_key(*statements, name="intern"))
    return SimpleNamespace(client=client, instance_id=instance_id, mine=mine, ceo=ceo, made=made)


def pair(of, primary, alias):
    configuration = {"EmailAddressId": alias["EmailAddressId"]}
    return {
        "InstanceId": of.instance_id,
        "EmailAddressId": primary["EmailAddressId"],
        "AliasConfiguration": configuration,
    }


def denied(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    error = caught.value.response["Error"]
    assert error["Code"] == "AccessDeniedException", error
    return error["Message"]


def test_a_key_cannot_get_the_mail_of_an_address_that_it_is_denied_by_making_it_an_alias(connect, intern):
    message = denied(intern.client.associate_email_address_alias, **pair(intern, intern.mine, intern.ceo))
    assert intern.ceo["EmailAddressArn"] in message
    found = connect.describe_email_address(InstanceId=intern.instance_id, EmailAddressId=intern.mine["EmailAddressId"])
    assert found["AliasConfigurations"] == []


def test_a_key_that_is_denied_an_alias_cannot_remove_its_link(connect, intern):
    linked = pair(intern, intern.mine, intern.ceo)
    connect.associate_email_address_alias(**linked)
    assert intern.ceo["EmailAddressArn"] in denied(intern.client.disassociate_email_address_alias, **linked)
    found = connect.describe_email_address(InstanceId=intern.instance_id, EmailAddressId=intern.mine["EmailAddressId"])
    assert found["AliasConfigurations"] == [{"EmailAddressId": intern.ceo["EmailAddressId"]}]


@pytest.mark.parametrize("operation", ["associate_email_address_alias", "disassociate_email_address_alias"])
def test_the_primary_is_authorised_first_and_a_denial_does_not_reveal_whether_addresses_exist(
    connect, intern, operation
):
    """The message is the same for an existing address, a linked address and a missing address."""
    call = getattr(intern.client, operation)
    other, missing_address = intern.made("other"), {"EmailAddressId": MISSING_ID}
    assert intern.ceo["EmailAddressArn"] in denied(call, **pair(intern, intern.ceo, other))
    as_alias = denied(call, **pair(intern, intern.mine, other))
    missing = denied(call, **pair(intern, intern.mine, missing_address))
    assert missing == as_alias.replace(other["EmailAddressId"], MISSING_ID)
    connect.associate_email_address_alias(**pair(intern, intern.ceo, other))
    assert denied(call, **pair(intern, intern.mine, other)) == as_alias


def test_each_address_of_a_link_is_authorised_with_its_own_tags(connect, intern, new_client, new_key):
    blue, also_blue, red = (intern.made("x", Tags={"team": team}) for team in ("blue", "blue", "red"))
    condition = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    statement = {"Effect": "Allow", "Action": "connect:*Alias", "Resource": "*", "Condition": condition}
    client = new_client(**new_key(statement))
    assert red["EmailAddressArn"] in denied(client.associate_email_address_alias, **pair(intern, blue, red))
    assert red["EmailAddressArn"] in denied(client.associate_email_address_alias, **pair(intern, red, blue))
    client.associate_email_address_alias(**pair(intern, blue, also_blue))
    connect.tag_resource(resourceArn=also_blue["EmailAddressArn"], tags={"team": "red"})
    message = denied(client.disassociate_email_address_alias, **pair(intern, blue, also_blue))
    assert also_blue["EmailAddressArn"] in message


def test_a_key_that_is_denied_a_call_does_not_get_its_stored_response_with_the_client_token(connect, intern):
    linked = pair(intern, intern.mine, intern.ceo)
    connect.associate_email_address_alias(**linked, ClientToken="once")
    assert connect.associate_email_address_alias(**linked, ClientToken="once")
    denied(intern.client.associate_email_address_alias, **linked, ClientToken="once")
