"""Tests of the operations with boto3: their input, their output, and the visibility of resources.

The tests of errors are in `refusals.py`, those of searches in `test_search.py`, and those of tags in `test_tags.py`.
"""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from tests.api.refusals import INSTANCE
from waypost.api.operations.table import OPERATIONS

ISO_8601 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
UUID = r"[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}"
MISSING_ID = "00000000-0000-4000-8000-000000000000"
NOT_FOUND = ("ResourceNotFoundException", 404)
DUPLICATE = ("DuplicateResourceException", 409)
INVALID_REQUEST = ("InvalidRequestException", 400)
SERVICE_ROLE = "role/aws-service-role/connect.amazonaws.com/AWSServiceRoleForAmazonConnect"


@pytest.fixture
def describe(connect, instance_id):
    return lambda email_address_id: connect.describe_email_address(
        InstanceId=instance_id, EmailAddressId=email_address_id
    )


def is_recent(time):
    return abs(datetime.now(UTC) - time) < timedelta(minutes=1)


def test_describe_returns_the_members_with_which_an_email_address_was_created(connect, instance_id, spelling, describe):
    given = {"EmailAddress": spelling().title(), "DisplayName": "Käse", "Description": "For\nall", "Tags": {"a": "b"}}
    created = connect.create_email_address(InstanceId=instance_id, **given)
    found = describe(created["EmailAddressId"])
    assert {name: found[name] for name in given} == given
    assert found["AliasConfigurations"] == []
    assert found["EmailAddressId"] == created["EmailAddressId"]
    assert found["EmailAddressArn"] == created["EmailAddressArn"]


def test_a_new_email_address_has_an_id_and_an_arn(connect, instance_id, spelling):
    created = connect.create_email_address(InstanceId=instance_id, EmailAddress=spelling())
    assert re.fullmatch(UUID, created["EmailAddressId"])
    assert created["EmailAddressArn"] == (
        f"arn:aws:connect:us-east-1:000000000000:instance/{instance_id}/email-address/{created['EmailAddressId']}"
    )


def test_the_timestamps_of_an_email_address_are_iso_8601_strings(new_address, describe):
    found = describe(new_address())
    assert re.fullmatch(ISO_8601, found["CreateTimestamp"])
    assert found["ModifiedTimestamp"] == found["CreateTimestamp"]
    assert is_recent(datetime.fromisoformat(found["CreateTimestamp"]))


def test_texts_that_were_never_set_are_left_out_and_empty_texts_are_kept(new_address, describe):
    assert not {"DisplayName", "Description"} & describe(new_address()).keys()
    found = describe(new_address(DisplayName="", Description=""))
    assert (found["DisplayName"], found["Description"]) == ("", "")


SAME = {
    "case": ("{}@waypost.example", "{}@WAYPOST.Example"),
    "local-case": ("a{}@waypost.example", "A{}@waypost.example"),
    "local-case-beyond-ascii": ("ü{}@waypost.example", "Ü{}@waypost.example"),
    "idna": ("{}@bücher.example", "{}@xn--bcher-kva.example"),
    "idna-case": ("{}@bücher.example", "{}@BÜCHER.example"),
    "quotes": ("{}@waypost.example", '"{}"@waypost.example'),
}


@pytest.mark.parametrize("spellings", SAME.values(), ids=SAME)
def test_an_address_can_exist_only_once_in_all_its_spellings(connect, instance_id, refusal, new_address, spellings):
    first, second = spellings
    name = uuid.uuid4().hex
    new_address(EmailAddress=first.format(name))
    again = {"InstanceId": instance_id, "EmailAddress": second.format(name)}
    assert "already exists" in refusal(*DUPLICATE, connect.create_email_address, **again)


def test_an_address_can_be_created_again_after_it_was_deleted(connect, instance_id, spelling, new_address):
    taken = spelling()
    first = new_address(EmailAddress=taken)
    connect.delete_email_address(InstanceId=instance_id, EmailAddressId=first)
    assert new_address(EmailAddress=taken) != first


@pytest.mark.parametrize(
    "address", ["a@b@c.example", "a b@c.example", "a..b@c.example", "a@-c.example", "a@c_d.example"]
)
def test_an_address_to_which_no_mail_can_be_sent_is_refused(connect, instance_id, refusal, address):
    refused = {"InstanceId": instance_id, "EmailAddress": address}
    message = refusal("InvalidParameterException", 400, connect.create_email_address, **refused)
    assert address not in message


def test_repeated_calls_with_the_same_client_token_create_one_address(new_address, spelling):
    wanted = {"EmailAddress": spelling(), "ClientToken": "once"}
    assert new_address(**wanted) == new_address(**wanted)


