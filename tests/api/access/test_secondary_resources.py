"""Resources that a call names besides its first: a policy is asked about each, so no key reaches one that it may not.

That every operation with such a resource declares it is compared with the model.
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
NOBODY = "00000000-0000-4000-8000-000000000000"

NO_RESOURCES = {
    "ClientToken": "it is a name that the caller makes up",
    "DirectoryId": "a directory is a resource of another service, of which nothing is here",
}
"""Members whose names end like that of an id, and why a policy is not asked about what they name."""


def ids_in(shape, path=()):
    """The paths of members of an input that name a resource, by its id or its ARN."""
    for name, member in shape["members"].items():
        inner = MODEL.shapes[member["shape"]]
        if inner["type"] == "structure":
            yield from ids_in(inner, (*path, name))
        elif name.lower().endswith(("id", "ids", "arn", "arns")) and name not in NO_RESOURCES:
            yield (*path, name)


def snake(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def members_with_ids(operation, paths):
    """Members of a call in which each id is the path where it is, so that it is known again."""
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
    if hasattr(members, "resource_arn"):  # one that names its resource by an ARN names no other
        assert paths == [("resourceArn",)]
        return
    call = Call(name, TENANT, None, None, None, members, NOW, TERMS)
    asked = [resource for resource in OPERATIONS[name].resources_of(call) if resource]
    # An instance that is named only as the place of an email address is part of that one's ARN.
    known = {resource.instance_id for resource in asked} | {resource.id for resource in asked}
    assert known == {".".join(path) for path in paths}
    assert len({resource.id for resource in asked}) == len(asked)


@pytest.fixture
def intern(connect, new_instance, new_client, new_key):
    """A key for one email address, which is denied another one in the same instance."""
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


def test_a_key_that_is_denied_an_address_cannot_make_it_an_alias_of_its_own_and_so_have_its_mail(connect, intern):
    told = denied(intern.client.associate_email_address_alias, **pair(intern, intern.mine, intern.ceo))
    assert intern.ceo["EmailAddressArn"] in told
    found = connect.describe_email_address(InstanceId=intern.instance_id, EmailAddressId=intern.mine["EmailAddressId"])
    assert found["AliasConfigurations"] == []


def test_a_key_that_is_denied_an_alias_cannot_end_its_link(connect, intern):
    linked = pair(intern, intern.mine, intern.ceo)
    connect.associate_email_address_alias(**linked)
    assert intern.ceo["EmailAddressArn"] in denied(intern.client.disassociate_email_address_alias, **linked)
    found = connect.describe_email_address(InstanceId=intern.instance_id, EmailAddressId=intern.mine["EmailAddressId"])
    assert found["AliasConfigurations"] == [{"EmailAddressId": intern.ceo["EmailAddressId"]}]


@pytest.mark.parametrize("operation", ["associate_email_address_alias", "disassociate_email_address_alias"])
def test_the_primary_is_asked_about_first_and_neither_is_told_of(connect, intern, operation):
    """The same answer for what is there, what is linked, and what is not there."""
    call = getattr(intern.client, operation)
    other, nobody = intern.made("other"), {"EmailAddressId": NOBODY}
    assert intern.ceo["EmailAddressArn"] in denied(call, **pair(intern, intern.ceo, other))
    as_alias = denied(call, **pair(intern, intern.mine, other))
    missing = denied(call, **pair(intern, intern.mine, nobody))
    assert missing == as_alias.replace(other["EmailAddressId"], NOBODY)
    connect.associate_email_address_alias(**pair(intern, intern.ceo, other))
    assert denied(call, **pair(intern, intern.mine, other)) == as_alias


def test_each_address_of_a_link_is_asked_about_with_its_own_tags(connect, intern, new_client, new_key):
    blue, also_blue, red = (intern.made("x", Tags={"team": team}) for team in ("blue", "blue", "red"))
    condition = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    statement = {"Effect": "Allow", "Action": "connect:*Alias", "Resource": "*", "Condition": condition}
    client = new_client(**new_key(statement))
    assert red["EmailAddressArn"] in denied(client.associate_email_address_alias, **pair(intern, blue, red))
    assert red["EmailAddressArn"] in denied(client.associate_email_address_alias, **pair(intern, red, blue))
    client.associate_email_address_alias(**pair(intern, blue, also_blue))
    connect.tag_resource(resourceArn=also_blue["EmailAddressArn"], tags={"team": "red"})
    told = denied(client.disassociate_email_address_alias, **pair(intern, blue, also_blue))
    assert also_blue["EmailAddressArn"] in told


def test_the_answer_of_a_client_token_is_not_given_again_to_a_key_that_may_not_make_the_call(connect, intern):
    linked = pair(intern, intern.mine, intern.ceo)
    connect.associate_email_address_alias(**linked, ClientToken="once")
    assert connect.associate_email_address_alias(**linked, ClientToken="once")
    denied(intern.client.associate_email_address_alias, **linked, ClientToken="once")
