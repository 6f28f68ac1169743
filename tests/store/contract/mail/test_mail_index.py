"""The text index on both stores: what a search finds, and that no message is missed."""

from datetime import timedelta

import pytest

from tests.kit.values import NOW, TENANT, a_delivery, a_message
from tests.store.contract.mail.test_mail import accepting, send, system  # noqa: F401 - a fixture
from tests.store.contract.mail.test_refusals import a_refusal, add
from tests.store.contract.mail.test_retention import inbox
from waypost.app import ports
from waypost.app.mail import indexing, noting, searching
from waypost.domain import errors
from waypost.domain.mail import mail_search, messages
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.messages import Envelope
from waypost.store.common.transaction import mail_index
from waypost.store.postgres import transaction

SECOND = timedelta(seconds=1)
OTHER = "999999999999"


class Text:
    """Reads everything after the header as text."""

    async def text_of(self, raw):
        if b"unreadable" in raw:
            raise ValueError
        return raw[raw.index(b"\r\n\r\n") if raw[:2] != b"\r\n" else 0 :].decode()


def id_at(seconds=0, number=0):
    return messages.new_id(NOW + seconds * SECOND, number, bytes(8))


def keep(store, seconds, *deliveries, raw=b"Subject: Hello\r\n\r\nHi\r\n", subject="Hello", sender="ann@example.org"):
    """Store a message that was accepted some seconds after NOW, and return its id."""
    message_id = id_at(seconds)
    envelope = Envelope(sender=sender, recipients=(), helo="client", peer="192.0.2.1", protocol="ESMTP")
    at = NOW + seconds * SECOND
    message = a_message(message_id, received_at=at, subject=subject, envelope=envelope, size=len(raw))
    made = [a_delivery(name, message_id, **fields) for name, fields in deliveries] or [a_delivery("a", message_id)]
    store.write(lambda tx: tx.add_message(message, raw, made, []))
    return message_id


@pytest.fixture
def progress():
    return noting.Progress()


def note(store, progress=None, now=NOW):
    """Run rounds until there is nothing more to note. Return the number of noted messages."""
    progress, count = progress or noting.Progress(), 0

    async def rounds():
        nonlocal count
        while not (found := await noting.run_round(store.store, progress, lambda: now)).is_empty:
            count += len(found.messages)

    store.run(rounds())
    return count


def index(store, progress=None):
    """Note and index until there is nothing more to do. Return the number of noted messages."""

    async def rounds():
        while await indexing.run_round(store.store, Text()):
            pass

    count = note(store, progress)
    store.run(rounds())
    return count


def found(store, text, *, account=TENANT.account, after=None, limit=50):
    return store.long_read(
        searching.search,
        account,
        mail_search.parse(text),
        servers_owner=TENANT.account,
        refused_since=NOW,
        after=after,
        limit=limit,
    )


def subjects(store, text, **options):
    return [message.subject for _, message in found(store, text, **options).found]


