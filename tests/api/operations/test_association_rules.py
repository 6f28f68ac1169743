"""Tests of the rules for alias links with boto3, rule by rule, with the responses and the error messages.

Two cases are not tested here. The relaxed limits have no quota of email addresses. SQLite has one writer at a time, so
no call waits too long for the lock of a row.
"""

import uuid

import pytest

CONFLICT = ("ResourceConflictException", 409)
NOT_FOUND = ("ResourceNotFoundException", 404)
MISSING_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def links(connect, instance_id, refusal):
    return Links(connect, instance_id, refusal)


class Links:
    """Methods that create, remove and list alias links in the instance of this test."""

    def __init__(self, connect, instance_id, refusal):
        self.instance_id = instance_id
        self._connect = connect
        self._refusal = refusal

    def make(self, primary, alias, **more):
        return self._connect.associate_email_address_alias(**self._members(primary, alias, more))

    def end(self, primary, alias, **more):
        return self._connect.disassociate_email_address_alias(**self._members(primary, alias, more))

    def delete(self, email_address_id):
        self._connect.delete_email_address(InstanceId=self.instance_id, EmailAddressId=email_address_id)

    def refused(self, answer, primary, alias, **more):
        """Associate two addresses, check that the call is refused, and return the error message."""
        call = self._connect.associate_email_address_alias
        return self._refusal(*answer, call, **self._members(primary, alias, more))

    def not_ended(self, answer, primary, alias, **more):
        """Disassociate two addresses, check that the call is refused, and return the error message."""
        call = self._connect.disassociate_email_address_alias
        return self._refusal(*answer, call, **self._members(primary, alias, more))

    def aliases(self, email_address_id):
        """Return the ids of the aliases that DescribeEmailAddress lists."""
        found = self._connect.describe_email_address(InstanceId=self.instance_id, EmailAddressId=email_address_id)
        return [configuration["EmailAddressId"] for configuration in found["AliasConfigurations"]]

    def _members(self, primary, alias, more):
        pair = {"EmailAddressId": primary, "AliasConfiguration": {"EmailAddressId": alias}}
        return {"InstanceId": self.instance_id, **pair, **more}


@pytest.fixture
def a(new_address):
    return new_address()


@pytest.fixture
def b(new_address):
    return new_address()


@pytest.fixture
def c(new_address):
    return new_address()


def test_the_primary_lists_its_alias_and_the_alias_lists_nothing(links, a, b):
    answer = links.make(a, b)
    assert answer.keys() == {"ResponseMetadata"}
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert links.aliases(a) == [b]
    assert links.aliases(b) == []


def test_the_error_message_names_a_missing_instance(links, a, b):
    assert f"Instance {MISSING_ID} was not found" in links.refused(NOT_FOUND, a, b, InstanceId=MISSING_ID)


def test_the_error_message_names_a_missing_primary(links, b):
    message = links.refused(NOT_FOUND, MISSING_ID, b)
    assert MISSING_ID in message
    assert links.instance_id in message
    assert b not in message


def test_the_error_message_names_a_missing_alias(links, a):
    message = links.refused(NOT_FOUND, a, MISSING_ID)
    assert MISSING_ID in message
    assert links.instance_id in message
    assert a not in message


def test_an_address_of_another_instance_is_not_found(links, new_instance, new_address, a):
    elsewhere = new_address(InstanceId=new_instance())
    assert elsewhere in links.refused(NOT_FOUND, a, elsewhere)
    assert elsewhere in links.refused(NOT_FOUND, elsewhere, a)


def test_two_addresses_of_another_instance_are_not_found(links, new_instance, a, b):
    assert a in links.refused(NOT_FOUND, a, b, InstanceId=new_instance())


def test_an_address_cannot_be_its_own_alias(links, a):
    assert a in links.refused(("InvalidParameterException", 400), a, a)
    assert links.aliases(a) == []


def test_a_missing_address_as_its_own_alias_is_not_found(links):
    assert MISSING_ID in links.refused(NOT_FOUND, MISSING_ID, MISSING_ID)


def test_a_primary_cannot_have_a_second_alias(links, a, b, c):
    links.make(a, b)
    message = links.refused(CONFLICT, a, c)
    assert a in message
    assert b in message
    assert links.aliases(a) == [b]


def test_an_alias_cannot_have_a_second_primary(links, a, b, c):
    links.make(a, b)
    message = links.refused(CONFLICT, c, b)
    assert a in message
    assert b in message
    assert links.aliases(c) == []


def test_an_address_with_an_alias_cannot_become_an_alias(links, a, b, c):
    links.make(a, b)
    message = links.refused(CONFLICT, c, a)
    assert a in message
    assert b in message
    assert links.aliases(c) == []