def test_a_client_token_belongs_to_one_instance(new_address, new_instance):
    assert new_address(ClientToken="once") != new_address(ClientToken="once", InstanceId=new_instance())


@pytest.mark.parametrize("id_", [".", "..", "a/../b", "//", "a b", "%2F", "+~", "a?b#c", "ü", "\N{GRINNING FACE}"])
def test_an_id_may_contain_any_characters(connect, instance_id, refusal, id_):
    message = refusal(*NOT_FOUND, connect.describe_email_address, InstanceId=instance_id, EmailAddressId=id_)
    assert message == f"Email address {id_} was not found in instance {instance_id}."


def test_a_deleted_email_address_is_not_found(connect, instance_id, new_address, refusal):
    both = {"InstanceId": instance_id, "EmailAddressId": new_address()}
    assert connect.delete_email_address(**both).keys() == {"ResponseMetadata"}
    refusal(*NOT_FOUND, connect.describe_email_address, **both)
    refusal(*NOT_FOUND, connect.delete_email_address, **both)


def test_describe_returns_the_members_with_which_an_instance_was_created(connect, spelling):
    given = {**INSTANCE, "InstanceAlias": "w" + spelling()[:32], "Tags": {"team": "mail"}}
    created = connect.create_instance(**given)
    found = connect.describe_instance(InstanceId=created["Id"])["Instance"]
    assert {name: found[name] for name in given} == given
    assert found["InstanceStatus"] == "ACTIVE"
    assert found["InstanceAccessUrl"] == f"https://{given['InstanceAlias']}.my.connect.aws"
    assert found["Id"] == created["Id"]
    assert found["Arn"] == created["Arn"] == f"arn:aws:connect:us-east-1:000000000000:instance/{created['Id']}"
    assert is_recent(found["CreatedTime"])


def test_repeated_calls_with_the_same_client_token_create_one_instance(new_instance, spelling):
    token = spelling()
    assert new_instance(ClientToken=token) == new_instance(ClientToken=token)


def test_instances_are_listed_page_by_page(connect, new_instance):
    made = {new_instance() for _ in range(3)}
    first = connect.list_instances(MaxResults=1)
    assert len(first["InstanceSummaryList"]) == 1
    second = connect.list_instances(MaxResults=1, NextToken=first["NextToken"])
    assert second["InstanceSummaryList"] != first["InstanceSummaryList"]
    pages = list(connect.get_paginator("list_instances").paginate(PaginationConfig={"PageSize": 2}))
    ids = [each["Id"] for page in pages for each in page["InstanceSummaryList"]]
    assert made <= set(ids)
    assert len(ids) == len(set(ids))
    assert "NextToken" not in pages[-1]
    assert max(len(page["InstanceSummaryList"]) for page in pages) == 2


def test_a_page_has_at_most_ten_instances(connect, new_instance):
    for _ in range(11):
        new_instance()
    assert len(connect.list_instances()["InstanceSummaryList"]) == 10


def test_a_listed_instance_has_no_tags(connect, new_instance):
    made = new_instance(Tags={"a": "b"})
    pages = connect.get_paginator("list_instances").paginate()
    (found,) = (each for page in pages for each in page["InstanceSummaryList"] if each["Id"] == made)
    assert is_recent(found.pop("CreatedTime"))
    assert found == {
        "Id": made,
        "Arn": f"arn:aws:connect:us-east-1:000000000000:instance/{made}",
        "IdentityManagementType": "SAML",
        "ServiceRole": f"arn:aws:iam::000000000000:{SERVICE_ROLE}_{made.replace('-', '')[:20]}",
        "InstanceStatus": "ACTIVE",
        "InboundCallsEnabled": True,
        "OutboundCallsEnabled": False,
        "InstanceAccessUrl": f"https://{made}.my.connect.aws",
    }


@pytest.mark.parametrize(
    ("region", "partition", "domain"),
    [("eu-west-2", "aws", "my.connect.aws"), ("us-gov-west-1", "aws-us-gov", "govcloud.connect.aws")],
)
def test_an_instance_has_the_service_role_and_the_access_url_of_its_partition(
    new_client, spelling, region, partition, domain
):
    connect, alias = new_client(region_name=region), "w" + spelling()[:32]
    created = connect.create_instance(**INSTANCE, InstanceAlias=alias)
    described = connect.describe_instance(InstanceId=created["Id"])["Instance"]
    pages = connect.get_paginator("list_instances").paginate()
    (listed,) = (each for page in pages for each in page["InstanceSummaryList"] if each["Id"] == created["Id"])
    for found in (described, listed):
        assert found["ServiceRole"].startswith(f"arn:{partition}:iam::000000000000:{SERVICE_ROLE}_")
        assert found["InstanceAccessUrl"] == f"https://{alias}.{domain}"


