"""Planned deliveries: a message to many recipients is accepted in one transaction, and later ones store deliveries."""

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import all_deliveries_of, associate, create, disassociate
from tests.kit.values import NOW, TENANT
from tests.store.contract.mail.test_mail import DEPLOYMENT, RAW, accepting, copy, send
from tests.store.contract.mail.test_replaying import replay
from waypost.app.mail import accept, notify, retention, trace
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.messages import Dsn, RecipientDsn
from waypost.domain.mail.retention import Delivered, Inbox
from waypost.domain.mail.routes import Route

PAIRS = 3 * accept.STORED_AT_ONCE // 2
ALIASES = [f"a{number:02}" for number in range(PAIRS)]
PRIMARIES = [f"p{number:02}" for number in range(PAIRS)]
ROUTED = replace(DEPLOYMENT, routes=(Route(match="*@example.com", to="smtp://away.example:25"),), routes_revision="1")
ALL = 2 * PAIRS


@pytest.fixture
def system(store, instance):
    """A store with many aliases, each of which has its own primary."""
    create(store, *PRIMARIES, *ALIASES)
    for primary, alias in zip(PRIMARIES, ALIASES, strict=True):
        associate(store, primary, alias)
    return store


def store_one_part(system, deployment=DEPLOYMENT):
    return system.write(accept.store_planned, deployment, message_id="m1", now=NOW)


def planned(system, now=NOW, age=timedelta(), after=""):
    return system.read(lambda tx: accept.planned(tx, now=now, age=age, after=after))


def deliveries(system):
    return system.read(lambda tx: all_deliveries_of(tx, "m1"))


def events(system):
    return system.read(lambda tx: tx.trace("m1"))


def test_many_deliveries_are_stored_in_parts(system):
    system.write(accepting(*ALIASES))
    counts = [len(deliveries(system))]
    while store_one_part(system):
        counts.append(len(deliveries(system)))
    assert counts == [*range(0, ALL, accept.STORED_AT_ONCE), ALL]
    assert system.count("planned_deliveries") == {"planned_deliveries": 0}


