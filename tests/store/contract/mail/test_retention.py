"""Deleting old mail on both stores: what the retention rules delete, and what is never deleted."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import create, delete
from tests.kit.values import NOW, TENANT, a_line
from waypost.app import ports
from waypost.app.mail import accept, retention
from waypost.domain.directory import addresses
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Envelope, Message
from waypost.domain.mail.retention import Delivered, Inbox, Rule
from waypost.store.common.transaction.messages import PIECE

DAY = timedelta(days=1)
MAIL_TABLES = ("messages", "message_bodies", "deliveries", "trace_events", "messages_begun")
MONTH = Rule("*", age=30 * DAY)
MIB = 1024 * 1024


@pytest.fixture
def system(store, instance):
    """A store with the email addresses a and b in the instance i. The email address c was deleted."""
    create(store, "a", "b", "c")
    delete(store, "c")
    return store


def inbox(name, account=TENANT.account):
    return Inbox(account, f"{name}@example.com")


def a_delivery(message_id, name, *, account=TENANT.account, **options):
    fields = {
        "message_id": message_id,
        "email_address_id": name,
        "account": account,
        "address": addresses.parse(f"{name}@example.com"),
        "reason": Reason.DIRECT,
        "sent_to": f"{name}@example.com",
        "via": None,
        "status": Status.DELIVERED,
        "trace_header": b"Received: here\r\n",
    }
    return Delivery(**fields | options)


def keep(store, *names, ago=0, raw=b"Subject: Hello\r\n\r\nHi\r\n", number=0, **options):
    """Store a message that was delivered to these names `ago` days ago, and return its id.

    `number` orders the messages of one day.
    """
    at = NOW - ago * DAY
    message_id = messages.new_id(at, number, b"\x01" * 8)
    envelope = Envelope(
        sender="ann@example.org", recipients=tuple(names), helo="client", peer="192.0.2.1", protocol="ESMTP"
    )
    message = Message(id=message_id, envelope=envelope, received_at=at, size=len(raw), subject="Hello")
    deliveries = [a_delivery(message_id, name, **options) for name in names]
    trace = [a_line("accepted", at, size=len(raw)), a_line("delivered", at)]
    store.write(lambda tx: tx.add_message(message, raw, deliveries, trace))
    return message_id


def kept(store, name, **of_inbox):
    """Return the ids of the messages of an address, newest first."""
    return [
        each.message_id
        for each in store.long_read(lambda tx: tx.delivered(inbox(name, **of_inbox), before="~", limit=999))
    ]


def run(store, what, *rules, now=NOW):
    """Run a purge or a plan. Return, by address, the number of deliveries and bytes that it deletes or would delete."""

    async def all_of_it():
        return [of async for of in what(store.store, rules, now=now)]

    return {of.inbox.address_key.partition("@")[0]: (of.deliveries, of.octets) for of in store.run(all_of_it())}


def purge(store, *rules, **options):
    """Purge, and check that a plan before it reports the same deletions and changes nothing."""
    before = store.count(*MAIL_TABLES)
    planned = run(store, retention.plan, *rules, **options)
    assert store.count(*MAIL_TABLES) == before
    deleted = run(store, retention.purge, *rules, **options)
    assert deleted == planned
    assert run(store, retention.plan, *rules, **options) == {}
    return deleted


def nothing(store):
    return store.count(*MAIL_TABLES) == dict.fromkeys(MAIL_TABLES, 0)


# Addresses with mail


def test_addresses_with_mail_are_listed_in_pages_once_each(system):
    for number, (name, account) in enumerate([("b", "1"), ("a", "2"), ("a", "1"), ("c", "1"), ("b", "3")]):
        for more in range(3):
            keep(system, name, account=account, ago=more, number=number)
    expected = [inbox("a", "1"), inbox("b", "1"), inbox("c", "1"), inbox("a", "2"), inbox("b", "3")]
    for limit in (1, 2, 4, 5, 6):
        found, after = [], None
        while page := system.long_read(retention.addresses_with_mail, after=after, limit=limit):
            assert len(page) == min(limit, len(expected) - len(found))
            found += page
            after = page[-1]
        assert found == expected


def test_a_store_without_mail_has_no_addresses_and_nothing_to_purge(system):
    assert system.long_read(retention.addresses_with_mail, after=None) == []
    assert purge(system, MONTH) == {}


def test_addresses_are_listed_in_the_same_order_on_both_stores(system):
    names = ["a-b", "a", "a.b", "ab", "a_b"]
    for number, name in enumerate(names):
        keep(system, name, number=number)
    found = system.long_read(retention.addresses_with_mail, after=None)
    assert [each.address_key for each in found] == sorted(f"{name}@example.com" for name in names)


# Mail that is deleted


def test_a_message_that_is_too_old_is_deleted_with_all_its_data(system):
    keep(system, "a", ago=31)
    keep(system, "b", ago=45)
    assert purge(system, MONTH) == {"a": (1, 22), "b": (1, 22)}
    assert nothing(system)


def test_a_message_that_is_young_enough_is_not_deleted(system):
    young = keep(system, "a", ago=29)
    keep(system, "a", ago=31)
    assert purge(system, MONTH) == {"a": (1, 22)}
    assert kept(system, "a") == [young]
    assert system.long_read(lambda tx: tx.octets(young, start=0, limit=99)) == b"Subject: Hello\r\n\r\nHi\r\n"
    assert len(system.long_read(lambda tx: tx.trace(young))) == 2
    assert purge(system, MONTH, now=NOW + DAY) == {}
    assert purge(system, MONTH, now=NOW + DAY + timedelta(milliseconds=1)) == {"a": (1, 22)}
    assert nothing(system)


def test_nothing_is_deleted_without_a_rule(system):
    keep(system, "a", ago=9_999)
    assert purge(system) == {}
    assert purge(system, Rule("b@example.com", age=DAY), Rule("a@example.com")) == {}


def test_mail_above_the_size_limit_is_deleted_oldest_first(system):
    newest, second, *_ = [keep(system, "a", ago=ago) for ago in range(5)]
    keep(system, "b", ago=9)
    assert purge(system, Rule("*", size=44)) == {"a": (3, 66)}
    assert kept(system, "a") == [newest, second]
    assert len(kept(system, "b")) == 1


def test_batches_that_are_smaller_than_an_inbox_give_the_same_result(system, monkeypatch):
    ids = [keep(system, "a", number=number) for number in range(25)]
    monkeypatch.setattr(retention, "PURGED_AT_ONCE", 3)
    monkeypatch.setattr(retention, "INBOXES_AT_ONCE", 1)
    monkeypatch.setattr(retention, "READ_AT_ONCE", 4)
    assert purge(system, Rule("*", size=7 * 22 + 21)) == {"a": (18, 18 * 22)}
    assert kept(system, "a") == ids[:17:-1]
    assert purge(system, Rule("*", age=DAY), now=NOW + 2 * DAY) == {"a": (7, 7 * 22)}
    assert nothing(system)


class Slow:
    """A store whose long reads take too long if they read more than `most` rows."""

    def __init__(self, store, *, most):
        self.store, self.most = store, most
        self.refused = 0

    async def long_read(self, use_case, *, what):
        return await self.store.long_read(lambda tx: use_case(SimpleNamespace(**self._slow(tx, what))), what=what)

    def _slow(self, tx, what):
        def limited(read):
            def limited_read(*args, limit, **options):
                if limit > self.most:
                    self.refused += 1
                    raise ports.TookTooLong(what, 5)
                return read(*args, limit=limit, **options)

            return limited_read

        return {
            "inboxes": limited(tx.inboxes),
            "delivered": limited(tx.delivered),
            "email_address_by_key": tx.email_address_by_key,
        }

    async def write(self, use_case, **_):
        return await self.store.write(use_case)


def test_a_purge_on_a_slow_store_retries_with_smaller_reads(system):
    ids = [keep(system, "a", number=number, ago=31) for number in range(7)] + [keep(system, "a")]
    slow = Slow(system.store, most=2)

    async def purged():
        return [(of.deliveries, of.octets) async for of in retention.purge(slow, [MONTH], now=NOW)]

    assert system.run(purged()) == [(7, 7 * 22)]
    assert slow.refused
    assert kept(system, "a") == ids[-1:]


def test_a_purge_that_cannot_read_one_row_in_time_raises_the_error(system):
    async def purged():
        return [of async for of in retention.purge(Slow(system.store, most=0), [MONTH], now=NOW)]

    with pytest.raises(ports.TookTooLong, match="The store stopped reading the addresses with mail, because"):
        system.run(purged())


# Messages with several deliveries


def test_a_message_in_two_inboxes_is_deleted_with_the_last_delivery(system):
    both = keep(system, "a", "b", ago=31)
    of_a = Rule("a@example.com", age=DAY)
    assert purge(system, of_a) == {"a": (1, 22)}
    assert kept(system, "b") == [both]
    assert system.long_read(lambda tx: tx.octets(both, start=0, limit=99))
    assert len(system.long_read(lambda tx: tx.trace(both))) == 2
    assert purge(system, of_a, MONTH) == {"b": (1, 22)}
    assert nothing(system)


def test_bytes_that_only_an_inbox_needed_are_deleted_but_a_forwarded_message_keeps_its_trace(system):
    message_id = keep(system, "a", "b", ago=31)
    sent_on = {"status": Status.DELIVERED, "kept": False, "destination": "mx:example.com"}
    system.write(lambda tx: tx.update_delivery(tx.delivery(message_id, "b"), **sent_on))
    assert purge(system, Rule("a@example.com", age=DAY)) == {"a": (1, 22)}
    assert system.count("messages", "message_bodies", "deliveries") == {
        "messages": 1,
        "message_bodies": 0,
        "deliveries": 1,
    }
    assert len(system.long_read(lambda tx: tx.trace(message_id))) == 2


def test_a_delivery_that_is_not_kept_is_deleted_by_age_and_counts_no_bytes(system):
    for ago in (1, 31):
        keep(system, "a", ago=ago, kept=False, destination="mx:example.com")
    assert purge(system, Rule("*", size=1)) == {}
    assert purge(system, MONTH) == {"a": (1, 0)}
    assert system.count("messages", "deliveries") == {"messages": 1, "deliveries": 1}


# Mail that is never deleted


@pytest.mark.parametrize("status", [Status.QUEUED, Status.DEAD])
@pytest.mark.parametrize("kept_too", [True, False])
def test_queued_deliveries_and_dead_letters_are_never_deleted(system, status, kept_too):
    keep(system, "a", ago=999, status=status, kept=kept_too, destination="smtp://peer.example:25")
    before = system.count(*MAIL_TABLES, "queue")
    assert purge(system, Rule("*", age=DAY, size=1)) == {}
    assert system.count(*MAIL_TABLES, "queue") == before


def test_a_message_stays_as_long_as_another_delivery_of_it_is_queued(system):
    message_id = keep(system, "a", ago=31)
    waiting = a_delivery(message_id, "b", status=Status.QUEUED, kept=False, destination="mx:example.com")

    def add(tx):
        tx.add_delivery(waiting)
        tx.enqueue(waiting, now=NOW)

    system.write(add)
    assert purge(system, MONTH) == {"a": (1, 22)}
    assert system.long_read(lambda tx: tx.octets(message_id, start=0, limit=99))
    assert system.count("queue", "deliveries") == {"queue": 1, "deliveries": 1}


def test_a_delivery_that_is_redriven_just_before_the_purge_is_not_deleted(system):
    message_id = keep(system, "a", ago=31)
    found = system.long_read(retention.due, [MONTH], inbox("a"), now=NOW)
    assert [each.message_id for each in found.going] == [message_id]
    delivered = system.long_read(lambda tx: tx.delivery(message_id, "a"))
    again = replace(delivered, status=Status.QUEUED, destination="mx:example.com")

    def redrive(tx):
        tx.update_delivery(again, status=Status.QUEUED, kept=True, destination=again.destination)
        tx.enqueue(again, now=NOW)

    system.write(redrive)
    assert system.write(retention.purge_some, inbox("a"), found.going, now=NOW) == ([], [])
    assert system.count("queue", "deliveries", "messages") == {"queue": 1, "deliveries": 1, "messages": 1}


def test_a_delivery_that_is_already_deleted_is_not_counted_again(system):
    keep(system, "a", ago=31)
    found = system.long_read(retention.due, [MONTH], inbox("a"), now=NOW).going
    assert system.write(retention.purge_some, inbox("a"), found, now=NOW) == (found, [])
    assert system.write(retention.purge_some, inbox("a"), found, now=NOW) == ([], [])
    assert nothing(system)


def test_the_mail_of_another_account_for_the_same_address_is_not_deleted(system):
    other = keep(system, "c", account="999999999999", ago=31)
    keep(system, "c", ago=31, number=1)
    found = system.long_read(retention.due, [MONTH], inbox("c"), now=NOW).going
    both = [*found, Delivered(other, NOW, 22, kept=True)]
    assert len(system.write(retention.purge_some, inbox("c"), both, now=NOW)[0]) == 1
    assert kept(system, "c", account="999999999999") == [other]


# Rules for an instance


def test_a_rule_for_an_instance_applies_only_to_its_email_addresses(system):
    of_the_instance = Rule("instance:i", age=DAY)
    for number, (name, account) in enumerate([("a", TENANT.account), ("a", "999999999999"), ("c", TENANT.account)]):
        keep(system, name, account=account, ago=31, number=number)
    assert purge(system, of_the_instance) == {"a": (1, 22)}
    assert kept(system, "a") == []
    assert len(kept(system, "a", account="999999999999")) == len(kept(system, "c")) == 1
    assert purge(system, of_the_instance, Rule("*@example.com", age=DAY))["c"] == (1, 22)
    assert nothing(system)


# Large messages


def test_a_large_message_is_deleted_piece_by_piece(system):
    message_id = keep(system, "a", ago=31, raw=b"x" * (5 * MIB))
    small = keep(system, "a", ago=32)
    found = system.long_read(retention.due, [MONTH], inbox("a"), now=NOW).going
    deleted, left = system.write(retention.purge_some, inbox("a"), found, now=NOW)
    assert ({each.message_id for each in deleted}, left) == ({message_id, small}, [message_id])
    assert system.count(*MAIL_TABLES) == dict.fromkeys(MAIL_TABLES, 0) | {
        "message_bodies": 5 * MIB // PIECE,
        "messages_begun": 1,
    }
    assert system.long_read(accept.unfinished, begun_before=NOW + DAY) == [message_id]
    assert system.write(accept.forget_octets, message_id)
    assert system.count("message_bodies") == {"message_bodies": 5 * MIB // PIECE - accept.FORGOTTEN_AT_ONCE}
    while system.write(accept.forget_octets, message_id):
        pass
    assert nothing(system)


def test_large_messages_are_deleted_completely_in_the_end(system):
    for number in range(3):
        keep(system, "a", "b", ago=31, number=number, raw=b"x" * (MIB + 7))
    keep(system, "a", ago=31, number=9, raw=b"x" * (3 * MIB))
    keep(system, "a", ago=31, number=10, raw=b"")
    assert purge(system, MONTH) == {"a": (5, 6 * MIB + 21), "b": (3, 3 * MIB + 21)}
    assert nothing(system)


# Concurrent purges


def test_concurrent_purges_delete_the_message_with_its_last_delivery_once(system, race):
    found = {}
    for number in range(20):
        keep(system, "a", "b", ago=31, number=number)
    for name in ("a", "b"):
        found[name] = system.long_read(retention.due, [MONTH], inbox(name), now=NOW).going

    outcomes = race(
        *(
            lambda tx, name=name, n=n: retention.purge_some(tx, inbox(name), found[name][n : n + 5], now=NOW)
            for n in range(0, 20, 5)
            for name in ("a", "b", "a")
        )
    )
    assert [each for each in outcomes if isinstance(each, BaseException)] == []
    assert sum(len(deleted) for deleted, _ in outcomes) == 40
    assert nothing(system)