@pytest.fixture
def mail(store):
    """Indexed mail: three messages for the account, and one that another account has too."""
    direct, forwarded = {"status": Status.DELIVERED, "kept": True}, {"reason": Reason.FORWARDED, "status": Status.DEAD}
    keep(
        store, 0, ("a", direct), subject="Your order", raw=b"From: Ann Lee <lee@shop.example>\r\n\r\nThe first invoice"
    )
    keep(
        store, 1, ("a", direct), ("p", forwarded), subject="Second invoice", raw="To: Bob <b@c.d>\r\n\r\nCafé".encode()
    )
    keep(store, 2, ("x", {}), subject="Reminder", raw=b"\r\nthe second reminder", sender="bob@example.net")
    keep(store, 3, ("x", {}), ("z", {"account": OTHER}), subject="Shared", raw=b"\r\nshared words of the order")
    assert index(store) == 4
    return store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("invoice", ["Second invoice", "Your order"]),
        ("INVOICE first", ["Your order"]),
        ("first second", []),
        ('"second reminder"', ["Reminder"]),
        ('"reminder second"', []),
        ("invoi*", ["Second invoice", "Your order"]),
        ("invoi", []),
        ("cafe", ["Second invoice"]),
        ("from:ann@example.org invoice", ["Second invoice", "Your order"]),
        ("from:lee", ["Your order"]),
        ("from:order", []),
        ("to:x@example.com", ["Shared", "Reminder"]),
        ("to:bob", ["Second invoice"]),
        ("to:z@example.com", []),
        ("subject:invoice", ["Second invoice"]),
        ("subject:sec*", ["Second invoice"]),
        ("invoice is:dead", ["Second invoice"]),
        ("invoice is:forwarded is:dead", ["Second invoice"]),
        ("invoice is:waiting", []),
        ("is:waiting", ["Shared", "Reminder"]),
        ("is:dead", ["Second invoice"]),
        ("is:direct", ["Shared", "Reminder", "Second invoice", "Your order"]),
        (f"id:{id_at(2)}", ["Reminder"]),
        (f"id:{id_at(2)} second", ["Reminder"]),
        (f"id:{id_at(2)} first", []),
        (f"id:{id_at(2)} is:dead", []),
        (f"id:{id_at(9)}", []),
    ],
)
def test_a_search_finds_the_messages_in_which_all_parts_of_the_query_match(mail, text, expected):
    assert subjects(mail, text) == expected


def test_a_search_can_be_limited_to_a_time(mail):
    at = [(NOW + n * SECOND).isoformat() for n in range(4)]
    assert subjects(mail, f"order after:{at[1]}") == ["Shared"]
    assert subjects(mail, f"order before:{at[3]}") == ["Your order"]
    assert subjects(mail, f"after:{at[1]} before:{at[3]}") == ["Reminder", "Second invoice"]
    assert subjects(mail, f"id:{id_at(2)} before:{at[2]}") == []


@pytest.mark.parametrize(("few", "recent"), [(0, 0), (0, 2), (500, 2)])
@pytest.mark.parametrize("limit", [1, 50])
def test_a_search_finds_the_same_whichever_index_it_reads(mail, monkeypatch, few, recent, limit):
    monkeypatch.setattr(mail_index, "FEW", few)
    monkeypatch.setattr(transaction, "RECENT", recent)
    for text, expected in {
        "order": ["Shared", "Your order"],
        "invoice is:dead": ["Second invoice"],
        "second is:direct": ["Reminder", "Second invoice"],
        "example is:waiting": ["Shared", "Reminder"],
        "example is:notice": [],
    }.items():
        assert subjects(mail, text, limit=limit) == expected[:limit], text


def test_a_search_by_time_finds_a_message_whose_transfer_began_earlier(store):
    at = NOW + 3600 * SECOND
    for name, began in ("a", 3000), ("b", 0), ("c", -90_000):  # the last is longer than a transfer may take
        message = a_message(id_at(began), received_at=at + SECOND, subject=name, size=0)
        deliveries = [a_delivery("a", message.id), a_delivery("p", message.id, reason=Reason.FORWARDED)]
        store.write(lambda tx: tx.add_message(message, b"", deliveries, []))  # noqa: B023 - it is called at once
    keep(store, 3599, subject="early")
    keep(store, 3602, subject="late")
    after = f"after:{at.isoformat()}"
    assert subjects(store, after) == ["late", "a", "b"]
    assert subjects(store, f"{after} is:forwarded") == ["a", "b"]
    assert subjects(store, f"{after} before:{(at + SECOND).isoformat()}") == []
    first = found(store, after, limit=2)
    assert [message.subject for _, message in first.found] == ["late", "a"]
    assert subjects(store, after, limit=2, after=first.next) == ["b"]


def test_an_account_finds_only_its_own_mail(mail):
    assert subjects(mail, "order", account=OTHER) == ["Shared"]
    assert subjects(mail, "to:z@example.com", account=OTHER) == ["Shared"]
    assert subjects(mail, "to:x@example.com", account=OTHER) == []
    assert subjects(mail, "order", account="111111111111") == []