@pytest.mark.parametrize("token", ["x", "//////8=", "%%%%"])
def test_an_invented_page_token_is_refused(connect, refusal, token):
    assert "NextToken" in refusal(*INVALID_REQUEST, connect.list_instances, NextToken=token)


def test_deleting_an_instance_deletes_its_email_addresses(connect, instance_id, new_address, refusal):
    primary, alias = new_address(Tags={"a": "b"}), new_address()
    pair = {"EmailAddressId": primary, "AliasConfiguration": {"EmailAddressId": alias}}
    connect.associate_email_address_alias(InstanceId=instance_id, **pair)
    assert connect.delete_instance(InstanceId=instance_id).keys() == {"ResponseMetadata"}
    assert instance_id in refusal(*NOT_FOUND, connect.describe_instance, InstanceId=instance_id)
    refusal(*NOT_FOUND, connect.describe_email_address, InstanceId=instance_id, EmailAddressId=primary)


def test_an_address_can_be_created_again_after_its_instance_was_deleted(
    connect, instance_id, new_address, new_instance, spelling
):
    taken = spelling()
    new_address(EmailAddress=taken)
    connect.delete_instance(InstanceId=instance_id)
    new_address(EmailAddress=taken, InstanceId=new_instance())


def test_a_repeated_deletion_of_an_instance_succeeds_only_with_the_same_client_token(connect, instance_id, refusal):
    for _ in range(2):
        connect.delete_instance(InstanceId=instance_id, ClientToken="once")
    assert instance_id in refusal(*NOT_FOUND, connect.delete_instance, InstanceId=instance_id)


def test_resources_are_not_visible_from_another_region(new_client, instance_id, new_address, refusal):
    elsewhere = new_client(region_name="eu-west-1")
    both = {"InstanceId": instance_id, "EmailAddressId": new_address()}
    assert "eu-west-1" in refusal(*NOT_FOUND, elsewhere.describe_instance, InstanceId=instance_id)
    refusal(*NOT_FOUND, elsewhere.describe_email_address, **both)
    refusal(*NOT_FOUND, elsewhere.delete_email_address, **both)
    refusal(*NOT_FOUND, elsewhere.delete_instance, InstanceId=instance_id)
    assert instance_id not in [each["Id"] for each in elsewhere.list_instances()["InstanceSummaryList"]]


@pytest.mark.parametrize(("region", "partition"), [("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")])
def test_an_arn_has_the_partition_of_its_region(new_client, region, partition):
    created = new_client(region_name=region).create_instance(**INSTANCE)
    assert created["Arn"] == f"arn:{partition}:connect:{region}:000000000000:instance/{created['Id']}"


@pytest.fixture
def update(connect, instance_id):
    return lambda email_address_id, **texts: connect.update_email_address_metadata(
        InstanceId=instance_id, EmailAddressId=email_address_id, **texts
    )


def wait_for_another_millisecond(timestamp):
    """Wait until the next call has a later time, for a clock with a resolution of one millisecond."""
    moment = datetime.fromisoformat(timestamp) + timedelta(milliseconds=2)
    while datetime.now(UTC) < moment:
        pass


UPDATES = {
    "one": ({"DisplayName": "New"}, {"DisplayName": "New", "Description": "words"}),
    "the other": ({"Description": "New"}, {"DisplayName": "Name", "Description": "New"}),
    "both": ({"DisplayName": "ü", "Description": "x\ny"}, {"DisplayName": "ü", "Description": "x\ny"}),
    "cleared": ({"DisplayName": ""}, {"DisplayName": "", "Description": "words"}),
    "both cleared": ({"DisplayName": "", "Description": ""}, {"DisplayName": "", "Description": ""}),
    "the longest": ({"DisplayName": "n" * 256, "Description": "d" * 4096}, None),
}


@pytest.mark.parametrize(("texts", "after"), UPDATES.values(), ids=UPDATES)
def test_an_update_changes_the_given_texts_and_the_modification_time(new_address, describe, update, texts, after):
    changed = new_address(DisplayName="Name", Description="words", Tags={"a": "b"})
    before = describe(changed)
    wait_for_another_millisecond(before["ModifiedTimestamp"])
    answer = update(changed, **texts)
    assert (answer["EmailAddressId"], answer["EmailAddressArn"]) == (changed, before["EmailAddressArn"])
    found = describe(changed)
    assert found.pop("ModifiedTimestamp") > before.pop("ModifiedTimestamp")
    expected = {**before, **(after or texts)}
    del found["ResponseMetadata"], expected["ResponseMetadata"]
    assert found == expected


def test_an_update_without_texts_changes_nothing(new_address, describe, update):
    untouched = new_address(DisplayName="Name")
    before = describe(untouched)
    wait_for_another_millisecond(before["ModifiedTimestamp"])
    assert update(untouched)["EmailAddressId"] == untouched
    after = describe(untouched)
    del before["ResponseMetadata"], after["ResponseMetadata"]
    assert after == before


