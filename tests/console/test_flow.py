"""The page of the last hour: what is counted in which minute, and what htmx gets."""

from collections import Counter

from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.routed import LATER, MESSAGE, REFUSED, dead_letters, failing, routed
from tests.kit.values import NOW
from waypost.console.views import flow
from waypost.console.views.flow import Counts

THIS_MINUTE, THIS_HOUR = int(NOW.timestamp()) // 60, int(NOW.timestamp()) // 3600


def a_count(*found, to=(), dead_to=()):
    """Return counts. `found` has for each how many minutes ago it was, its kind and its number."""
    minutes = flow.by_minute([(THIS_MINUTE - ago, kind, count) for ago, kind, count in found], NOW)
    return Counts(
        minutes, flow.by_hour([(name, THIS_HOUR - ago, count) for name, ago, count in to], NOW), Counter(dead_to)
    )


def test_counts_are_in_their_minutes():
    minutes = a_count(
        (0, "accepted", 3), (59, "dead", 1), (119, "refused", 2), (120, "dead", 5), (-1, "dead", 5)
    ).minutes
    assert (minutes["accepted"][-1], minutes["dead"][-60], minutes["refused"][0]) == (3, 1, 2)
    assert sum(map(sum, minutes.values())) == 6


def test_a_kind_that_the_page_does_not_know_is_left_out():
    assert not any(map(any, a_count((0, "returned", 1)).minutes.values()))


def test_the_figures_are_compared_with_the_hour_before():
    found = a_count(
        (0, "accepted", 2), (59, "accepted", 1), (60, "accepted", 2), (90, "delivered", 1200), (0, "dead", 1)
    )
    accepted, delivered, waiting, refused = flow.figures(found, waits=1204)
    assert (accepted.value, accepted.change) == (3, "1 more than in the hour before")
    assert (delivered.value, delivered.change) == (0, "1\u202f200 fewer than in the hour before")
    assert (waiting.value, waiting.change) == (1204, "1 dead letter in this hour")
    assert refused.change == "as in the hour before"


def test_destinations_are_shown_without_their_secrets_and_the_busiest_first():
    hook = "https://hook.example/?key="
    found = a_count(to=[(f"{hook}one", 0, 1), (f"{hook}two", 23, 1), ("", 5, 3), ("", 24, 9)], dead_to={"": 2})
    inbox, webhook = flow.rows(found, [])
    assert (inbox.name, inbox.count, inbox.dead) == ("", 3, 2)
    assert (webhook.name, webhook.count, webhook.dead) == ("https://hook.example/?…", 2, 0)


def test_the_page_shows_destinations_for_which_mail_waits_or_that_refused_it(console):
    with (
        Sink(at_rcpt=lambda _: LATER) as late,
        Sink(at_rcpt=lambda _: REFUSED) as refusing,
        routed(console, late.to) as waits,
        routed(console, refusing.to) as dead,
    ):
        console.system.deliver(MESSAGE, waits)
        console.system.deliver(MESSAGE, dead)
        failing(console, waits)
        dead_letters(console, dead)

        def counted():  # mail is counted a second later
            page = console.browser.get("/flow")
            return page if f"{late.to} 1 " in page.text and f"{refusing.to} 1 " in page.text else None

        page = wait_until(counted, "the mail is not counted")
    assert page.status == 200
    assert '<svg class="plot"' in page.html
    assert f"{late.to} 1 ! failing 1 " in page.text
    assert f"{refusing.to} 1 † 1 dead letter 0 " in page.text
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
    assert "No mail in the last day." in page.text
    assert sink.to not in page.text


def test_a_key_without_inspect_does_not_see_the_flow(console):
    key, _ = console.new_key("waypost:Redrive")
    assert console.signed_in(key.id, key.secret).get("/flow").status == 403
