"""The page of the last hour: what is counted in which minute, and what htmx gets."""

from dataclasses import replace
from datetime import timedelta

from tests.kit.peers.mail_sink import Sink
from tests.kit.routed import LATER, MESSAGE, failing, routed
from tests.kit.values import NOW, a_delivery, a_message
from waypost.app.ports import Refusal
from waypost.console.views import flow
from waypost.domain.mail.delivery import Status

MINUTE = timedelta(minutes=1)


def arrived(number, *, ago, status=Status.DELIVERED, **fields):
    message = replace(a_message(), id=f"m{number}", received_at=NOW - ago)
    return a_delivery("x", message.id, status=status, **fields), message


def refused(*, ago):
    given = dict.fromkeys(("peer", "helo", "sender", "recipient", "recipient_key", "reply"), "")
    return Refusal(at=NOW - ago, stage="rcpt", detail={}, **given)


def test_mail_is_counted_in_the_minute_in_which_it_arrived():
    counts = flow.counted(
        [
            arrived(1, ago=timedelta()),
            arrived(1, ago=timedelta()),
            arrived(2, ago=MINUTE, status=Status.QUEUED),
            arrived(3, ago=59 * MINUTE, status=Status.DEAD),
            arrived(4, ago=60 * MINUTE),
            arrived(5, ago=120 * MINUTE),
        ],
        [refused(ago=timedelta()), refused(ago=200 * MINUTE)],
        NOW,
    )
    last, before = slice(60, None), slice(0, 60)
    assert (sum(counts.accepted[last]), sum(counts.accepted[before])) == (3, 1)  # a message counts once
    assert (counts.delivered[-1], counts.waiting[-2], counts.dead[-60], counts.refused[-1]) == (2, 1, 1, 1)
    assert sum(counts.refused) == 1
    assert sum(counts.to["smtp://mail.example.net:25"]) == 5
    (row,) = flow.rows(counts, [])
    assert (row.count, row.dead) == (4, 1)


def test_the_figures_are_compared_with_the_hour_before():
    found = flow.counted([arrived(n, ago=n * 25 * MINUTE) for n in range(5)], [], NOW)
    accepted, delivered, waiting, refused_ones = flow.figures(found, waits=1204)
    assert (accepted.value, accepted.change) == (3, "1 more than in the hour before")
    assert (delivered.value, waiting.value, refused_ones.change) == (3, 1204, "as in the hour before")
    found.is_complete = False
    assert flow.figures(found, waits=0)[0].change == ""


def test_destinations_are_shown_without_their_secrets_and_the_busiest_first():
    found = flow.counted(
        [
            arrived(1, ago=MINUTE, to="https://hook.example/?key=hunter2"),
            arrived(2, ago=MINUTE, to=""),
            arrived(3, ago=MINUTE, to=""),
        ],
        [],
        NOW,
    )
    assert [(row.name, row.count) for row in flow.rows(found, [])] == [("", 2), ("https://hook.example/?…", 1)]


def test_the_page_shows_mail_that_was_accepted_and_a_destination_for_which_mail_waits(console):
    with Sink(at_rcpt=lambda _: LATER) as sink, routed(console, sink.to) as address:
        console.system.deliver(MESSAGE, address)
        failing(console, address)
        page = console.browser.get("/flow")
    assert page.status == 200
    assert '<svg class="plot"' in page.html
    assert f"{sink.to} 1 ! failing 1 " in page.text
    assert "Accepted" in page.text
    assert len(page.octets) < 40_000


def test_htmx_gets_the_part_of_the_page_that_changes(console):
    page = console.browser.get("/flow", headers={"HX-Request": "true"})
    assert page.status == 200
    assert page.html.lstrip().startswith('<div id="flow" hx-get="/console/flow" hx-trigger="every 5s"')
    assert "<html" not in page.html


def test_mail_of_another_account_is_not_counted(console):
    with Sink() as sink, routed(console, sink.to) as address:
        console.system.deliver(MESSAGE, address)
        sink.wait_for(1)
        key, _ = console.new_key(account="111111111111", name="theirs")
        page = console.signed_in(key.id, key.secret).get("/flow")
    assert "No mail in the last hour." in page.text
    assert sink.to not in page.text


def test_a_key_without_inspect_does_not_see_the_flow(console):
    key, _ = console.new_key("waypost:Redrive")
    assert console.signed_in(key.id, key.secret).get("/flow").status == 403
