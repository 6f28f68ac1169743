"""What the background job notes on both stores: changes in order, and counts."""

from datetime import timedelta

import pytest

from tests.kit.values import NOW, TENANT, a_line
from tests.store.contract.mail.test_mail_index import OTHER, SECOND, keep, note
from tests.store.contract.mail.test_refusals import a_refusal, add
from waypost.app import ports
from waypost.app.mail import changes, counting, deleting, noting
from waypost.domain.mail.delivery import Reason, Status

MINUTE = timedelta(minutes=1)


def changed(store, *, account=TENANT.account, after=0, limit=100):
    found = store.long_read(changes.after, account, after, limit=limit)
    return [(one.change.kind, [delivery.email_address_id for delivery, _ in one.deliveries]) for one in found]


def test_new_messages_and_events_are_changes_in_the_order_in_which_they_were_noted(store):
    first = keep(store, 0, ("a", {}), ("p", {"reason": Reason.FORWARDED}), ("z", {"account": OTHER}))
    note(store)
    store.write(lambda tx: tx.add_events(first, [a_line("dead", NOW + SECOND, address="p@example.com", because="x")]))
    keep(store, 2)
    note(store)
    found = [("new", ["a", "p"]), ("new", ["a"]), ("dead", ["p"])]
    assert sorted(changed(store)) == sorted(found)
    assert changed(store)[0] == found[0]
    assert changed(store, account=OTHER) == [("new", ["z"])]
    numbers = [one.number for one in store.long_read(lambda tx: tx.changes(TENANT.account, after=0, limit=9))]
    assert numbers == sorted(numbers)
    assert len(changed(store, after=numbers[0])) == 2
    assert len(changed(store, limit=2)) == 2
    assert store.long_read(lambda tx: tx.change_bounds()) == (1, 4) or store.engine.name == "postgres"


def listed(store, *, after=0, limit=100):
    return store.long_read(changes.listed_after, TENANT.account, after, limit=limit)


def test_lists_read_what_they_show_of_the_messages_that_changed(store):
    forwarded = {"reason": Reason.FORWARDED, "via": "a@example.com", "status": Status.DEAD}
    first = keep(store, 0, ("a", {}), ("p", forwarded), ("z", {"account": OTHER}), subject="Hi", sender="ann@x.example")
    gone = keep(store, 1, ("b", {"status": Status.DELIVERED}))
    note(store)
    store.write(deleting.delete_some, TENANT.account, [gone], cancel=False, now=NOW)
    found = {one.message_id: one.message for one in listed(store)}
    message = found.pop(first)
    assert (message.id, message.sender, message.subject, message.received_at) == (first, "ann@x.example", "Hi", NOW)
    shown = {(one.address.text, one.via, one.reason, one.status) for one in message.deliveries}
    assert shown == {
        ("a@example.com", None, Reason.DIRECT, Status.QUEUED),
        ("p@example.com", "a@example.com", Reason.FORWARDED, Status.DEAD),
    }
    assert found == {gone: None}


def test_lists_do_not_read_very_many_changes_or_deliveries(store, monkeypatch):
    for seconds in range(4):
        keep(store, seconds, ("a", {}), ("p", {}))
    note(store)
    (*_, last) = listed(store)
    assert listed(store, limit=2) == listed(store)[:2]
    monkeypatch.setattr(changes, "DELIVERIES_OF_LISTS", 7)
    assert listed(store) == [changes.Many(last.number)]
    monkeypatch.undo()
    monkeypatch.setattr(changes, "MANY", 3)
    assert listed(store) == [changes.Many(last.number)]
    assert listed(store, after=last.number) == []


def test_an_event_that_is_committed_late_is_noted(store):
    message_id = keep(store, 0)
    note(store)
    for ago in (0, -3):  # the second is committed later, with an earlier time
        line = a_line("deferred", NOW + ago * SECOND, address="a@example.com", until="", because="x", attempt=1)
        store.write(lambda tx, line=line: tx.add_events(message_id, [line]))
        note(store)
    assert [kind for kind, _ in changed(store)] == ["new", "deferred", "deferred"]


