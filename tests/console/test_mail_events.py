"""The stream of events that keeps a list of mail current."""

import http.client
import re
import urllib.parse
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import pytest

from tests.console.conftest import Console
from tests.console.test_mail import mail
from tests.kit.browser import Browser
from tests.kit.patience import PATIENCE
from tests.kit.servers.running import System
from waypost import testing
from waypost.app.directory import access_keys
from waypost.console.views.mail import live
from waypost.console.views.mail.live import Shown
from waypost.console.views.mail.rows import Chip, Page, Row


@contextmanager
def stream(console, query="", **headers):
    """Yield a function that returns the name, the id and the data of the next event."""
    url = urllib.parse.urlsplit(console.system.server.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
    cookies = "; ".join(f"{name}={value}" for name, value in console.browser.cookies.items())
    fields = {"Cookie": cookies, "Accept": "text/event-stream"} | headers
    connection.request("GET", f"/console/mail/events{query}", headers=fields)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    assert response.headers["content-type"].startswith("text/event-stream")

    def next_event():
        found = {"event": "", "id": "", "data": ""}
        while True:
            line = response.readline().decode()
            if not line:
                raise ValueError("the stream has ended")
            line = line.rstrip("\n")
            if not line and found["event"]:
                return found["event"], found["id"], found["data"].strip()
            name, _, value = line.partition(": ")
            if name in found:
                found[name] += f"{value}\n" if name == "data" else value

    try:
        yield next_event
    finally:
        connection.close()


def until(next_event, text):
    """Return the first event whose data contains a text."""
    while True:
        found = next_event()
        if text in found[2]:
            return found


def test_new_mail_appears_as_a_row(console):
    address = console.system.new_address()
    query = f"?address={urllib.parse.quote(address)}"
    with stream(console, query) as next_event:
        message_id = console.system.deliver(mail("Live <b>"), address)
        name, event_id, data = next_event()
    assert (name, event_id) == ("message", message_id)
    assert data.startswith(f'<li class="row" id="m-{message_id}">')
    assert "Live &lt;b&gt;" in data
    assert f"/console/mail/{message_id}?address=" in data


def test_the_newest_of_much_mail_appears(console):
    address = console.system.new_address()
    with stream(console, f"?address={urllib.parse.quote(address)}") as next_event:
        sent = [console.system.deliver(mail(f"Number {number}"), address) for number in range(60)]
        assert until(next_event, sent[-1])[1] == sent[-1]


def test_a_stream_has_only_the_mail_of_its_filter(console):
    alias, primary = console.system.linked_pair()
    with stream(console, "?is=forwarded") as next_event:
        console.system.deliver(mail("direct"), primary)
        forwarded = console.system.deliver(mail("through the alias"), alias)
        assert until(next_event, forwarded)[0] == "message"


def test_a_stream_continues_after_the_event_that_the_browser_had_last(console):
    address = console.system.new_address()
    sent = [console.system.deliver(mail(f"Number {number}"), address) for number in range(3)]
    query = f"?address={urllib.parse.quote(address)}"
    for extra, headers in ((f"&seen={sent[0]}", {}), ("", {"Last-Event-ID": sent[0]})):
        with stream(console, query + extra, **headers) as next_event:
            found = [next_event()[1] for _ in range(3)]
        # The stream repeats recent mail, because it can be committed after mail with greater ids.
        assert found == sent


def test_the_page_says_where_its_events_are(console):
    address = console.system.new_address()
    message_id = console.system.deliver(mail(), address)
    page = console.browser.get("/mail", address=address)
    url = re.search(r'data-events="([^"]+)" data-event-names="message changed gone reload"', page.html)[1]
    assert url == f"/console/mail/events?address={address.replace('@', '%40')}&amp;seen={message_id}"
    assert 'data-live-rows aria-live="polite"' in page.html


@pytest.mark.parametrize("query", ["?is=refused", "?q=x", "?seen=<script>", "?after=00"])
def test_a_list_without_events_is_refused(console, query):
    assert console.browser.get(f"/mail/events{query}").status == 400


def test_the_events_need_a_session(console):
    assert console.new_browser().get("/mail/events").status == 303


@pytest.mark.parametrize("is_key_deactivated", [True, False], ids=["deactivated", "signed out"])
def test_a_stream_ends_before_mail_that_the_person_may_no_longer_see(console, is_key_deactivated):
    key, _ = console.new_key("waypost:Inspect")
    other = Console(console.system, console.signed_in(key.id, key.secret))
    with stream(console) as next_event, stream(other) as next_of_other:
        if is_key_deactivated:
            console.write(partial(access_keys.set_active, access_key_id=key.id, active=False))
        else:
            other.browser.get("/mail")
            assert other.browser.post("/sign-out").status == 303
        message_id = console.system.deliver(mail("Not for others"), console.system.new_address())
        until(next_event, message_id)
        with pytest.raises(ValueError, match="ended"):
            until(next_of_other, message_id)


def test_a_server_with_an_open_stream_stops_at_once(tmp_path):
    server = testing.Server(tmp_path / "data", "--hostname", "mail.example")
    server.start()
    system, browser = System(server), Browser(server.url)
    system.connect.close()
    assert browser.sign_in(server.profile.key.id, server.profile.key.secret).status == 303
    with stream(Console(system, browser)) as next_event:
        server.stop()
        with pytest.raises(ValueError, match="ended"):  # the server would otherwise abort the connection
            next_event()


# The changes of a list


def ids_of(*numbers):
    return [f"{number:08x}-0000-7000-8000-000000000000" for number in numbers]


def page(*numbers, more=False, chip="direct"):
    rows = [
        Row(
            id=message_id,
            sender="a@x.example",
            subject="",
            at=datetime(2026, 11, 1, tzinfo=UTC),
            ways=("b@x.example",),
            more=0,
            chips=(Chip("✓", chip, "green"),),
        )
        for message_id in ids_of(*numbers)
    ]
    return Page(rows, rows[-1].id if more else None)


def names(changes):
    return [(change.name, int(change.id[:8] or "0", 16)) for change in changes]


def rows(*numbers, chip="direct"):
    """Return changed rows, by the ids of their messages."""
    return {row.id: row for row in page(*numbers, chip=chip).rows}


def test_new_rows_are_sent_oldest_first():
    assert names(Shown(page(2, 1)).change(rows(4, 3))) == [("message", 3), ("message", 4)]


def test_a_row_that_is_known_is_not_sent_again():
    shown = Shown(page(2, 1))
    assert names(shown.change(rows(3, 2))) == [("message", 3)]
    assert names(shown.change(rows(3, 2))) == []


def test_a_row_that_was_committed_late_is_new():
    assert names(Shown(page(4, 1)).change(rows(3))) == [("message", 3)]


def test_a_row_with_another_status_has_changed():
    shown = Shown(page(2, 1))
    assert names(shown.change(rows(1, chip="dead"))) == [("changed", 1)]
    assert names(shown.change(rows(1, chip="dead"))) == []


def test_a_row_that_left_the_list_is_gone():
    shown = Shown(page(3, 2, 1))
    assert names(shown.change(dict.fromkeys(ids_of(2, 4)))) == [("gone", 2)]
    assert [row.id for row in shown.page.rows] == ids_of(3, 1)


def test_rows_beyond_the_end_of_the_first_page_are_neither_new_nor_gone():
    shown = Shown(page(4, 3, more=True))
    assert names(shown.change(rows(2) | dict.fromkeys(ids_of(1)))) == []
    assert names(shown.change(rows(5))) == [("message", 5)]


def test_of_more_new_rows_than_a_person_can_read_the_newest_are_sent():
    shown = Shown(page(2, 1))
    found = names(shown.change(rows(*range(3, 4 + live.MANY)) | rows(1, chip="dead")))
    newest = 3 + live.MANY
    assert found[:2] == [("reload", 0), ("changed", 1)]
    assert found[2:] == [("message", number) for number in range(newest - live.FEW + 1, newest + 1)]
    assert [row.id for row in shown.page.rows] == list(reversed(ids_of(*range(1, newest + 1))))


def test_a_list_that_is_read_again_has_the_changes_since():
    shown = Shown(page(4, 3, 2, more=True))
    assert names(shown.replace(page(5, 4, 3, more=True))) == [("message", 5)]
    assert names(shown.replace(page(6, 5, 3, chip="dead"))) == [
        ("gone", 2),
        ("changed", 3),
        ("gone", 4),
        ("changed", 5),
        ("message", 6),
    ]


def test_a_list_keeps_only_its_newest_rows(monkeypatch):
    monkeypatch.setattr(live, "KEPT", 3)
    shown = Shown(page(2, 1))
    assert names(shown.change(rows(4, 3))) == [("message", 3), ("message", 4)]
    assert names(shown.change(rows(1, chip="dead"))) == []
    assert names(shown.change(rows(2, chip="dead"))) == [("changed", 2)]


def test_a_browser_that_missed_more_than_a_page_must_reload():
    seen = ids_of(1)[0]
    assert names(live.since(page(0xFFFFFF, 0xFFFFFE, more=True), seen))[0] == ("reload", 0)
    assert names(live.since(page(2), "")) == [("message", 2)]
