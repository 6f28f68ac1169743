"""The page of the queue: the state of each destination, its waiting deliveries, and what other keys see of them."""

import html

import pytest

from tests.kit.peers.mail_sink import Sink
from tests.kit.routed import LATER, MESSAGE, failing, routed
from tests.kit.values import NOW, a_delivery
from waypost.app import ports
from waypost.app.queue.waiting import Destination
from waypost.console.views import queue

OTHER = "111111111111"


def test_the_queue_shows_a_failing_destination_and_its_waiting_delivery(console):
    with Sink(at_rcpt=lambda _: LATER) as sink, routed(console, sink.to) as address:
        message = console.system.deliver(MESSAGE, address)
        failing(console, address)
        page = console.browser.get("/queue")
        assert page.status == 200
        assert f"{sink.to} ! failing 1 " in page.text
        assert "451 4.3.0 the disk is full" in page.text
        assert f'<a href="/console/mail/{message}">Invoice 118</a>' in page.html
        of_sink = console.browser.get("/queue", destination=sink.to)
        assert f'<a href="/console/mail/{message}">' in of_sink.html


def test_the_queue_of_one_destination_has_no_other_deliveries(console):
    with Sink(at_rcpt=lambda _: LATER) as sink, routed(console, sink.to) as address:
        console.system.deliver(MESSAGE, address)
        failing(console, address)
        page = console.browser.get("/queue", destination="smtp://192.0.2.1:2525")
        assert "Nothing waits for smtp://192.0.2.1:2525" in page.text
        assert address not in page.html


def test_the_queue_hides_the_secrets_of_a_webhook_and_finds_its_deliveries_without_them(console):
    to = "http://127.0.0.1:1/hook?token=hunter2hunter2"
    with routed(console, to, secret="0123456789abcdef", allow_private=True) as address:
        message = console.system.deliver(MESSAGE, address)
        failing(console, address)
        whole = console.browser.get("/queue")
        one = console.browser.get("/queue", destination="http://127.0.0.1:1/hook?…")
    for page in (whole, one):
        assert "http://127.0.0.1:1/hook?…" in page.text
        assert message in page.html
        assert "hunter2" not in html.unescape(page.html)


def test_the_queue_of_another_account_is_empty(console):
    with Sink(at_rcpt=lambda _: LATER) as sink, routed(console, sink.to) as address:
        console.system.deliver(MESSAGE, address)
        failing(console, address)
        key, _ = console.new_key(account=OTHER, name="theirs")
        theirs = console.signed_in(key.id, key.secret)
        page = theirs.get("/queue", destination=sink.to)
        assert "Nothing waits for" in page.text
        assert address not in page.html
        assert "Nothing waits." in theirs.get("/queue").text


@pytest.mark.parametrize("path", ["/queue", "/queue/dead-letters"])
def test_a_key_without_inspect_does_not_see_the_queue(console, path):
    key, _ = console.new_key("waypost:Redrive")
    page = console.signed_in(key.id, key.secret).get(path)
    assert page.status == 403
    assert "does not allow waypost:Inspect" in page.text


@pytest.mark.parametrize("path", ["/queue", "/queue/dead-letters"])
def test_a_page_that_begins_at_something_else_than_a_delivery_is_refused(console, path):
    page = console.browser.get(path, after="'; --")
    assert page.status == 400
    assert "Go back to the list." in page.text


def test_the_state_of_a_destination_follows_from_its_deliveries():
    def state(*lines):
        found = Destination(ports.Waiting("smtp://a.example:25", NOW), len(lines))
        return queue.destination_row(found, lines).state

    fresh, failed, claimed = line(), line(because="451 later"), line(is_claimed=True, because="451 later")
    assert state(fresh, fresh) == "waiting"
    assert state(fresh, failed) == "failing"
    assert state(failed, claimed) == "attempted now"


def line(*, is_claimed=False, because=""):
    delivery = a_delivery(to="smtp://a.example:25")
    return ports.QueueLine(delivery, NOW, NOW, 1, is_claimed, because)