def test_an_event_is_noted_once_by_all_servers(store):
    message_id = keep(store, 0)
    store.write(lambda tx: tx.add_events(message_id, [a_line("dead", address="a@example.com", because="x")]))
    seen = store.long_read(noting.look, noting.Progress(), NOW)
    store.write(noting.note, seen, now=NOW)
    store.another().write(noting.note, seen, now=NOW)
    assert sorted(kind for kind, _ in changed(store)) == ["dead", "new"]
    assert store.long_read(lambda tx: tx.mail_counts(TENANT.account, since=NOW - MINUTE)) == [
        ports.Count(int(NOW.timestamp()) // 60, kind, 1) for kind in ("accepted", "dead")
    ]


def test_an_event_of_a_delivery_that_was_deleted_belongs_to_no_account(store):
    message_id = keep(store, 0)
    store.write(lambda tx: tx.add_events(message_id, [a_line("dead", address="gone@example.com", because="x")]))
    assert note(store) == 1
    assert [kind for kind, _ in changed(store)] == ["new"]


def test_mail_from_before_the_first_start_is_noted_but_not_followed_or_counted(store):
    keep(store, -2 * 24 * 3600)
    keep(store, -2 * 3600)
    assert note(store) == 2
    assert changed(store) == []
    counts = store.long_read(lambda tx: tx.mail_counts(TENANT.account, since=NOW - timedelta(days=3)))
    assert [(one.kind, one.count) for one in counts] == [("accepted", 1)]


def test_old_changes_and_counts_are_deleted(store, monkeypatch):
    monkeypatch.setattr(noting, "CHANGES_KEPT", 2)
    for number in range(5):
        keep(store, number)
    note(store)
    while store.write(noting.tidy, now=NOW):
        pass
    assert len(changed(store)) == 2
    assert store.count("mail_counts", "mail_flows") == {"mail_counts": 1, "mail_flows": 1}
    while store.write(noting.tidy, now=NOW + timedelta(hours=27)):
        pass
    assert store.count("mail_counts", "mail_flows") == {"mail_counts": 0, "mail_flows": 0}


@pytest.fixture
def counted(store):
    """Mail of the last minutes: one message in the inbox and forwarded, one that waits, one of another account."""
    inbox = {"status": Status.DELIVERED, "kept": True, "destination": ""}
    forwarded = {"reason": Reason.FORWARDED, "via": "a@example.com"}
    message_id = keep(store, -60, ("a", inbox), ("p", forwarded))
    keep(store, -59, ("x", {}))
    keep(store, 0, ("z", inbox | {"account": OTHER}))
    for kind, at in (("deferred", -50), ("delivered", 0)):
        members = {"until": "", "because": "x", "attempt": 1} if kind == "deferred" else {}
        line = a_line(kind, NOW + at * SECOND, address="p@example.com", **members)
        store.write(lambda tx, line=line: tx.add_events(message_id, [line]))
    add(store, a_refusal(NOW, account=TENANT.account), a_refusal(NOW))
    note(store)
    return store


def test_mail_is_counted_by_minute_and_by_hour(counted):
    found = counted.long_read(counting.counts, TENANT.account, servers_owner=OTHER, now=NOW)
    assert len(found.minutes) == counting.MINUTES
    assert len(found.hours) == counting.HOURS
    assert found.minutes[-1].start == NOW.replace(second=0, microsecond=0)
    assert found.hours[-1].start == NOW.replace(minute=0, second=0, microsecond=0)
    totals = {kind: sum(one.counts[kind] for one in found.minutes) for kind in counting.KINDS}
    assert totals == {"accepted": 2, "delivered": 2, "deferred": 1, "refused": 1, "dead": 0}
    assert totals == {kind: sum(one.counts[kind] for one in found.hours) for kind in counting.KINDS}
    assert found.minutes[-1].counts["refused"] == 1
    assert found.minutes[-2].counts["accepted"] == 2
    owner = counted.long_read(counting.counts, TENANT.account, servers_owner=TENANT.account, now=NOW)
    assert owner.minutes[-1].counts["refused"] == 2


def test_the_ways_of_deliveries_are_counted(counted):
    found = counted.long_read(counting.counts, TENANT.account, servers_owner=OTHER, now=NOW)
    to = "smtp://mail.example.net:25"
    assert {(one.address, one.alias, one.destination, one.count) for one in found.flows} == {
        ("a@example.com", "", "", 1),
        ("p@example.com", "a@example.com", to, 1),
        ("x@example.com", "", to, 1),
    }


def test_a_delivery_that_is_deleted_has_no_deliveries_in_its_change(store):
    keep(store, 0, ("a", {"status": Status.DELIVERED}))
    note(store)
    assert changed(store) == [("new", ["a"])]


def test_deliveries_are_counted_for_each_destination_and_hour(store):
    def flows(*destinations):
        return [ports.Flow(f"{number}@example.com", "", to, number) for number, to in enumerate(destinations, 1)]

    hour = int(NOW.timestamp()) // 3600
    store.write(lambda tx: tx.add_mail_flows(TENANT.account, hour=hour, flows=flows("", "", "smtp://a.example:25")))
    store.write(lambda tx: tx.add_mail_flows(TENANT.account, hour=hour - 1, flows=flows("mx:b.example")))
    store.write(lambda tx: tx.add_mail_flows(OTHER, hour=hour, flows=flows("mx:b.example")))

    def counts(**options):
        given = {"since": NOW - timedelta(hours=1), "limit": 9} | options
        return store.long_read(lambda tx: tx.destination_counts(TENANT.account, **given))

    assert counts() == [("", hour, 3), ("smtp://a.example:25", hour, 3), ("mx:b.example", hour - 1, 1)]
    assert counts(limit=1) == [("", hour, 3)]
    assert counts(since=NOW) == [("", hour, 3), ("smtp://a.example:25", hour, 3)]
