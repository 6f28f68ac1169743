"""The use cases of the API, one transaction at a time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.values import NOW, TENANT, an_email_address, make_instance
from waypost.app import aliases, email_addresses, idempotency, instances, ports
from waypost.domain import addresses, errors
from waypost.domain.aliases import AliasLink
from waypost.domain.instances import Tenant

OTHERS = (Tenant("111111111111", "us-east-1"), Tenant("000000000000", "eu-west-1"))


def create(tx, *names, instance_id="i"):
    for name in names:
        email_addresses.create(tx, TENANT, an_email_address(name, instance_id), tags={})


def associate(tx, primary, alias, *, instance_id="i", tenant=TENANT):
    aliases.associate(tx, tenant, instance_id, primary_id=primary, alias_id=alias, now=NOW)


def disassociate(tx, primary, alias, *, instance_id="i"):
    aliases.disassociate(tx, TENANT, instance_id, primary_id=primary, alias_id=alias, now=NOW)


def describe(tx, name):
    return email_addresses.describe(tx, TENANT, "i", name)


def test_an_email_address_is_described_as_created(tx, instance):
    created = replace(an_email_address("a"), display_name="", description="long ago")
    email_addresses.create(tx, TENANT, created, tags={"team": "blue", "cost": ""})

    assert describe(tx, "a") == ports.Description(created, None, {"cost": "", "team": "blue"})


def test_a_link_is_seen_from_both_sides(tx, instance):
    create(tx, "p", "a")
    associate(tx, "p", "a")

    assert describe(tx, "p").link == describe(tx, "a").link == AliasLink("p", "a", NOW)


@pytest.mark.parametrize("gone", ["p", "a"])
def test_deleting_either_side_ends_the_link(tx, instance, gone):
    create(tx, "p", "a", "x")
    associate(tx, "p", "a")
    (stays,) = {"p", "a"} - {gone}

    email_addresses.delete(tx, TENANT, "i", gone)

    assert describe(tx, stays).link is None
    associate(tx, stays, "x")


def test_after_a_disassociate_a_new_link_is_possible_at_once(tx, instance):
    create(tx, "p", "a")
    associate(tx, "p", "a")
    disassociate(tx, "p", "a")
    associate(tx, "a", "p")

    assert describe(tx, "a").link == AliasLink("a", "p", NOW)


def test_what_is_missing_is_named(tx, instance):
    create(tx, "p", "a")
    for primary, alias in (("p", "nobody"), ("nobody", "a")):
        for change in (associate, disassociate):
            with pytest.raises(errors.NotFound, match="Email address nobody was not found in instance i"):
                change(tx, primary, alias)
    with pytest.raises(errors.NotFound, match="Instance j was not found"):
        associate(tx, "p", "a", instance_id="j")


def test_email_addresses_of_two_instances_cannot_be_linked(tx, instance):
    make_instance(tx, "j")
    create(tx, "p")
    create(tx, "a", instance_id="j")
    for inside in ("i", "j"):
        with pytest.raises(errors.NotFound):
            associate(tx, "p", "a", instance_id=inside)


@pytest.mark.parametrize("stranger", OTHERS, ids=["another account", "another region"])
def test_nothing_of_a_tenant_is_visible_to_another(tx, instance, stranger):
    create(tx, "p", "a")
    attempts = [
        lambda: instances.get(tx, stranger, "i"),
        lambda: instances.delete(tx, stranger, "i", now=NOW),
        lambda: email_addresses.create(tx, stranger, an_email_address("b"), tags={}),
        lambda: email_addresses.describe(tx, stranger, "i", "p"),
        lambda: email_addresses.delete(tx, stranger, "i", "p"),
        lambda: associate(tx, "p", "a", tenant=stranger),
    ]
    for attempt in attempts:
        with pytest.raises(errors.NotFound, match="Instance i was not found"):
            attempt()
    assert instances.page(tx, stranger, after="", limit=10).instances == []


def test_an_address_exists_once_in_the_whole_deployment(tx, instance):
    make_instance(tx, "j", tenant=OTHERS[0])
    create(tx, "a")
    again = replace(an_email_address("b", "j"), address=addresses.parse("A@EXAMPLE.com"))
    with pytest.raises(errors.Duplicate):
        email_addresses.create(tx, OTHERS[0], again, tags={})


def test_instance_aliases_are_unique_without_regard_to_case(tx):
    make_instance(tx, "i", alias="Support")
    with pytest.raises(errors.Duplicate, match="alias support is already used"):
        make_instance(tx, "j", alias="support")
    make_instance(tx, "k")


def test_deleting_an_instance_deletes_its_email_addresses_and_frees_them(tx, instance):
    create(tx, "p", "a")
    associate(tx, "p", "a")
    make_instance(tx, "j")

    instances.delete(tx, TENANT, "i", now=NOW)

    assert tx.email_address_by_key("p@example.com") is None
    create(tx, "p", instance_id="j")


def test_instances_come_in_pages(tx):
    for name in "abcde":
        make_instance(tx, name)
    first = instances.page(tx, TENANT, after="", limit=2)
    second = instances.page(tx, TENANT, after=first.next_after, limit=3)

    assert [each.id for each in first.instances + second.instances] == list("abcde")
    assert second.next_after is None


def tokened(fingerprint=b"same", token="t"):
    return idempotency.TokenedCall(ports.CallKey(TENANT, "Create", "i", token), fingerprint, timedelta(days=7))


def counted(answers):
    return lambda: answers.append("done") or f"answer {len(answers)}"


def test_a_call_with_the_same_token_gets_the_first_answer_and_does_nothing(tx):
    done = []
    first = idempotency.once(tx, tokened(), now=NOW, effect=counted(done))
    again = idempotency.once(tx, tokened(), now=NOW + timedelta(days=6), effect=counted(done))

    assert first == again == "answer 1"
    assert len(done) == 1


def test_without_a_token_or_with_another_one_it_is_another_call(tx):
    done = []
    for call in (tokened(), tokened(token="T"), None, None):
        idempotency.once(tx, call, now=NOW, effect=counted(done))
    assert len(done) == 4


def test_a_token_with_other_parameters_is_refused(tx):
    idempotency.once(tx, tokened(), now=NOW, effect=counted([]))
    with pytest.raises(errors.TokenReused, match="other parameters"):
        idempotency.once(tx, tokened(b"other"), now=NOW, effect=counted([]))


def test_a_token_is_forgotten_after_seven_days(tx):
    done = []
    idempotency.once(tx, tokened(), now=NOW, effect=counted(done))
    late = NOW + timedelta(days=7)
    assert idempotency.once(tx, tokened(b"other"), now=late, effect=counted(done)) == "answer 2"
    assert idempotency.once(tx, tokened(b"other"), now=late, effect=counted(done)) == "answer 2"


def test_a_failed_call_is_not_remembered(tx):
    def fail():
        raise errors.Conflict("not now")

    with pytest.raises(errors.Conflict):
        idempotency.once(tx, tokened(), now=NOW, effect=fail)
    assert idempotency.once(tx, tokened(b"other"), now=NOW, effect=lambda: "done") == "done"


def test_a_late_retry_after_the_effect_was_undone_replays_and_does_nothing(tx, instance):
    create(tx, "p", "a")
    call = tokened()
    both = {"primary_id": "p", "alias_id": "a", "now": NOW}
    aliases.associate(tx, TENANT, "i", **both, call=call)
    disassociate(tx, "p", "a")

    aliases.associate(tx, TENANT, "i", **both, call=call)

    assert describe(tx, "p").link is None


def test_an_instance_has_no_more_email_addresses_than_its_quota(tx, instance):
    make_instance(tx, "j")

    def create_one(name, instance_id="i", quota=2):
        email_addresses.create(tx, TENANT, an_email_address(name, instance_id), tags={}, quota=quota)

    create_one("a")
    create_one("b")
    with pytest.raises(errors.QuotaExceeded, match="Instance i has 2 email addresses, which is its quota"):
        create_one("c")
    create_one("c", "j")
    with pytest.raises(errors.QuotaExceeded):
        create_one("d", quota=1)
    create_one("d", quota=None)
    for name in ("a", "b"):
        email_addresses.delete(tx, TENANT, "i", name)
    create_one("a")


def test_a_call_that_is_repeated_needs_no_room_in_the_quota(tx, instance):
    def create_one(name):
        call = tokened(fingerprint=name.encode(), token=name)
        email_address = an_email_address(name)
        return email_addresses.create(tx, TENANT, email_address, tags={}, quota=1, call=call)

    assert create_one("a") == "a"
    assert create_one("a") == "a"
    with pytest.raises(errors.QuotaExceeded):
        create_one("b")
    email_addresses.delete(tx, TENANT, "i", "a")
    assert create_one("b") == "b"


def remember(tx, *ages):
    for days in ages:
        idempotency.once(tx, tokened(token=f"{days}"), now=NOW - timedelta(days=days), effect=lambda: "done")


def remembered(tx, *ages):
    return [days for days in ages if tx.claim_call(tokened(token=f"{days}").key)]


def test_what_counts_no_more_is_forgotten(tx):
    remember(tx, 0, 6, 7, 8, 100)

    assert idempotency.purge(tx, now=NOW, retention=timedelta(days=7)) is False

    # What is as old as the retention does not count any more, and goes a moment later.
    assert remembered(tx, 0, 6, 7, 8, 100) == [0, 6, 7]


def test_much_is_forgotten_bit_by_bit_the_oldest_first(tx, monkeypatch):
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 2)
    remember(tx, 10, 8, 12, 11, 1)
    steps = []
    while idempotency.purge(tx, now=NOW, retention=timedelta(days=7)):
        steps.append(remembered(tx, 1, 8, 10, 11, 12))

    assert steps == [[1, 8, 10], [1]]
    assert remembered(tx, 1, 8, 10, 11, 12) == [1]


def test_a_call_that_was_made_anew_is_remembered_from_then_on(tx):
    idempotency.once(tx, tokened(), now=NOW - timedelta(days=8), effect=lambda: "first")
    idempotency.once(tx, tokened(), now=NOW, effect=lambda: "second")
    idempotency.purge(tx, now=NOW + timedelta(days=6), retention=timedelta(days=7))

    assert idempotency.once(tx, tokened(), now=NOW + timedelta(days=6), effect=lambda: "third") == "second"