@pytest.mark.parametrize("text", ["is:direct", "example"])
def test_the_results_of_a_search_are_read_in_pages(mail, text):
    paged, after = [], None
    while True:
        page = found(mail, text, after=after, limit=1)
        paged += [message.subject for _, message in page.found]
        after = page.next
        if after is None:
            break
    assert paged == ["Shared", "Reminder", "Second invoice", "Your order"]


def test_a_cursor_of_another_search_is_refused(mail):
    with pytest.raises(errors.Invalid, match="after"):
        found(mail, "order", after="m1")


def test_a_search_reports_how_far_the_index_is(mail):
    assert found(mail, "order").indexed_until is None
    keep(mail, 9)
    assert found(mail, "order").indexed_until == NOW + 9 * SECOND
    assert found(mail, "is:waiting").indexed_until is None
    note(mail)
    assert found(mail, "order").indexed_until == NOW + 9 * SECOND
    index(mail)
    assert found(mail, "order").indexed_until is None


def test_an_empty_index_has_no_mail(store):
    keep(store, 0)
    assert found(store, "hello").indexed_until == NOW


def test_a_message_that_is_committed_after_later_messages_is_indexed(store, progress):
    keep(store, 20)
    assert index(store, progress) == 1
    late = keep(store, 19.6)  # within the window before the mark that each round looks at
    assert index(store, progress) == 1
    later = keep(store, 15)
    assert sum(index(store, progress) for _ in range(noting.THOROUGH_EVERY)) == 1
    assert [message.id for _, message in found(store, "hello").found][1:] == [late, later]


def test_a_long_transfer_is_indexed_when_it_ends(store, progress):
    message_id = id_at(-3600)
    store.write(lambda tx: tx.add_octets(message_id, b"\r\nslow ", start=0, now=NOW))
    keep(store, 0)
    progress.checked = id_at(-1)  # this round does not check so old messages
    assert index(store, progress) == 1
    message = a_message(message_id, size=12, subject="Large")
    store.write(lambda tx: tx.add_message(message, b"words", [a_delivery("a", message_id)], []))
    progress.checked = id_at(-1)
    assert index(store, progress) == 1
    assert subjects(store, "slow words") == ["Large"]


def test_any_other_message_is_indexed_after_some_rounds(store, progress):
    keep(store, 3600)
    index(store, progress)
    keep(store, 0, subject="Forgotten")
    assert sum(index(store, progress) for _ in range(2 * noting.THOROUGH_EVERY)) == 1
    assert subjects(store, "forgotten") == ["Forgotten"]


def number_of(store):
    ((number,),) = store.rows("SELECT number FROM mail_entries")
    return number


def an_entry(number, **texts):
    given = {"sender": "", "recipients": "", "subject": "", "body": ""}
    return ports.MailEntry(number=number, account=TENANT.account, **given | texts)


def test_messages_are_indexed_once_by_all_servers(store):
    keep(store, 0)
    assert index(store) == 1
    assert index(store.another()) == 0
    entry = an_entry(number_of(store), body="again")
    store.write(lambda tx: tx.add_to_index([entry]))
    assert subjects(store, "again") == []
    assert len(subjects(store, "hello")) == 1


def test_a_message_with_planned_deliveries_is_indexed_when_these_are_stored(system):  # noqa: F811
    message = system.write(accepting(*["p"] * 1, message_id=id_at(0)))
    assert message.id == id_at(0)
    assert index(system) == 1
    assert subjects(system, "to:p@example.com") == ["Hello"]


def test_a_message_that_cannot_be_read_is_found_by_its_subject(store):
    keep(store, 0, raw=b"\r\nunreadable", subject="Strange")
    index(store)
    assert subjects(store, "strange") == ["Strange"]
    assert subjects(store, "unreadable") == []


