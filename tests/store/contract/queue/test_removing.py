"""Dead letters are removed because of their age or on request, on both databases."""

from datetime import timedelta

import pytest

from tests.kit.stores.queue_calls import SECOND, add
from tests.kit.values import NOW, TENANT, a_delivery
from waypost.app.mail import deleting
from waypost.app.queue import redrive, removing
from waypost.domain import errors
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.messages import first_id

ACCOUNTS = (TENANT.account, "1" * 12, "9" * 12)
DAY = timedelta(days=1)


def a_dead(message_id, name="x", **fields):
    return a_delivery(name, message_id, status=Status.DEAD, **fields)


def add_dead(store, days, *, account=TENANT.account, count=1, **fields):
    """Add dead letters that were given up this number of days ago, and return their ids."""
    return [_added(store, NOW - days * DAY + number * SECOND, account, fields) for number in range(count)]


def _added(store, at, account, fields):
    message_id = first_id(at)[:-12] + account
    (letter,) = add(store, a_dead(message_id, account=account, **fields), received_at=at)
    store.write(lambda tx: tx.put_given_up(letter, at=at + SECOND, because="550 no"))
    return letter.id


def dead(store, account=TENANT.account):
    letters = store.long_read(lambda tx: redrive.dead_letters(tx, account, limit=500))
    return [letter.delivery.id for letter in letters]


def remove(store, account=TENANT.account, **selection):
    return store.run(removing.remove(store.store, account, removing.Selection(**selection), clock=lambda: NOW))


def remove_old(store, age):
    async def removed():
        return [count async for count in removing.remove_old(store.store, age, clock=lambda: NOW)]

    return store.run(removed())


def test_old_dead_letters_of_all_accounts_are_removed(store):
    old = removing.AT_ONCE + 5
    for account, count in zip(ACCOUNTS, (old, 1, 0), strict=True):
        add_dead(store, 40, account=account, count=count)
    new = [add_dead(store, 20, account=account) for account in ACCOUNTS]
    queued = add(store, a_delivery("x", first_id(NOW - 50 * DAY)), received_at=NOW - 50 * DAY)
    assert remove_old(store, 30 * DAY) == [old, 1]
    assert [dead(store, account) for account in ACCOUNTS] == new
    assert remove_old(store, 30 * DAY) == []
    assert store.read(lambda tx: tx.delivery(queued[0].message_id, queued[0].email_address_id))


def test_the_age_counts_from_the_time_when_the_delivery_was_given_up(store):
    (letter,) = add(store, a_dead(first_id(NOW - 40 * DAY)), received_at=NOW - 40 * DAY)
    store.write(lambda tx: tx.put_given_up(letter, at=NOW - 29 * DAY, because="550 no"))
    assert remove_old(store, 30 * DAY) == []
    assert remove_old(store, 29 * DAY - SECOND) == [1]


def test_a_message_is_deleted_with_its_last_delivery(store):
    (letter,) = add_dead(store, 2)
    message_id = letter.partition(".")[0]
    assert remove(store, ids=[letter, letter]) == 1
    assert store.read(lambda tx: tx.message(TENANT.account, message_id)) is None
    assert store.long_read(lambda tx: tx.octets(message_id, start=0, limit=9)) == b""


def test_a_dead_letter_that_is_redriven_meanwhile_is_not_removed(store):
    (letter,) = add(store, a_dead("m1"))

    def redriven(tx):
        tx.enqueue(letter, now=NOW)
        tx.update_delivery(letter, status=Status.QUEUED, kept=letter.kept, destination=letter.destination)

    store.write(redriven)
    gone = store.write(lambda tx: deleting.delete_dead(tx, TENANT.account, [letter], because="why", now=NOW))
    assert gone.deliveries == 0
    assert store.read(lambda tx: tx.delivery("m1", letter.email_address_id)).status is Status.QUEUED


def test_only_dead_letters_of_the_account_are_removed_by_id_and_otherwise_nothing(store):
    own, other = add_dead(store, 1), add_dead(store, 2, account=ACCOUNTS[1])
    for ids in ([*own, *other], [*own, "x.y"]):
        with pytest.raises(errors.NotFound):
            remove(store, ids=ids)
    assert (dead(store), dead(store, ACCOUNTS[1])) == (own, other)


def test_a_destination_can_be_named_as_people_see_it_unless_it_stands_for_several(store):
    urls = [f"https://crm.example/in?key={key}" for key in ("a", "b")]
    first = add_dead(store, 1, to=urls[0])
    assert remove(store, destination="https://crm.example/other?…") == 0
    second = add_dead(store, 2, to=urls[1])
    with pytest.raises(errors.Invalid, match="stands for 2 destinations"):
        remove(store, destination="https://crm.example/in?…")
    assert remove(store, destination=urls[1]) == 1
    assert dead(store) == first
    assert second
    assert remove(store, destination="https://crm.example/in?…") == 1
    assert dead(store) == []


def test_dead_letters_are_counted_without_removing_them(store):
    count = removing.AT_ONCE * 2
    add_dead(store, 3, count=count)
    selection = removing.Selection(given_up_before=NOW - DAY)
    assert store.run(removing.count(store.store, TENANT.account, selection)) == count
    assert remove(store, given_up_before=NOW - 5 * DAY) == 0
    assert len(dead(store)) == count
