"""Deleting mail on request, on both stores."""

from datetime import timedelta

import pytest

from tests.kit.values import NOW, TENANT
from tests.store.contract.mail.test_changes import changed
from tests.store.contract.mail.test_mail_index import OTHER, index, keep, subjects
from waypost.app.mail import deleting, trace
from waypost.domain import errors
from waypost.domain.mail.delivery import Status

INBOX = {"status": Status.DELIVERED, "kept": True, "destination": ""}
MAIL = ("messages", "message_bodies", "deliveries", "trace_events", "queue", "mail_entries", "mail_words")


def delete(store, *ids, cancel=False, account=TENANT.account):
    return store.run(deleting.delete(store.store, account, ids, cancel=cancel, clock=lambda: NOW))


def test_a_message_is_deleted_with_its_last_delivery(store):
    message_id = keep(store, 0, ("a", INBOX), ("p", INBOX))
    index(store)
    assert delete(store, f"{message_id}.a") == 1
    assert subjects(store, "hello") == ["Hello"]
    events = store.long_read(trace.message_details, TENANT.account, message_id).events
    assert [(event.kind, event.detail.address) for event in events] == [("deleted", "a@example.com")]
    assert delete(store, message_id) == 1
    assert store.count(*MAIL) == dict.fromkeys(MAIL, 0)
    assert [kind for kind, _ in changed(store)] == ["new", "deleted", "deleted"]


def test_a_message_stays_for_other_accounts(store):
    message_id = keep(store, 0, ("a", INBOX), ("z", INBOX | {"account": OTHER}))
    index(store)
    assert delete(store, message_id) == 1
    assert subjects(store, "hello") == []
    assert subjects(store, "hello", account=OTHER) == ["Hello"]
    details = store.long_read(trace.message_details, OTHER, message_id)
    assert details.events == []
    assert store.long_read(lambda tx: tx.octets(message_id, start=0, limit=9)) == b"Subject: "
    with pytest.raises(errors.NotFound):
        delete(store, message_id)


def test_the_bytes_of_a_message_go_with_the_last_delivery_that_needs_them(store):
    message_id = keep(store, 0, ("a", INBOX), ("p", INBOX | {"kept": False, "destination": "smtp://x"}))
    assert delete(store, f"{message_id}.a") == 1
    assert store.count("messages", "message_bodies") == {"messages": 1, "message_bodies": 0}


def test_a_queued_delivery_is_deleted_only_if_it_is_cancelled(store):
    message_id = keep(store, 0, ("a", INBOX), ("p", {}))
    with pytest.raises(errors.Conflict, match="waits for its next attempt"):
        delete(store, message_id)
    assert store.count("deliveries", "queue") == {"deliveries": 2, "queue": 1}
    store.write(
        lambda tx: tx.claim(
            "smtp://mail.example.net:25", claim="c", now=NOW, lease_until=NOW + timedelta(hours=1), limit=9
        )
    )
    assert delete(store, message_id, cancel=True) == 2
    assert store.count(*MAIL, "notices_owed") == dict.fromkeys((*MAIL, "notices_owed"), 0)


def test_an_unknown_id_deletes_nothing(store):
    message_id = keep(store, 0, ("a", INBOX))
    for unknown in ("m1", f"{message_id}.b", "x.y"):
        with pytest.raises(errors.NotFound, match=unknown):
            delete(store, message_id, unknown)
    with pytest.raises(errors.NotFound):
        delete(store, message_id, account=OTHER)
    assert store.count("deliveries") == {"deliveries": 1}
    assert delete(store, message_id, message_id) == 1


def test_many_deliveries_are_deleted_in_steps(store, monkeypatch):
    monkeypatch.setattr(deleting, "AT_ONCE", 2)
    ids = [keep(store, n, *((f"a{k}", INBOX) for k in range(5))) for n in range(3)]
    sizes = []
    monkeypatch.setattr(
        deleting,
        "_remove",
        lambda tx, found, real=deleting._remove, **given: (sizes.append(len(found)), real(tx, found, **given))[1],
    )
    assert delete(store, *ids) == 15
    assert max(sizes) == 2
    assert store.count(*MAIL) == dict.fromkeys(MAIL, 0)


def test_a_large_message_is_deleted_completely(store):
    message_id = keep(store, 0, ("a", INBOX), raw=b"\r\n" + b"x" * 3_000_000)
    assert delete(store, message_id) == 1
    assert store.count("messages", "message_bodies", "messages_begun") == {
        "messages": 0,
        "message_bodies": 0,
        "messages_begun": 0,
    }