def test_a_message_that_cannot_be_read_now_is_indexed_later(store):
    class NotNow(Text):
        async def text_of(self, raw):
            raise OSError

    keep(store, 0, raw=b"\r\nneedle", subject="Later")
    note(store)
    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        store.run(indexing.run_round(store.store, NotNow()))
    index(store)
    assert subjects(store, "needle") == ["Later"]


def test_a_very_long_text_is_indexed_up_to_its_limit(store):
    raw = b"\r\n" + b"filler " * 30_000 + b"needle " + b"filler " * 30_000 + b"beyond"
    keep(store, 0, raw=raw, subject="Long")
    index(store)
    assert subjects(store, "needle") == ["Long"]
    assert subjects(store, "beyond") == []


def test_deleted_mail_leaves_the_index(mail):
    def delete(tx, name, account=TENANT.account):
        ids = tx.remove_delivered(inbox(name, account), [id_at(0), id_at(1), id_at(3)])
        tx.end_messages(ids, now=NOW)

    mail.write(delete, "a")
    assert subjects(mail, "invoice") == ["Second invoice"]  # the dead letter is still there
    counted = mail.count("mail_entries", "mail_words")
    assert counted == {"mail_entries": 4, "mail_words": 4}


def test_a_message_that_is_deleted_before_it_is_indexed_does_not_enter_the_index(store):
    message_id = keep(store, 0, ("a", {"status": Status.DELIVERED, "kept": True}))
    note(store)
    entry = an_entry(number_of(store), body="late")
    store.write(lambda tx: tx.end_messages(tx.remove_delivered(inbox("a"), [message_id]), now=NOW))
    store.write(lambda tx: tx.add_to_index([entry]))
    assert store.count("mail_entries", "mail_words") == {"mail_entries": 0, "mail_words": 0}


def test_a_message_that_was_deleted_before_it_is_noted_is_not_noted(store):
    message_id = keep(store, 0, ("a", {"status": Status.DELIVERED, "kept": True}))
    seen = store.long_read(noting.look, noting.Progress(), NOW)
    store.write(lambda tx: tx.end_messages(tx.remove_delivered(inbox("a"), [message_id]), now=NOW))
    store.write(noting.note, seen, now=NOW)
    assert store.count("mail_entries", "mail_changes") == {"mail_entries": 0, "mail_changes": 0}


def test_refusals_are_searched_by_their_texts(store):
    add(
        store,
        a_refusal(account=TENANT.account, sender="ann@example.org", reply="550 5.1.1 no such address"),
        a_refusal(NOW + SECOND, account=TENANT.account, sender="bob@example.org", reply="554 5.7.1 refused"),
        a_refusal(account=OTHER, sender="ann@example.org"),
    )

    def senders(text, **options):
        return [one.sender.partition("@")[0] for one in found(store, text, **options).refusals]

    assert senders("is:refused") == ["bob", "ann"]
    assert senders("is:refused from:ann") == ["ann"]
    assert senders('is:refused to:x "5.7.1 refused"') == ["bob"]
    assert senders(f"is:refused after:{(NOW + SECOND).isoformat()}") == ["bob"]
    assert senders(f"is:refused before:{(NOW + SECOND).isoformat()}") == ["ann"]
    page = found(store, "is:refused", limit=1)
    assert [one.sender for one in found(store, "is:refused", after=page.next, limit=1).refusals] == ["ann@example.org"]


def test_a_damaged_message_is_indexed_without_its_text_and_does_not_keep_others_out_of_the_index(store):
    keep(store, 1, raw=b"Subject: Hello\r\n\r\nlost words\r\n", subject="Damaged")
    keep(store, 2, raw=b"Subject: Hello\r\n\r\nother words\r\n", subject="Sound")
    where = f"message_id = '{id_at(1)}'"
    store.write(lambda tx: tx.connection.execute(f"UPDATE message_bodies SET checksum = 5 WHERE {where}") and None)
    assert index(store) == 2
    assert subjects(store, "words") == ["Sound"]
    assert subjects(store, "ann") == ["Sound", "Damaged"]
