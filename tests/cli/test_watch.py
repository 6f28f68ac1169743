"""The rows of `waypost watch`."""

import os

import click
import pytest

from waypost.cli.commands import watch
from waypost.cli.commands.watch import Watched
from waypost.client.changes import Change


def delivery(message="m1", address="support@example.com", **members):
    return {
        "id": message,
        "received_at": "2026-11-23T12:06:37.001Z",
        "from": "ann@shop.example",
        "address": address,
        "delivery": f"{message}.{address}",
        "to": "support@example.com",
        "subject": "Hello",
        "size": 10,
        "reason": "direct",
        "via": None,
        "status": "delivered",
        **members,
    }


def forwarded(**members):
    return delivery(address="desk@example.com", reason="forwarded", via="support@example.com", **members)


def change(*deliveries, kind="new", message="m1", delivery_id=None):
    return Change(kind, message, delivery_id, "2026-11-23T12:06:38.000Z", list(deliveries))


def test_a_row_names_the_primary_behind_an_alias():
    watched = Watched()
    row = watched.apply(change(delivery(), forwarded(status="queued")))
    assert row.line == "m1  delivered, queued  <ann@shop.example> to support@example.com -> desk@example.com: Hello"


def test_a_row_names_all_recipients_once():
    watched = Watched()
    other = delivery(address="info@example.com", to="info@example.com")
    assert watched.apply(change(delivery(), other)).recipients == "support@example.com, info@example.com"


def test_a_row_is_returned_only_if_it_looks_different():
    watched = Watched()
    assert watched.apply(change(delivery(), forwarded(status="queued")))
    queued = change(forwarded(status="queued"), kind="deferred", delivery_id="m1.desk@example.com")
    assert watched.apply(queued) is None
    dead = watched.apply(change(forwarded(status="dead"), kind="dead", delivery_id="m1.desk@example.com"))
    assert dead.statuses == ["delivered", "dead"]


def test_a_deleted_delivery_is_shown_as_deleted():
    watched = Watched()
    watched.apply(change(delivery()))
    gone = change(kind="deleted", delivery_id="m1.support@example.com")
    assert watched.apply(gone).statuses == ["deleted"]
    assert watched.apply(gone) is None
    assert watched.apply(change(kind="deleted", message="m2", delivery_id="m2.x")) is None


def test_a_change_of_a_message_that_was_deleted_meanwhile_is_ignored():
    assert Watched().apply(change()) is None


def test_only_the_newest_messages_are_remembered():
    watched = Watched()
    for number in range(watch.ROWS + 10):
        watched.apply(change(delivery(f"m{number:04}"), message=f"m{number:04}"))
    newest = watched.newest(1000)
    assert len(newest) == watch.ROWS
    assert [newest[0].message_id, newest[-1].message_id] == [f"m{watch.ROWS + 9:04}", "m0010"]


@pytest.mark.parametrize("hostile", ["[bold red]x[/]", "a\x1b[2Jb", "a\nb", ":smile:"])
def test_a_table_shows_untrusted_text_as_it_is_but_without_control_characters(hostile):
    watched = Watched()
    watched.note = "Waiting for [mail]."
    watched.apply(change(delivery(subject=hostile, **{"from": hostile}, to=hostile)))
    printed = click.unstyle(watch._screen(watched, os.terminal_size((200, 10))))
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in hostile)
    assert printed.count(shown) == 3
    assert "Waiting for [mail]." in printed
    assert "12:06:37" in printed


def test_a_screen_shows_as_many_messages_as_fit():
    watched = Watched()
    for number in range(20):
        watched.apply(change(delivery(f"m{number:02}", subject=f"number {number}"), message=f"m{number:02}"))
    lines = click.unstyle(watch._screen(watched, os.terminal_size((60, 10)))).splitlines()
    assert len(lines) == 10 - 1
    assert "number 19" in lines[2]
    assert "number 14" in lines[7]
    assert max(map(len, lines)) <= 60 + len("\x1b[H\x1b[K")