def test_texts_that_were_never_set_can_be_set_later(new_address, describe, update):
    found = new_address()
    update(found, Description="late")
    assert describe(found)["Description"] == "late"
    assert "DisplayName" not in describe(found)


def test_an_update_does_not_change_the_alias_link(connect, instance_id, new_address, describe, update):
    primary, alias = new_address(), new_address()
    pair = {"EmailAddressId": primary, "AliasConfiguration": {"EmailAddressId": alias}}
    connect.associate_email_address_alias(InstanceId=instance_id, **pair)
    for either in (primary, alias):
        update(either, DisplayName="New")
    assert describe(primary)["AliasConfigurations"] == [{"EmailAddressId": alias}]
    assert describe(alias)["AliasConfigurations"] == []


def test_a_late_retry_of_an_update_does_not_undo_a_later_update(new_address, describe, update):
    changed = new_address()
    for name, token in (("first", "1"), ("second", "2"), ("first", "1")):
        assert update(changed, DisplayName=name, ClientToken=token)["EmailAddressId"] == changed
    assert describe(changed)["DisplayName"] == "second"


class Arns:
    """The ARNs of an instance and its email addresses."""

    def __init__(self, instance_id):
        self.instance = f"arn:aws:connect:us-east-1:000000000000:instance/{instance_id}"

    def of(self, email_address_id):
        return f"{self.instance}/email-address/{email_address_id}"


def test_operations_on_email_addresses_accept_arns_instead_of_ids(connect, instance_id, new_address, spelling):
    arns = Arns(instance_id)
    instance = {"InstanceId": arns.instance}
    created = connect.create_email_address(**instance, EmailAddress=spelling())
    primary, alias = created["EmailAddressId"], new_address()
    assert created["EmailAddressArn"] == arns.of(primary)
    one = {**instance, "EmailAddressId": arns.of(primary)}
    pair = {**one, "AliasConfiguration": {"EmailAddressId": arns.of(alias)}}
    connect.associate_email_address_alias(**pair)
    answer = connect.update_email_address_metadata(**one, DisplayName="Name")
    assert (answer["EmailAddressId"], answer["EmailAddressArn"]) == (primary, arns.of(primary))
    found = connect.describe_email_address(**one)
    assert (found["EmailAddressId"], found["DisplayName"]) == (primary, "Name")
    assert found["AliasConfigurations"] == [{"EmailAddressId": alias}]
    assert connect.search_email_addresses(**instance)["ApproximateTotalCount"] == 2
    connect.disassociate_email_address_alias(**pair)
    connect.delete_email_address(**one)
    assert connect.search_email_addresses(**instance)["ApproximateTotalCount"] == 1


def test_calls_with_ids_and_with_arns_are_the_same_call_for_a_client_token(connect, instance_id, new_address, describe):
    arns, primary, alias = Arns(instance_id), new_address(), new_address()
    for instance, own, other in (
        (arns.instance, primary, arns.of(alias)),
        (instance_id, arns.of(primary), alias),
        (instance_id, primary, alias),
    ):
        pair = {"EmailAddressId": own, "AliasConfiguration": {"EmailAddressId": other}}
        connect.associate_email_address_alias(InstanceId=instance, **pair, ClientToken="once")
    assert describe(primary)["AliasConfigurations"] == [{"EmailAddressId": alias}]


def test_the_error_for_the_arn_of_a_missing_email_address_names_its_id(connect, instance_id, refusal):
    both = {"InstanceId": instance_id, "EmailAddressId": Arns(instance_id).of(MISSING_ID)}
    message = refusal(*NOT_FOUND, connect.describe_email_address, **both)
    assert message == f"Email address {MISSING_ID} was not found in instance {instance_id}."


def test_an_operation_on_an_instance_refuses_an_arn(connect, instance_id, refusal):
    for call in (connect.describe_instance, connect.delete_instance):
        message = refusal(*INVALID_REQUEST, call, InstanceId=Arns(instance_id).instance)
        assert message.startswith("Invalid input for field InstanceId")
    assert connect.describe_instance(InstanceId=instance_id)["Instance"]["Id"] == instance_id


def test_the_error_for_an_unknown_operation_lists_the_operations_of_waypost(connect, instance_id):
    with pytest.raises(ClientError) as caught:
        connect.list_queues(InstanceId=instance_id)
    error = caught.value.response["Error"]
    assert error["Code"] == "UnknownOperationException"
    assert error["Message"].startswith(
        f"GET /queues-summary/{instance_id} is not an operation that Waypost implements. "
    )
    for operation in OPERATIONS:
        assert operation in error["Message"]