def test_an_alias_cannot_have_an_alias_of_its_own(links, a, b, c):
    links.make(a, b)
    message = links.refused(CONFLICT, b, c)
    assert a in message
    assert b in message
    assert links.aliases(b) == []


def test_a_link_cannot_be_created_again_with_the_roles_reversed(links, a, b):
    links.make(a, b)
    message = links.refused(CONFLICT, b, a)
    assert a in message
    assert b in message


@pytest.mark.parametrize("token", [{}, {"ClientToken": "another"}], ids=["token of the SDK", "another token"])
def test_creating_the_same_link_again_is_a_conflict(links, a, b, token):
    links.make(a, b)
    message = links.refused(CONFLICT, a, b, **token)
    assert a in message
    assert b in message
    assert links.aliases(a) == [b]


def test_a_repeated_call_with_the_same_client_token_has_the_same_response(links, a, b):
    token = str(uuid.uuid4())
    assert without_metadata(links.make(a, b, ClientToken=token)) == without_metadata(
        links.make(a, b, ClientToken=token)
    )
    assert links.aliases(a) == [b]


def test_a_late_retry_of_an_association_does_not_restore_a_removed_link(links, a, b):
    links.make(a, b, ClientToken="late")
    links.end(a, b)
    links.make(a, b, ClientToken="late")
    assert links.aliases(a) == []


def test_a_client_token_with_different_parameters_is_refused(links, a, b, c):
    links.make(a, b, ClientToken="once")
    assert "ClientToken" in links.refused(("IdempotencyException", 409), c, b, ClientToken="once")
    assert links.aliases(a) == [b]


def test_a_client_token_is_case_sensitive(links, a, b):
    links.make(a, b, ClientToken="token")
    links.refused(CONFLICT, a, b, ClientToken="TOKEN")


def test_the_client_token_of_a_refused_call_can_be_used_again(links, a, b, c):
    links.make(a, c)
    links.refused(CONFLICT, a, b, ClientToken="again")
    links.end(a, c)
    links.make(a, b, ClientToken="again")


def test_a_client_token_can_be_used_once_for_each_operation(links, a, b):
    links.make(a, b, ClientToken="shared")
    links.end(a, b, ClientToken="shared")
    assert links.aliases(a) == []


def test_an_empty_client_token_counts_as_missing(links, a, b):
    links.make(a, b, ClientToken="")
    links.refused(CONFLICT, a, b, ClientToken="")


def test_two_addresses_can_be_linked_again_after_their_link_was_removed(links, a, b):
    links.make(a, b)
    assert links.end(a, b).keys() == {"ResponseMetadata"}
    assert links.aliases(a) == []
    links.make(b, a)
    assert links.aliases(b) == [a]


@pytest.mark.parametrize("existing", ["no link", "reversed link", "another alias", "another primary"])
def test_a_link_that_does_not_exist_cannot_be_removed(links, existing, a, b, c):
    pairs = {"no link": [], "reversed link": [(b, a)], "another alias": [(a, c)], "another primary": [(c, b)]}
    for primary, alias in pairs[existing]:
        links.make(primary, alias)
    message = links.not_ended(NOT_FOUND, a, b)
    assert a in message
    assert b in message


def test_the_error_message_of_disassociate_names_the_missing_resource(links, a):
    assert MISSING_ID in links.not_ended(NOT_FOUND, a, MISSING_ID)
    assert MISSING_ID in links.not_ended(NOT_FOUND, MISSING_ID, a)
    assert MISSING_ID in links.not_ended(NOT_FOUND, a, a, InstanceId=MISSING_ID)


def test_a_repeated_disassociation_with_the_same_client_token_removes_a_link_once(links, a, b):
    links.make(a, b)
    links.end(a, b, ClientToken="end")
    links.make(a, b)
    links.end(a, b, ClientToken="end")
    assert links.aliases(a) == [b]


def test_a_client_token_with_different_parameters_is_a_conflict_on_disassociate(links, a, b, c):
    links.make(a, b)
    links.end(a, b, ClientToken="end")
    assert "ClientToken" in links.not_ended(CONFLICT, c, b, ClientToken="end")


@pytest.mark.parametrize("side", ["primary", "alias"])
def test_deleting_the_primary_or_the_alias_removes_the_link(links, side, a, b, c):
    links.make(a, b)
    gone, left = (a, b) if side == "primary" else (b, a)
    links.delete(gone)
    assert links.aliases(left) == []
    links.make(left, c)
    assert links.aliases(left) == [c]


def without_metadata(answer):
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
