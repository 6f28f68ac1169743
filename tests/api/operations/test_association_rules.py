"""The rules of association, row by row, by boto3: who may be whose alias, and what the answer is otherwise.

Not here yet: the quota of addresses (the relaxed limits have none) and the lock that is not obtained in time (there is
one writer, so nobody waits for a row).
"""

import uuid

import pytest

CONFLICT = ("ResourceConflictException", 409)
NOT_FOUND = ("ResourceNotFoundException", 404)
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def links(connect, instance_id, refusal):
    return Links(connect, instance_id, refusal)


class Links:
    """The links of this test's instance, as `(primary, alias)`."""

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
        """The message of an association that must be refused."""
        call = self._connect.associate_email_address_alias
        return self._refusal(*answer, call, **self._members(primary, alias, more))

    def not_ended(self, answer, primary, alias, **more):
        """The message of a disassociation that must be refused."""
        call = self._connect.disassociate_email_address_alias
        return self._refusal(*answer, call, **self._members(primary, alias, more))

    def aliases(self, email_address_id):
        """The ids that DescribeEmailAddress lists."""
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


def test_a_missing_instance_is_named(links, a, b):
    assert f"Instance {NOBODY} was not found" in links.refused(NOT_FOUND, a, b, InstanceId=NOBODY)


def test_a_missing_primary_is_named(links, b):
    message = links.refused(NOT_FOUND, NOBODY, b)
    assert NOBODY in message
    assert links.instance_id in message
    assert b not in message


def test_a_missing_alias_is_named(links, a):
    message = links.refused(NOT_FOUND, a, NOBODY)
    assert NOBODY in message
    assert links.instance_id in message
    assert a not in message


def test_an_address_of_another_instance_is_missing(links, new_instance, new_address, a):
    elsewhere = new_address(InstanceId=new_instance())
    assert elsewhere in links.refused(NOT_FOUND, a, elsewhere)
    assert elsewhere in links.refused(NOT_FOUND, elsewhere, a)


def test_two_addresses_of_another_instance_are_missing(links, new_instance, a, b):
    assert a in links.refused(NOT_FOUND, a, b, InstanceId=new_instance())


def test_an_address_cannot_be_its_own_alias(links, a):
    assert a in links.refused(("InvalidParameterException", 400), a, a)
    assert links.aliases(a) == []


def test_a_missing_address_is_missing_also_as_its_own_alias(links):
    assert NOBODY in links.refused(NOT_FOUND, NOBODY, NOBODY)


def test_a_primary_cannot_have_a_second_alias(links, a, b, c):
    links.make(a, b)
    message = links.refused(CONFLICT, a, c)
    assert a in message
    assert b in message
    assert links.aliases(a) == [b]


def test_an_alias_cannot_serve_a_second_primary(links, a, b, c):
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


def test_a_link_cannot_be_made_the_other_way_round(links, a, b):
    links.make(a, b)
    message = links.refused(CONFLICT, b, a)
    assert a in message
    assert b in message


@pytest.mark.parametrize("token", [{}, {"ClientToken": "another"}], ids=["sdk-s-token", "other-token"])
def test_the_very_same_link_again_is_a_conflict(links, a, b, token):
    links.make(a, b)
    message = links.refused(CONFLICT, a, b, **token)
    assert a in message
    assert b in message
    assert links.aliases(a) == [b]


def test_the_same_token_gives_the_first_answer_again(links, a, b):
    token = str(uuid.uuid4())
    assert without_metadata(links.make(a, b, ClientToken=token)) == without_metadata(
        links.make(a, b, ClientToken=token)
    )
    assert links.aliases(a) == [b]


def test_a_late_retry_of_an_association_does_not_bring_back_a_link_that_ended(links, a, b):
    links.make(a, b, ClientToken="late")
    links.end(a, b)
    links.make(a, b, ClientToken="late")
    assert links.aliases(a) == []


def test_a_token_with_other_parameters_is_refused(links, a, b, c):
    links.make(a, b, ClientToken="once")
    assert "ClientToken" in links.refused(("IdempotencyException", 409), c, b, ClientToken="once")
    assert links.aliases(a) == [b]


def test_a_token_is_case_sensitive(links, a, b):
    links.make(a, b, ClientToken="token")
    links.refused(CONFLICT, a, b, ClientToken="TOKEN")


def test_a_token_of_a_refused_call_can_be_used_again(links, a, b, c):
    links.make(a, c)
    links.refused(CONFLICT, a, b, ClientToken="again")
    links.end(a, c)
    links.make(a, b, ClientToken="again")


def test_a_token_may_be_used_for_each_operation(links, a, b):
    links.make(a, b, ClientToken="shared")
    links.end(a, b, ClientToken="shared")
    assert links.aliases(a) == []


def test_an_empty_token_is_none(links, a, b):
    links.make(a, b, ClientToken="")
    links.refused(CONFLICT, a, b, ClientToken="")


def test_a_link_can_be_made_right_after_it_ended(links, a, b):
    links.make(a, b)
    assert links.end(a, b).keys() == {"ResponseMetadata"}
    assert links.aliases(a) == []
    links.make(b, a)
    assert links.aliases(b) == [a]


@pytest.mark.parametrize("arrange", ["no-link", "other-way-round", "other-alias", "other-primary"])
def test_a_link_that_does_not_exist_cannot_end(links, arrange, a, b, c):
    pairs = {"no-link": [], "other-way-round": [(b, a)], "other-alias": [(a, c)], "other-primary": [(c, b)]}
    for primary, alias in pairs[arrange]:
        links.make(primary, alias)
    message = links.not_ended(NOT_FOUND, a, b)
    assert a in message
    assert b in message


def test_what_is_missing_is_named_on_disassociate_too(links, a):
    assert NOBODY in links.not_ended(NOT_FOUND, a, NOBODY)
    assert NOBODY in links.not_ended(NOT_FOUND, NOBODY, a)
    assert NOBODY in links.not_ended(NOT_FOUND, a, a, InstanceId=NOBODY)


def test_the_same_token_ends_a_link_once(links, a, b):
    links.make(a, b)
    links.end(a, b, ClientToken="end")
    links.make(a, b)
    links.end(a, b, ClientToken="end")
    assert links.aliases(a) == [b]


def test_a_token_with_other_parameters_is_a_conflict_on_disassociate(links, a, b, c):
    links.make(a, b)
    links.end(a, b, ClientToken="end")
    assert "ClientToken" in links.not_ended(CONFLICT, c, b, ClientToken="end")


@pytest.mark.parametrize("side", ["primary", "alias"])
def test_deleting_either_side_ends_the_link(links, side, a, b, c):
    links.make(a, b)
    gone, left = (a, b) if side == "primary" else (b, a)
    links.delete(gone)
    assert links.aliases(left) == []
    links.make(left, c)
    assert links.aliases(left) == [c]


def without_metadata(answer):
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
