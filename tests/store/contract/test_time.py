"""Times on both stores: they are stored to the millisecond, in the past and in the future."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import create, describe, ids, tokened
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from tests.store.contract.directory.test_access_keys import a_key, a_session
from tests.store.contract.mail.test_mail import accepting
from waypost.app import ports
from waypost.app.directory import access_keys, aliases, email_addresses, idempotency, instances
from waypost.app.mail import trace

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = [
    datetime(1900, 1, 1, tzinfo=UTC),
    EPOCH - MILLISECOND,
    EPOCH,
    EPOCH + MILLISECOND,
    datetime(2000, 2, 29, 23, 59, 59, 999000, UTC),
    *(datetime(2026, 11, 22, 12, 0, 1, thousandths * 1000, UTC) for thousandths in (1, 7, 123, 333, 501, 999)),
    datetime(2038, 1, 19, 3, 14, 8, 1000, UTC),
    datetime(2199, 12, 31, 23, 59, 59, 999000, UTC),
]


def test_times_of_every_kind_are_stored_to_the_millisecond(store):
    plain = store.write(make_instance)
    create(store, "p", "a", "x")
    for number, now in enumerate(TIMES):
        new = replace(plain, id=f"i{number}", created_at=now)
        store.write(instances.create, new, tags={})
        assert store.read(instances.get, TENANT, new.id) == new

        email_address = replace(an_email_address(f"e{number}"), created_at=now, modified_at=now + MILLISECOND)
        store.write(email_addresses.create, TENANT, email_address, tags={})
        assert describe(store, email_address.id).email_address == email_address
        texts = {"display_name": "x", "description": None, "now": now - MILLISECOND}
        store.write(email_addresses.update_metadata, TENANT, "i", email_address.id, **texts)
        assert describe(store, email_address.id).email_address.modified_at == now - MILLISECOND

        both = {"primary_id": "p", "alias_id": "a", "now": now}
        store.write(aliases.associate, TENANT, "i", **both)
        assert describe(store, "a").link.created_at == describe(store, "p").link.created_at == now
        store.write(aliases.disassociate, TENANT, "i", **both)

        message = store.write(accepting("x", now=now, message_id=f"m{number}"))
        details = store.long_read(trace.message_details, TENANT.account, message.id)
        assert (details.message.received_at, {event.at for event in details.events}) == (now, {now})

        key = a_session(f"ASIA{number}", now + MILLISECOND, created_at=now)
        store.write(access_keys.create, key)
        assert store.read(access_keys.find, key.id) == key

        call = ports.RememberedCall(b"f", "", now)
        token = tokened(token=key.id).key
        store.write(lambda tx, *what: tx.remember_call(*what), token, call)
        assert store.write(lambda tx, what: tx.claim_call(what), token) == call
    assert [key.created_at for key in store.read(lambda tx: tx.access_keys())] == TIMES


def test_a_time_in_another_time_zone_is_stored_as_the_same_time(store, instance):
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    store.write(email_addresses.create, TENANT, replace(an_email_address("a"), created_at=elsewhere), tags={})
    found = describe(store, "a").email_address.created_at
    assert (found, found.tzinfo) == (NOW, UTC)


@pytest.mark.parametrize("retention", [MILLISECOND, timedelta(days=1), timedelta(days=3650)], ids=str)
def test_a_token_is_valid_until_the_end_of_its_retention(store, retention):
    call = tokened(b"print", retention=retention)
    done = []

    def once(now):
        return store.write(idempotency.once, call, now=now, effect=lambda: done.append(now) or str(len(done)))

    at = [once(now) for now in (NOW, NOW, NOW + retention - MILLISECOND, NOW + retention, NOW + retention)]
    assert at == ["1", "1", "1", "2", "2"]


def test_tokens_are_removed_oldest_first_even_from_before_1970(store):
    for name, now in (("old", EPOCH - timedelta(days=2)), ("older", EPOCH - timedelta(days=3)), ("new", NOW)):
        call = ports.RememberedCall(b"f", "", now)
        store.write(lambda tx, *what: tx.remember_call(*what), tokened(token=name).key, call)
    assert store.write(lambda tx: tx.forget_calls(before=EPOCH, limit=1)) == 1
    assert store.rows("SELECT token FROM remembered_calls ORDER BY token") == [("new",), ("old",)]
    assert store.write(lambda tx: tx.forget_calls(before=EPOCH - timedelta(days=2), limit=9)) == 0
    assert store.write(lambda tx: tx.forget_calls(before=EPOCH, limit=9)) == 1


def test_a_token_that_was_used_while_the_clock_was_ahead_expires_like_a_token_used_now(store):
    week = timedelta(days=7)
    ahead, later = NOW + timedelta(days=10), NOW + timedelta(days=8)
    done = []

    def once(now):
        call = tokened(b"print", retention=week)
        return store.write(idempotency.once, call, now=now, effect=lambda: done.append(now) or str(len(done)))

    assert once(ahead) == once(NOW) == "1"
    assert store.write(idempotency.purge, now=NOW, retention=week) is False
    assert once(NOW + week - MILLISECOND) == "1"
    assert store.write(idempotency.purge, now=later, retention=week) is False
    assert store.count("remembered_calls") == {"remembered_calls": 0}


def test_a_clock_that_is_not_set_yet_does_not_make_new_tokens_look_used(store):
    for now in (EPOCH, EPOCH + timedelta(days=1)):
        call = tokened(token=str(now))
        assert store.write(idempotency.once, call, now=now, effect=lambda: "done") == "done"


def test_a_token_that_was_only_claimed_has_no_recorded_response(store):
    assert store.write(lambda tx: tx.claim_call(tokened().key)) is None
    assert store.write(lambda tx: tx.claim_call(tokened().key)) is None


def test_a_temporary_access_key_expires_to_the_millisecond(store):
    end = NOW + timedelta(hours=1)
    store.write(access_keys.create, a_session("ASIA1", end))
    store.write(access_keys.create, a_key("AKIA1"))
    key = store.read(access_keys.find, "ASIA1")
    assert (key.is_expired(end - MILLISECOND), key.is_expired(end)) == (False, True)
    removed_at = end + access_keys.KEPT_AFTER_EXPIRY + MILLISECOND
    for now, left in ((removed_at - MILLISECOND, {"ASIA1", "AKIA1"}), (removed_at, {"AKIA1"})):
        store.write(access_keys.purge, now=now)
        assert {key.id for key in store.read(lambda tx: tx.access_keys())} == left


def test_search_results_are_not_ordered_by_creation_time(store, instance):
    for name, days in (("a", 3), ("b", 1), ("c", 2)):
        new = replace(an_email_address(name), created_at=NOW - timedelta(days=days))
        store.write(email_addresses.create, TENANT, new, tags={})
    assert ids(store) == ["a", "b", "c"]
