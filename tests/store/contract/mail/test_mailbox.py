"""The list of all mail of an account, and of its refusals, on both stores."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.values import NOW, TENANT, a_delivery, a_message
from tests.store.contract.mail.test_refusals import a_refusal, add
from waypost.app.mail import mailbox
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.mail_filter import ALL_MAIL, MailFilter

DAY = timedelta(days=1)


def message_id(number, at=NOW):
    return messages.new_id(at, number, bytes(8))


@pytest.fixture
def mail(store):
    """Five messages: in an inbox, sent over a route, waiting, dead, and with two deliveries. Also a foreign message."""
    deliveries = [
        [a_delivery("a", status=Status.DELIVERED, kept=True, destination="")],
        [a_delivery("p", status=Status.DELIVERED, reason=Reason.FORWARDED)],
        [a_delivery("x", kept=True)],
        [a_delivery("x", status=Status.DEAD, reason=Reason.NOTICE)],
        [
            a_delivery("a", status=Status.DELIVERED, kept=True, destination=""),
            a_delivery("p", status=Status.QUEUED, reason=Reason.FORWARDED),
        ],
        [a_delivery("z", account="999999999999", status=Status.DELIVERED)],
    ]
    for number, of_message in enumerate(deliveries):
        at = NOW + number * DAY
        message = a_message(message_id(0, at), subject=f"Message {number}", received_at=at)
        each = [a_delivery_of(one, message.id) for one in of_message]
        store.write(lambda tx, m=message, d=each: tx.add_message(m, b"hi", d, []))
    return store


def a_delivery_of(delivery, message_id):
    fields = {name: getattr(delivery, name) for name in delivery.__slots__}
    return type(delivery)(**fields | {"message_id": message_id})


def listed(store, filters=ALL_MAIL, *, account=TENANT.account, after=None, limit=100):
    found = store.long_read(lambda tx: mailbox.page(tx, account, filters, after=after, limit=limit))
    return [f"{message.subject.split()[1]}{delivery.email_address_id}" for delivery, message in found]


def test_all_deliveries_of_an_account_are_listed_newest_first_whether_or_not_an_inbox_keeps_them(mail):
    assert listed(mail) == ["4p", "4a", "3x", "2x", "1p", "0a"]
    assert listed(mail, account="999999999999") == ["5z"]
    assert listed(mail, account="111111111111") == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (MailFilter(reason=Reason.DIRECT), ["4a", "2x", "0a"]),
        (MailFilter(reason=Reason.FORWARDED), ["4p", "1p"]),
        (MailFilter(reason=Reason.NOTICE), ["3x"]),
        (MailFilter(reason=Reason.RETURNED), []),
        (MailFilter(status=Status.QUEUED), ["4p", "2x"]),
        (MailFilter(status=Status.DEAD), ["3x"]),
        (MailFilter(status=Status.QUEUED, reason=Reason.DIRECT), ["2x"]),
        (MailFilter(status=Status.DEAD, reason=Reason.DIRECT), []),
        (MailFilter(address_key="x@example.com"), ["3x", "2x"]),
        (MailFilter(address_key="x@example.com", status=Status.DEAD), ["3x"]),
        (MailFilter(address_key="p@example.com", reason=Reason.DIRECT), []),
        (MailFilter(since=NOW + 2 * DAY), ["4p", "4a", "3x", "2x"]),
        (MailFilter(before=NOW + 2 * DAY), ["1p", "0a"]),
        (MailFilter(since=NOW + DAY, before=NOW + 4 * DAY), ["3x", "2x", "1p"]),
        (MailFilter(status=Status.QUEUED, since=NOW + 3 * DAY), ["4p"]),
        (MailFilter(since=datetime.min.replace(tzinfo=UTC)), ["4p", "4a", "3x", "2x", "1p", "0a"]),
        (MailFilter(since=messages.EPOCH), ["4p", "4a", "3x", "2x", "1p", "0a"]),
    ],
)
def test_the_list_can_be_filtered_and_read_in_pages(mail, filters, expected):
    assert listed(mail, filters) == expected
    paged, after = [], None
    while page := mail.long_read(mailbox.page, TENANT.account, filters, after=after, limit=1):
        ((delivery, message),) = page
        paged.append(f"{message.subject.split()[1]}{delivery.email_address_id}")
        after = delivery.id
    assert paged == expected


def test_a_page_can_begin_after_all_deliveries_of_a_message(mail):
    assert listed(mail, after=message_id(0, NOW + 4 * DAY)) == ["3x", "2x", "1p", "0a"]


def test_the_refusals_of_an_account_are_listed_newest_first_in_pages(store):
    own = [a_refusal(NOW + timedelta(seconds=n), account=TENANT.account, sender=f"{n}") for n in range(5)]
    add(store, *own, a_refusal(sender="nobody's"), a_refusal(account="999999999999", sender="foreign"))

    def page(after=None, *, since=NOW, owner="999999999999", limit=100):
        return store.long_read(
            lambda tx: mailbox.refusals(tx, TENANT.account, servers_owner=owner, since=since, after=after, limit=limit)
        )

    assert [one.sender for one in page().refusals] == ["4", "3", "2", "1", "0"]
    assert [one.sender for one in page(since=NOW + timedelta(seconds=3)).refusals] == ["4", "3"]
    assert "nobody's" in [one.sender for one in page(owner=TENANT.account).refusals]
    paged, after, found = [], None, page(limit=2)
    while found.refusals:
        paged += [one.sender for one in found.refusals]
        after = found.next
        if after is None:
            break
        found = page(after, limit=2)
    assert paged == ["4", "3", "2", "1", "0"]
