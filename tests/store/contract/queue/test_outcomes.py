"""The data of a message after its deliveries have ended: inbox, dead letters, trace and bytes, and finding messages."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import all_deliveries_of, create, kinds
from tests.kit.stores.queue_calls import HERE, RAW, SECOND, add, claim, one, queue_up
from tests.kit.values import NOW, TENANT, a_delivery, a_line, a_message
from waypost.app.ports import DeadLetter
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.messages import first_id

OTHER_ACCOUNT = "1" * 12


def a_dead(name, message_id, **fields):
    return a_delivery(name, message_id, status=Status.DEAD, **fields)


def an_arrived(name="x", message_id="m1", **fields):
    return a_delivery(name, message_id, **{"status": Status.DELIVERED, "kept": True, "to": ""} | fields)


# The inbox


def test_an_inbox_contains_exactly_the_deliveries_that_are_kept(store):
    add(store, an_arrived("x", "m1"))
    add(store, an_arrived("x", "m2", kept=False, to=HERE))
    add(store, a_delivery("x", "m3", kept=True))
    add(store, a_dead("x", "m4", kept=False))
    add(store, an_arrived("x", "m5", to=HERE))

    def inbox(**options):
        options = {"after": None, "limit": 9} | options
        found = store.long_read(lambda tx: tx.deliveries_at(TENANT.account, "x@example.com", **options))
        return [message.id for _, message in found]

    assert inbox() == ["m5", "m3", "m1"]
    assert inbox(limit=2) == ["m5", "m3"]
    assert inbox(after="m3") == ["m1"]
    deliveries = store.long_read(lambda tx: tx.deliveries_of(TENANT.account, "m2"))
    assert [(each.kept, each.destination) for each in deliveries] == [(False, HERE)]


def test_the_deliveries_to_an_address_are_listed_whether_or_not_they_are_kept(store):
    for number, kept in enumerate([True, False, True]):
        add(store, an_arrived("x", f"m{number}", kept=kept))
    add(store, an_arrived("y", "m3"), an_arrived("x", "m3", account=OTHER_ACCOUNT))

    def listed(**options):
        options = {"after": None, "limit": 9} | options
        found = store.long_read(lambda tx: tx.deliveries_to(TENANT.account, "x@example.com", **options))
        return [(delivery.id, message.id) for delivery, message in found]

    assert listed() == [("m2.x", "m2"), ("m1.x", "m1"), ("m0.x", "m0")]
    assert listed(after="m2", limit=1) == [("m1.x", "m1")]


# Dead letters


@pytest.fixture
def store_with_dead_letters(store):
    """A store with dead letters of m1 to m4, received one second apart, and with other deliveries.

    m2 has two dead letters. The dead letter of m3 belongs to another account.
    """
    for number in (4, 2, 1):
        deliveries = [a_dead("x", f"m{number}"), a_delivery("q", f"m{number}"), an_arrived("a", f"m{number}")]
        add(store, *deliveries, *[a_dead("y", "m2")] * (number == 2), received_at=NOW + number * SECOND)
    add(store, a_dead("x", "m3", account=OTHER_ACCOUNT), received_at=NOW + 3 * SECOND)
    return store


def dead_letters(store, account=TENANT.account, **options):
    given = {"address_key": None, "since": None, "after": "", "limit": 9} | options
    return store.long_read(lambda tx: tx.dead_letters(account, **given))


def dead(store, *account, **options):
    return [letter.delivery.id for letter in dead_letters(store, *account, **options)]


def test_dead_letters_are_listed_in_pages_in_the_order_of_their_ids(store_with_dead_letters):
    assert dead(store_with_dead_letters) == ["m1.x", "m2.x", "m2.y", "m4.x"]
    assert dead(store_with_dead_letters, limit=2) == ["m1.x", "m2.x"]
    assert dead(store_with_dead_letters, after="m2.x", limit=2) == ["m2.y", "m4.x"]
    assert dead(store_with_dead_letters, after="m4.x") == []
    assert dead(store_with_dead_letters, OTHER_ACCOUNT) == ["m3.x"]
    assert dead(store_with_dead_letters, "2" * 12) == []


def test_dead_letters_can_be_limited_to_an_address_and_a_start_time(store_with_dead_letters):
    assert dead(store_with_dead_letters, address_key="y@example.com") == ["m2.y"]
    assert dead(store_with_dead_letters, address_key="q@example.com") == []
    assert dead(store_with_dead_letters, since=NOW + 2 * SECOND) == ["m2.x", "m2.y", "m4.x"]
    assert dead(store_with_dead_letters, since=NOW + 2 * SECOND, address_key="x@example.com", after="m2.x") == ["m4.x"]
    assert dead(store_with_dead_letters, since=NOW + 5 * SECOND) == []


def test_dead_letters_can_be_limited_to_a_destination(store):
    add(store, a_dead("x", "m1"), replace(a_dead("y", "m1"), destination="smtp://other.example:25"))
    assert dead(store, destination="smtp://other.example:25") == ["m1.y"]
    assert dead(store, destination="smtp://no.example:25") == []
    found = store.long_read(lambda tx: tx.dead_destinations(TENANT.account, limit=9))
    assert sorted(found) == sorted({a_dead("x", "m1").destination, "smtp://other.example:25"})
    assert store.long_read(lambda tx: tx.dead_destinations(OTHER_ACCOUNT, limit=9)) == []


def given_up(letter, at):
    return lambda tx: tx.put_given_up(letter, at=at, because="550 no")


def test_dead_letters_can_be_limited_to_those_given_up_before_a_time(store):
    """A dead letter whose time is unknown counts from its arrival."""
    first, second, third = (first_id(NOW + number * SECOND) for number in (1, 2, 3))
    letters = add(store, a_dead("x", first), a_dead("y", first), received_at=NOW + SECOND)
    letters += add(store, a_dead("x", second), received_at=NOW + 2 * SECOND)
    add(store, a_dead("x", third), received_at=NOW + 3 * SECOND)
    for letter, seconds in zip(letters, (5, 3, 9), strict=True):
        store.write(given_up(letter, NOW + seconds * SECOND))
    before = {number: dead(store, given_up_before=NOW + number * SECOND) for number in (1, 3, 4, 6, 10)}
    assert before == {
        1: [],
        3: [],
        4: [f"{first}.y", f"{third}.x"],
        6: [f"{first}.x", f"{first}.y", f"{third}.x"],
        10: [f"{first}.x", f"{first}.y", f"{second}.x", f"{third}.x"],
    }
    assert dead(store, given_up_before=NOW + 10 * SECOND, after=f"{first}.y", limit=1) == [f"{second}.x"]


def test_the_accounts_with_dead_letters_are_found_in_their_order(store_with_dead_letters):
    def after(account):
        return store_with_dead_letters.read(lambda tx: tx.account_with_dead_letters(after=account))

    accounts = sorted([TENANT.account, OTHER_ACCOUNT])
    assert [after(""), after(accounts[0]), after(accounts[1])] == [*accounts, None]


def test_dead_letters_are_counted_up_to_a_limit(store_with_dead_letters):
    def count(account=TENANT.account, **options):
        given = {"address_key": None, "since": None, "up_to": 9} | options
        return store_with_dead_letters.long_read(lambda tx: tx.count_dead_letters(account, **given))

    assert (count(), count(up_to=2), count(OTHER_ACCOUNT), count("2" * 12)) == (4, 2, 1, 0)
    assert (count(address_key="y@example.com"), count(since=NOW + 2 * SECOND)) == (1, 3)


def test_a_dead_letter_has_all_its_fields_and_is_not_listed_after_a_redrive(store):
    (given,) = add(store, a_dead("x", "m1", reason=Reason.FORWARDED, via="a@example.com"))
    listed = store.long_read(
        lambda tx: tx.dead_letters(TENANT.account, address_key=None, since=None, after="", limit=9)
    )
    assert listed == [DeadLetter(given, a_message(), None, "")]

    def redrive(tx):
        assert tx.enqueue(given, now=NOW)
        tx.update_delivery(given, status=Status.QUEUED, kept=given.kept, destination=given.destination)

    store.write(redrive)
    assert dead(store) == []
    assert claim(store, given.destination)[0].delivery == replace(given, status=Status.QUEUED)


def test_a_dead_letter_has_the_time_and_reason_of_the_last_time_it_was_given_up(store):
    one, other = add(store, a_dead("x", "m1"), a_dead("y", "m1"))
    store.write(lambda tx: tx.put_given_up(one, at=NOW, because="550 no"))
    store.write(lambda tx: tx.put_given_up(one, at=NOW + SECOND, because="550 nö"))
    listed = store.long_read(
        lambda tx: tx.dead_letters(TENANT.account, address_key=None, since=None, after="", limit=9)
    )
    assert [(letter.delivery, letter.given_up_at, letter.because) for letter in listed] == [
        (one, NOW + SECOND, "550 nö"),
        (other, None, ""),
    ]


@pytest.mark.parametrize("reason", Reason)
def test_a_delivery_of_each_reason_is_stored_with_all_its_fields(store, reason):
    given = an_arrived(reason=reason)
    add(store, an_arrived("y"))
    store.write(lambda tx: tx.add_delivery(given))
    assert store.read(lambda tx: tx.delivery("m1", "x")) == given


def test_an_unknown_status_is_refused(store, engine):
    (given,) = add(store, an_arrived())
    with pytest.raises(engine.refusal):
        store.write(lambda tx: tx.connection.execute("UPDATE deliveries SET status = 'lost'"))
    assert store.read(lambda tx: tx.delivery("m1", "x")) == given


def test_all_deliveries_of_a_message_are_listed_for_all_accounts(store):
    add(store, an_arrived("x"), a_dead("y", "m1", account=OTHER_ACCOUNT, reason=Reason.FORWARDED))
    add(store, an_arrived("x", "m2"))
    assert [each.id for each in store.long_read(lambda tx: all_deliveries_of(tx, "m1"))] == ["m1.x", "m1.y"]
    assert store.long_read(lambda tx: all_deliveries_of(tx, "m3")) == []


def test_the_accounts_with_addresses_in_a_domain_are_found(store, instance):
    create(store, "x")

    def has(domain, account=TENANT.account):
        return store.read(lambda tx: tx.has_address_in(account, domain))

    def others_have(domain, account):
        return store.read(lambda tx: tx.others_have_address_in(account, domain))

    assert has("example.com")
    assert not any(map(has, ["ample.com", "example.org", "x.example.com", "example.co", "com", "%", ""]))
    assert not has("example.com", OTHER_ACCOUNT)
    assert others_have("example.com", OTHER_ACCOUNT)
    assert others_have("example.com", "0")  # this account sorts before the owner
    assert not others_have("example.com", TENANT.account)
    assert not others_have("example.org", OTHER_ACCOUNT)


# The trace


def events(store, message_id="m1"):
    return [event.kind for event in store.long_read(lambda tx: tx.trace(message_id))]


def test_new_events_are_appended_to_the_trace(store):
    add(store, an_arrived())
    add(store, an_arrived("x", "m2"))
    later = a_line("deferred", NOW + SECOND, because="ü", attempt=1)
    store.write(lambda tx: tx.add_events("m1", [later, a_line("dead")]))
    store.write(lambda tx: tx.add_events("m1", []))
    store.write(lambda tx: tx.add_events("m1", [a_line("redriven")]))
    assert events(store) == ["accepted", "deferred", "dead", "redriven"]
    assert store.long_read(lambda tx: tx.trace("m1"))[1] == later
    assert events(store, "m2") == ["accepted"]


def test_events_that_are_added_at_the_same_time_are_all_stored_and_stay_together(store, race):
    add(store, an_arrived())
    outcomes = race(
        *(lambda tx, n=n: tx.add_events("m1", [a_line(f"{n} begins"), a_line(f"{n} ends")]) for n in range(12))
    )
    assert kinds(outcomes) == {"done": 12}
    found = events(store)[1:]
    assert sorted(found[::2]) == sorted(f"{n} begins" for n in range(12))
    assert [each.replace("begins", "ends") for each in found[::2]] == found[1::2]


def test_concurrent_outcomes_of_one_message_do_not_deadlock(store, race):
    names = [f"e{number}" for number in range(8)]
    add(store, *(a_delivery(name) for name in names))

    def record(tx, name):
        new = an_arrived(f"of {name}".replace(" ", "-"), reason=Reason.RETURNED)
        tx.add_delivery(new)
        tx.update_delivery(a_delivery(name), status=Status.DELIVERED, kept=False, destination=HERE)
        tx.add_events("m1", [a_line(name)])

    assert kinds(race(*(lambda tx, name=name: record(tx, name) for name in names))) == {"done": 8}
    assert sorted(events(store)[1:]) == names


# The bytes


def octets(store, message_id="m1"):
    return store.long_read(lambda tx: tx.octets(message_id, start=0, limit=9))


NEEDED = {
    "kept": an_arrived("y"),
    "queued": a_delivery("y"),
    "dead": a_dead("y", "m1"),
    "dead, of another account": a_dead("y", "m1", account=OTHER_ACCOUNT),
}


@pytest.mark.parametrize("other", NEEDED.values(), ids=NEEDED)
def test_bytes_that_a_delivery_needs_are_not_deleted(store, other):
    add(store, an_arrived(kept=False), other)
    assert store.write(lambda tx: tx.remove_octets_if_spent("m1")) is False
    assert octets(store) == RAW


def test_bytes_that_no_delivery_needs_are_deleted_but_the_message_stays(store):
    add(store, an_arrived(kept=False), an_arrived("y", kept=False))
    add(store, an_arrived("x", "m2"))
    assert store.write(lambda tx: tx.remove_octets_if_spent("m1")) is True
    assert store.write(lambda tx: tx.remove_octets_if_spent("m1")) is False
    assert (octets(store), octets(store, "m2")) == (b"", RAW)
    assert store.long_read(lambda tx: tx.message(TENANT.account, "m1")).size == len(RAW)
    assert events(store) == ["accepted"]


def test_the_last_of_several_deliveries_that_end_at_the_same_time_deletes_the_bytes(store, race):
    deliveries = add(store, *(a_delivery(f"e{number}") for number in range(8)))

    def ends(tx, delivery):
        tx.update_delivery(delivery, status=Status.DELIVERED, kept=False, destination=HERE)
        return tx.remove_octets_if_spent("m1")

    outcomes = race(*(lambda tx, each=each: ends(tx, each) for each in deliveries))
    assert sorted(outcomes) == [False] * 7 + [True]
    assert octets(store) == b""


# Finding messages


def test_messages_are_found_by_their_message_id_header_newest_first(store):
    long = "ü" * 998
    for number, header_id in enumerate(["a@b", "a@b", "A@b", "", long, long[:-1], "a@b"]):
        delivery = an_arrived("x", f"m{number}", account=OTHER_ACCOUNT if number == 6 else TENANT.account)
        add(store, delivery, header_id=header_id)

    def found(header_id, account=TENANT.account, limit=9):
        listed = store.long_read(lambda tx: tx.messages_with_header_id(account, header_id, limit=limit))
        return [each.id for each in listed]

    assert (found("a@b"), found("a@b", limit=1)) == (["m1", "m0"], ["m1"])
    assert (found("A@b"), found("a@b", OTHER_ACCOUNT)) == (["m2"], ["m6"])
    assert (found(long), found(long[:-1])) == (["m4"], ["m5"])
    assert found("") == found("nobody's") == []


def test_messages_of_all_accounts_are_found_between_two_ids(store):
    for number in range(4):
        add(store, an_arrived("x", f"m{number}", account=f"{number}" * 12), is_authentic=number == 1)
    found = store.long_read(lambda tx: tx.messages_between("m1", "m2", limit=9))
    assert [(each.id, each.is_authentic) for each in found] == [("m1", True), ("m2", False)]
    assert [each.id for each in store.long_read(lambda tx: tx.messages_between("", "~", limit=3))] == ["m0", "m1", "m2"]
    assert store.long_read(lambda tx: tx.messages_between("m2", "m1", limit=9)) == []


def test_a_time_in_the_queue_is_stored_to_the_millisecond(store):
    moment = NOW + timedelta(milliseconds=7)
    queue_up(store, "m1", at=moment)
    assert one(store, now=moment).queued.queued_at == moment