def test_few_deliveries_are_stored_with_their_message(system):
    assert accept.STORED_AT_ONCE % 2 == 0
    system.write(accepting(*ALIASES[: accept.STORED_AT_ONCE // 2]))
    assert len(deliveries(system)) == accept.STORED_AT_ONCE
    assert system.count("planned_deliveries") == {"planned_deliveries": 0}


@pytest.mark.parametrize("deployment", [DEPLOYMENT, ROUTED], ids=["the inbox", "a route"])
def test_deliveries_in_parts_are_the_same_as_in_one_transaction(system, monkeypatch, deployment):
    send(system, *ALIASES, deployment=deployment)
    in_parts = [(replace(one, message_id="", trace_header=b""), one.trace_header) for one in deliveries(system)]
    details = {repr(event) for event in events(system)}
    monkeypatch.setattr(accept, "STORED_AT_ONCE", 1_000)
    send(system, *ALIASES, message_id="m2", deployment=deployment)
    in_one_transaction = system.read(lambda tx: all_deliveries_of(tx, "m2"))
    assert in_parts == [
        (replace(one, message_id="", trace_header=b""), one.trace_header.replace(b"m2", b"m1"))
        for one in in_one_transaction
    ]
    assert details == {repr(event) for event in system.read(lambda tx: tx.trace("m2"))}
    queued = system.rows("SELECT message_id, count(*) FROM queue GROUP BY message_id ORDER BY message_id")
    assert queued == ([("m1", ALL), ("m2", ALL)] if deployment is ROUTED else [])


def test_planned_deliveries_are_decided_when_the_message_is_accepted(system):
    system.write(accepting(*ALIASES))
    for primary, alias in zip(PRIMARIES, ALIASES, strict=True):
        disassociate(system, primary, alias)
    while store_one_part(system, ROUTED):
        pass
    assert [one.status for one in deliveries(system)] == [Status.DELIVERED] * ALL
    assert copy(system, PRIMARIES[-1]).endswith(b"\r\n" + RAW)
    assert len(events(system)) == 1 + ALL


def test_planned_deliveries_are_stored_once_if_two_servers_store_them(system):
    system.write(accepting(*ALIASES))
    use_case = partial(accept.store_planned, deployment=DEPLOYMENT, message_id="m1", now=NOW)
    stored = system.concurrently(*[use_case] * 8, on=[system.another()])
    assert sum(stored) == ALL
    assert len(deliveries(system)) == ALL
    assert len(events(system)) == 1 + ALL
    assert sorted(event.detail.address for event in events(system)[1:]) == sorted(
        f"{name}@example.com" for name in (*ALIASES, *PRIMARIES)
    )


def test_a_message_with_planned_deliveries_is_listed_until_all_are_stored(system):
    assert planned(system) == []
    system.write(accepting(*ALIASES))
    system.write(accepting(*ALIASES, message_id="m2"))
    system.write(accepting(ALIASES[0], message_id="m3"))
    assert planned(system) == ["m1", "m2"]
    while store_one_part(system):
        pass
    assert planned(system) == ["m2"]


def test_messages_with_planned_deliveries_are_listed_by_age_and_page(system):
    minute = timedelta(minutes=1)
    system.write(accepting(*ALIASES))
    system.write(accepting(*ALIASES, message_id="m2", now=NOW + minute))
    assert planned(system, NOW + minute, age=minute) == ["m1"]
    assert planned(system, NOW + minute, age=2 * minute) == []
    assert planned(system, NOW + minute) == ["m1", "m2"]
    assert planned(system, NOW + minute, after="m1") == ["m2"]


def test_a_message_with_planned_deliveries_is_listed_if_the_clock_was_set_back(system):
    system.write(accepting(*ALIASES, now=NOW + timedelta(days=400)))
    assert planned(system, age=timedelta(minutes=1)) == ["m1"]


def test_a_replay_leaves_a_message_with_planned_deliveries_alone(system):
    system.write(accepting(*ALIASES))
    store_one_part(system)
    assert replay(system, ALIASES[0]) == 0
    while store_one_part(system):
        pass
    assert len(deliveries(system)) == ALL


def test_a_planned_delivery_that_exists_already_is_not_stored_again_and_does_not_block_the_others(system):
    system.write(accepting(*ALIASES))
    store_one_part(system)
    by_hand = replace(deliveries(system)[0], email_address_id=PRIMARIES[-1])
    system.write(lambda tx: tx.add_delivery(by_hand))
    while store_one_part(system):
        pass
    assert len(deliveries(system)) == ALL
    assert planned(system) == []


def test_a_failed_acceptance_leaves_no_planned_deliveries(system):
    def fails(tx):
        accepting(*ALIASES)(tx)
        raise RuntimeError("after the plan was stored")

    with pytest.raises(RuntimeError):
        system.write(fails)
    assert system.count("planned_deliveries", "messages") == {"planned_deliveries": 0, "messages": 0}


def test_the_bytes_of_a_message_stay_while_deliveries_are_planned(system):
    """The other deliveries have already been sent over their route, and their inboxes keep no copy."""
    system.write(accepting(*ALIASES, deployment=ROUTED))
    store_one_part(system, ROUTED)

    def finish(tx):
        for one in all_deliveries_of(tx, "m1"):
            tx.update_delivery(one, status=Status.DELIVERED, kept=False, destination=one.destination)
        return tx.remove_octets_if_spent("m1")

    assert system.write(finish) is False
    while store_one_part(system, ROUTED):
        pass
    assert system.write(finish) is True


def test_a_purge_leaves_a_message_with_planned_deliveries(system):
    system.write(accepting(*ALIASES))
    store_one_part(system)
    for one in deliveries(system):
        inbox = Inbox(TENANT.account, one.address.key)
        delivered = [Delivered("m1", NOW, len(RAW), kept=True)]
        system.write(retention.purge_some, inbox, delivered, now=NOW)
    assert deliveries(system) == []
    while store_one_part(system):
        pass
    assert len(deliveries(system)) == ALL - accept.STORED_AT_ONCE
    assert copy(system, PRIMARIES[-1]).endswith(b"\r\n" + RAW)


def test_the_requested_notice_of_success_is_due_for_each_of_many_recipients(system):
    wishes = tuple(RecipientDsn(("SUCCESS",), "") for _ in ALIASES)
    send(system, *ALIASES, dsn=Dsn("HDRS", "", wishes))
    owed = system.rows("SELECT recipient FROM notices_owed ORDER BY recipient")
    assert owed == [(f"{alias}@example.com",) for alias in ALIASES]


def test_the_trace_shows_the_stored_parts_in_the_order_of_acceptance(system):
    send(system, *ALIASES)
    details = system.long_read(trace.message_details, TENANT.account, "m1")
    delivered = [event.detail.address for event in details.events if event.kind == "delivered"]
    assert delivered == [f"{name}@example.com" for name in (*ALIASES, *PRIMARIES)]


def test_notices_wait_until_all_deliveries_of_their_message_are_stored(system):
    """Otherwise, the number of notices would reveal which primary an alias has."""
    system.write(accepting(*ALIASES, dsn=Dsn("HDRS", "", tuple(RecipientDsn(("SUCCESS",), "") for _ in ALIASES))))
    store_one_part(system)
    later = NOW + timedelta(hours=1)

    def next_notice():
        return system.read(lambda tx: notify.next_owed(tx, now=later))

    assert system.count("notices_owed")["notices_owed"] > 0
    assert next_notice() is None
    while store_one_part(system):
        pass
    assert next_notice().message_id == "m1"
