"""A server remembers the outputs of look-ups. These tests check that every change is visible at once all the same."""

import asyncio
from functools import partial

import pytest
from botocore.exceptions import ClientError

from tests.kit.stores.both_stores import NoSeal
from tests.kit.values import NOW, TENANT, TERMS, an_email_address, make_instance
from waypost.api.access.throttle import Throttle
from waypost.api.application import Api
from waypost.api.operations.table import LOOK_UP, OPERATIONS
from waypost.api.wire import shapes
from waypost.api.wire.http import Request
from waypost.app.directory import access_keys, email_addresses
from waypost.app.limit_state import OwnState
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.limits import rates
from waypost.store.sqlite.store import SqliteStore

KEY = AccessKey("AKIDEXAMPLE", "a-secret", TENANT.account)


@pytest.fixture
def describe(connect, instance_id):
    def describe(email_address_id):
        found = connect.describe_email_address(InstanceId=instance_id, EmailAddressId=email_address_id)
        return {name: found.get(name) for name in ("DisplayName", "AliasConfigurations", "Tags")}

    return describe


def test_the_next_look_up_shows_each_change(connect, instance_id, new_address, describe):
    primary, alias = new_address(), new_address()
    before = describe(primary)
    assert describe(primary) == before == {"DisplayName": None, "AliasConfigurations": [], "Tags": {}}
    arn = connect.describe_email_address(InstanceId=instance_id, EmailAddressId=primary)["EmailAddressArn"]
    link = {
        "InstanceId": instance_id,
        "EmailAddressId": primary,
        "AliasConfiguration": {"EmailAddressId": alias},
    }
    connect.associate_email_address_alias(**link)
    assert describe(primary) == before | {"AliasConfigurations": [{"EmailAddressId": alias}]}
    connect.disassociate_email_address_alias(**link)
    assert describe(primary) == before
    connect.update_email_address_metadata(InstanceId=instance_id, EmailAddressId=primary, DisplayName="Support")
    assert describe(primary) == before | {"DisplayName": "Support"}
    connect.tag_resource(resourceArn=arn, tags={"team": "blue"})
    assert describe(primary) == before | {"DisplayName": "Support", "Tags": {"team": "blue"}}
    assert connect.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "blue"}
    connect.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert describe(primary) == before | {"DisplayName": "Support"}
    assert connect.list_tags_for_resource(resourceArn=arn)["tags"] == {}


def test_the_next_look_up_shows_a_change_of_another_process(administer, instance_id, new_address, describe):
    email_address_id = new_address()
    assert describe(email_address_id)
    administer(lambda tx: tx.put_tags(email_address_id, {"team": "blue"}))
    assert describe(email_address_id)["Tags"] == {"team": "blue"}
    administer(
        partial(email_addresses.delete, tenant=TENANT, instance_id=instance_id, email_address_id=email_address_id)
    )
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        describe(email_address_id)


def test_a_deleted_instance_is_not_found(connect, new_instance):
    instance_id = new_instance()
    for _ in range(2):
        assert connect.describe_instance(InstanceId=instance_id)["Instance"]["Id"] == instance_id
    connect.delete_instance(InstanceId=instance_id)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        connect.describe_instance(InstanceId=instance_id)


def test_what_one_caller_has_looked_up_another_caller_gets_only_if_its_account_and_its_policy_allow_it(
    connect, new_client, new_key, instance_id, new_address
):
    members = {"InstanceId": instance_id, "EmailAddressId": new_address()}
    allowed = {"Effect": "Allow", "Action": "connect:ListInstances", "Resource": "*"}
    other_policy, other_account = new_client(**new_key(allowed)), new_client(**new_key(account="111111111111"))
    other_region = new_client(region_name="eu-west-1")
    for _ in range(2):
        assert connect.describe_email_address(**members)
        with pytest.raises(ClientError, match="AccessDeniedException"):
            other_policy.describe_email_address(**members)
        for client in (other_account, other_region):
            with pytest.raises(ClientError, match="ResourceNotFoundException"):
                client.describe_email_address(**members)


def test_a_look_up_and_its_access_key_are_read_again_only_after_a_change_of_the_directory_or_the_key(tmp_path, signed):
    statements = []

    async def describe(api):
        del statements[:]
        request = signed(Request("GET", "/email-addresses/i/a", "", (), b""), KEY, now=NOW)
        assert (await api.answer(request, peer="192.0.2.1", request_id="r")).status == 200
        return [table for table in ("access_keys", "email_addresses") if table in "".join(statements)]

    async def scenario():
        store = SqliteStore(tmp_path / "waypost.sqlite3", NoSeal())
        api = Api(
            store,
            terms=TERMS,
            throttle=Throttle(rates.RELAXED, OwnState()),
            failures=FailedSignatures(OwnState()),
            clock=lambda: NOW,
            emit=lambda event: None,
        )
        await store.write(partial(access_keys.create, key=KEY))
        await store.write(lambda tx: (make_instance(tx), tx.add_email_address(an_email_address("a"), {})))
        store._reading.connection.set_trace_callback(statements.append)
        found = [await describe(api), await describe(api)]
        await store.write(lambda tx: tx.put_tags("a", {"team": "blue"}))
        found += [await describe(api), await describe(api)]
        for active in (False, True):
            await store.write(partial(access_keys.set_active, access_key_id=KEY.id, active=active))
        found += [await describe(api), await describe(api)]
        await store.close()
        return found

    both = ["access_keys", "email_addresses"]
    assert asyncio.run(scenario()) == [both, [], ["email_addresses"], [], ["access_keys"], []]


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.access is LOOK_UP])
def test_the_input_of_each_look_up_can_be_remembered(name):
    input_type = shapes.load().operations[name].input_type
    assert hash(input_type(**dict.fromkeys(input_type.__struct_fields__, "x")))
