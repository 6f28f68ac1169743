"""The list of mail: its rows, filters, pages and search. A browser without scripts shows all of this."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE, wait_until
from waypost.console import rendering
from waypost.console.views.mail import sidebar

OTHER = "111111111111"
KINDS = ["All mail", "Direct", "Forwarded", "Notices", "Refused", "Waiting", "Dead letters"]
HOSTILE = '"><script>alert(1)</script>'


def mail(subject="Where is my order?", text="Hello!", **fields):
    """Return a message with a subject and a text."""
    lines = [f"Subject: {subject}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", text, ""]).encode()


def ids(page):
    """Return the ids of the messages in a list, in the order of the page."""
    return re.findall(r'<li class="row" id="m-([0-9a-f-]{36})"', page.html)


def test_the_console_begins_with_the_mail(console):
    assert console.browser.get("/").location == "/console/mail"
    key, _ = console.new_key("waypost:ListAccessKeys")
    assert console.signed_in(key.id, key.secret).get("/").location == "/console/keys"


def test_a_row_has_the_sender_the_subject_the_time_and_the_way(console):
    address = console.system.new_address()
    message_id = console.system.deliver(mail(), address, sender="ann@shop.example")
    page = console.browser.get("/mail", address=address)
    assert page.status == 200
    assert ids(page) == [message_id]
    assert "ann@shop.example" in page.text
    assert "Where is my order?" in page.text
    assert "✓ direct" in page.text
    assert re.search(r'<time datetime="\d{4}-\d\d-\d\dT', page.html)
    assert f'href="/console/mail/{message_id}?address={address.replace("@", "%40")}"' in page.html


def test_a_message_to_an_alias_is_one_row_with_an_arrow(console):
    alias, primary = console.system.linked_pair()
    message_id = console.system.deliver(mail(), alias)
    page = console.browser.get("/mail")
    assert ids(page).count(message_id) == 1
    assert f'title="{alias} → {primary}"' in page.html
    assert f"{alias.partition('@')[0]}@ → {primary} ✓ forwarded" in page.text
    assert ids(console.browser.get("/mail", address=primary)) == [message_id]
    assert ids(console.browser.get("/mail", address=alias)) == [message_id]


@pytest.mark.parametrize(
    ("way", "short"),
    [
        ("help@x.example → desk@x.example", "help@ → desk@x.example"),
        ("help@x.example → desk@y.x.example", "help@x.example → desk@y.x.example"),
        ("help@x.example → desk@yx.example", "help@x.example → desk@yx.example"),
        ("desk@x.example", "desk@x.example"),
    ],
)
def test_a_way_has_its_domain_once(way, short):
    assert rendering.short_way(way) == short


def test_the_null_sender_and_an_empty_subject_have_words(console):
    address = console.system.new_address()
    console.system.deliver(b"\r\nHi\r\n", address, sender="")
    text = console.browser.get("/mail", address=address).text
    assert "null sender" in text
    assert "(no subject)" in text


def test_filters_are_links_that_keep_the_address(console):
    address = console.system.new_address()
    page = console.browser.get("/mail", address=address)
    links = re.findall(r'<a href="(/console/mail[^"]*)"[^>]*>([^<]+)', page.html)
    found = {label.strip(): href for href, label in links}
    assert [label for label in found if label in KINDS] == KINDS
    assert found["Dead letters"].replace("&amp;", "&") == f"/console/mail?is=dead&address={address.replace('@', '%40')}"
    assert found["Refused"] == "/console/mail?is=refused"
    for label in KINDS:
        one = console.browser.get(found[label].replace("&amp;", "&"))
        assert one.status == 200
        assert re.search(rf'aria-current="page">{label}', one.html)


@pytest.mark.parametrize(("kind", "has"), [("direct", [0, 1]), ("forwarded", [0]), ("notice", []), ("waiting", [])])
def test_a_filter_selects_deliveries(console, kind, has):
    alias, primary = console.system.linked_pair()
    both = [console.system.deliver(mail(), alias), console.system.deliver(mail(), primary)]
    found = ids(console.browser.get("/mail", **{"is": kind}))
    assert [message_id in found for message_id in both] == [place in has for place in (0, 1)]


def test_refused_mail_is_listed_with_the_reply(console):
    address = "nobody@unknown.example"
    console.system.rcpt(address)
    page = wait_until(
        lambda: (page := console.browser.get("/mail", **{"is": "refused"})) and address in page.text and page
    )
    assert "✕ refused" in page.text
    assert "5.1.1" in page.text
    assert re.search(r'>Refused <span class="count">\d+\+?</span>', page.html)
    assert console.browser.get("/mail", **{"is": "refused", "after": "ab"}).status == 400


def test_older_mail_is_on_the_next_page(console):
    address = console.system.new_address()
    sent = [console.system.deliver(mail(f"Number {number}"), address) for number in range(45)]
    first = console.browser.get("/mail", address=address)
    assert ids(first) == sent[:4:-1]
    older = re.search(r'href="([^"]+)" rel="next">Older', first.html)[1].replace("&amp;", "&")
    second = console.browser.get(older)
    assert ids(second) == sent[4::-1]
    assert 'rel="next"' not in second.html
    assert "data-events" in first.html
    assert "data-events" not in second.html
    assert len(first.octets) < 40_000


def test_a_message_to_many_addresses_is_one_row(console):
    addresses = [console.system.new_address() for _ in range(5)]
    message_id = console.system.deliver(mail(), *addresses)
    page = console.browser.get("/mail")
    assert ids(page)[0] == message_id
    assert "+3" in page.text


@pytest.mark.parametrize(("count", "words"), [(0, ""), (7, "7"), (99, "99"), (100, "99+")])
def test_counts_of_kinds_are_bounded(count, words):
    assert sidebar.count_in_words(count) == words


@pytest.mark.parametrize("name", ["is", "address", "after"])
def test_a_wrong_parameter_is_refused_with_a_sentence(console, name):
    page = console.browser.get("/mail", **{name: HOSTILE})
    assert page.status == 400
    assert "<script>alert" not in page.html


def test_a_search_finds_words_operators_and_ids(console):
    address = console.system.new_address()
    word = f"word{address.split('@')[0].replace('.', '')}"
    message_id = console.system.deliver(mail(text=f"A text with {word}.", Message_ID="<one@shop.example>"), address)
    wait_until(lambda: ids(console.browser.get("/mail", q=word)) == [message_id], "the mail is not indexed")
    for query in (f"{word} subject:order", f"to:{address}", f"id:{message_id}", f"{word} is:direct", f"{word[:-1]}*"):
        assert ids(console.browser.get("/mail", q=query)) == [message_id], query
    assert ids(console.browser.get("/mail", q=f"{word} is:forwarded")) == []


def test_a_search_without_results_explains_the_operators(console):
    nothing = console.browser.get("/mail", q=f"{HOSTILE[7:]} nowhere")
    assert "Nothing was found" in nothing.text
    assert "from:ann to:support subject:order" in nothing.text
    assert "<script>alert" not in nothing.html


def test_an_error_in_a_query_is_explained(console):
    page = console.browser.get("/mail", q="is:purple")
    assert page.status == 200
    assert "The query has an error" in page.text
    assert "is: must be waiting, dead," in page.text
    assert "at most 1,000 characters" in console.browser.get("/mail", q="x" * 2_000).text
    assert "<script>alert" not in console.browser.get("/mail", q=f"<script>alert(1)</script>{HOSTILE}").html


def test_a_search_has_pages(console):
    address = console.system.new_address()
    sent = [console.system.deliver(mail(f"Number {number}"), address) for number in range(42)]
    key = f"to:{address}"
    wait_until(lambda: sent[-1] in (found := ids(console.browser.get("/mail", q=key))) and len(found) == 40)
    page = console.browser.get("/mail", q=key)
    assert ids(page) == sent[:1:-1]
    older = re.search(r'href="([^"]+)" rel="next">Older', page.html)[1].replace("&amp;", "&")
    assert ids(console.browser.get(older)) == sent[1::-1]


def test_a_search_for_refusals_lists_refusals(console):
    address = "nobody2@unknown.example"
    console.system.rcpt(address)
    wait_until(lambda: "✕ refused" in console.browser.get("/mail", q=f"is:refused to:{address}").text)


def test_the_search_box_of_every_page_leads_to_the_mail(console):
    assert '<form class="search" action="/console/mail" method="get"' in console.browser.get("/keys").html


def test_text_of_a_message_is_escaped_in_a_list(console):
    address = console.system.new_address()
    console.system.deliver(mail(HOSTILE), address)
    page = console.browser.get("/mail", address=address)
    assert HOSTILE in page.text.replace(" >", ">") or "&#34;&gt;&lt;script&gt;" in page.html
    assert "<script>alert" not in page.html


def test_an_account_sees_only_its_own_mail(console):
    address = console.system.new_address()
    message_id = console.system.deliver(mail(), address)
    key, _ = console.new_key(account=OTHER)
    other = console.signed_in(key.id, key.secret)
    page = other.get("/mail")
    assert page.status == 200
    assert ids(page) == []
    assert "No mail yet" in page.text
    assert ids(other.get("/mail", address=address)) == []
    assert ids(other.get("/mail", q=message_id)) == []
    for path in ("", "/html", "/raw", "/parts/1"):
        assert other.get(f"/mail/{message_id}{path}").status == 404, path
    for path in ("redrive", "forward"):
        assert other.post(f"/mail/{message_id}/{path}").status == 404, path


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_commands_of_a_page_without_mail_send_mail(console):
    key, _ = console.new_key(account=OTHER)
    page = console.signed_in(key.id, key.secret).get("/mail")
    (shown,) = re.findall(r"<pre data-copy>(.*?)</pre>", page.html, re.DOTALL)
    address = console.system.new_address()
    commands = html.unescape(shown).replace("support@example.com", address)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ
        | {
            "WAYPOST_SERVE_DATA": str(console.system.server.data),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ids(console.browser.get("/mail", address=address))) == 1


def test_the_policy_decides_who_reads_mail(console):
    address = console.system.new_address()
    message_id = console.system.deliver(mail(), address)
    key, _ = console.new_key("waypost:ListAccessKeys")
    reader = console.signed_in(key.id, key.secret)
    for path in ("/mail", f"/mail/{message_id}", f"/mail/{message_id}/raw", "/mail/events"):
        page = reader.get(path)
        assert page.status == 403, path
        assert "waypost:Inspect" in page.text
