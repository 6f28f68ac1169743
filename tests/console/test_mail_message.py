"""The view of one message: its tabs, its header, its checks and its trace, also if the message is broken or hostile."""

import html
import re
from datetime import timedelta

import pytest

from tests.console.test_mail import HOSTILE, ids, mail
from tests.kit.routed import failing, routed
from tests.kit.values import NOW
from waypost.console.views.mail import timeline
from waypost.domain.mail.routes import Fault
from waypost.domain.mail.trace_events import AcceptedEvent, TraceEvent

ALTERNATIVE = b"""From: =?utf-8?q?Ann_M=C3=BCller?= <ann@shop.example>
To: support@example.com
Subject: Two forms
Message-ID: <two@shop.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

The text \xc3\xa4
--b
Content-Type: text/html

<p onclick="x()">The <b>HTML</b><script>alert(1)</script><img src="https://tracker.example/x.png"></p>
--b--
""".replace(b"\n", b"\r\n")


@pytest.fixture
def opened(console):
    """A function that delivers a message, opens it, and returns the page."""

    def open_it(raw, view="", **query):
        address = console.system.new_address()
        message_id = console.system.deliver(raw, address)
        page = console.browser.get(f"/mail/{message_id}", **({"view": view} if view else {}), **query)
        assert page.status == 200, page.text
        return page

    return open_it


def test_a_message_is_shown_next_to_its_list(console):
    address = console.system.new_address()
    older, newer = (console.system.deliver(mail(subject), address) for subject in ("One", "Two"))
    page = console.browser.get(f"/mail/{older}", address=address)
    assert ids(page) == [newer, older]
    assert re.search(rf'href="/console/mail/{older}[^"]*" aria-current="true"', page.html)
    assert "<h2>One</h2>" in page.html
    assert "<title>One – Waypost</title>" in page.html


def test_htmx_gets_only_the_message(console):
    message_id = console.system.deliver(mail(), console.system.new_address())
    page = console.browser.get(f"/mail/{message_id}", headers={"HX-Request": "true", "HX-Boosted": "true"})
    assert page.html.startswith("<title>Where is my order? – Waypost</title>")
    assert "<html" not in page.html
    again = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    assert "<html" in console.browser.get(f"/mail/{message_id}", headers=again).html


def test_the_tabs_are_links(opened):
    page = opened(ALTERNATIVE)
    tabs = re.findall(r'<a href="[^"]*\?view=(\w+)"[^>]*>([^<]+)</a>', page.html)
    assert tabs == [("text", "Text"), ("html", "HTML"), ("headers", "Headers"), ("source", "Source")]
    assert "The text ä" in page.text
    assert "Ann Müller <ann@shop.example>" in page.text
    assert "<iframe" not in page.html


def test_the_html_is_in_a_sandboxed_frame(opened):
    page = opened(ALTERNATIVE, "html")
    (frame,) = re.findall(r"<iframe[^>]*>", page.html)
    sandbox = re.search(r'sandbox="([^"]*)"', frame)[1].split()
    assert set(sandbox) == {"allow-popups", "allow-popups-to-escape-sandbox"}
    assert re.search(r'src="/console/mail/[0-9a-f-]{36}/html"', frame)
    assert "1 remote picture not loaded" in page.text
    assert re.search(r'href="[^"]*view=html&amp;remote=1[^"]*">Show remote content', page.html)
    assert "tracker.example" not in page.html


def test_remote_content_is_shown_on_request(opened):
    page = opened(ALTERNATIVE, "html", remote="1")
    assert re.search(r'src="/console/mail/[0-9a-f-]{36}/html\?remote=1"', page.html)
    assert "not loaded" not in page.text


def test_a_message_with_only_html_opens_as_html(opened):
    page = opened(b"Content-Type: text/html\r\n\r\n<img src=x>\r\n")
    assert "<iframe" in page.html


def test_links_that_mislead_are_counted(opened):
    raw = b'Content-Type: text/html\r\n\r\n<a href="https://evil.example/">https://bank.example</a>\r\n'
    assert "1 link of this message lead elsewhere" in opened(raw, "html").text


def test_headers_and_source_are_shown(opened):
    headers = opened(ALTERNATIVE, "headers")
    assert "Delivered-To" in headers.text
    assert "Ann Müller" in headers.text
    source = opened(ALTERNATIVE, "source")
    assert "Return-Path: <a@client.example>" in source.text
    assert "=?utf-8?q?Ann_M=C3=BCller?=" in source.text


@pytest.mark.parametrize("view", ["", "html", "headers", "source"])
def test_nothing_of_a_message_is_in_a_page_unescaped(opened, view):
    raw = (
        f"From: {HOSTILE}@x.example\r\nTo: {HOSTILE}\r\nSubject: {HOSTILE}\r\nX-{HOSTILE[:1]}: {HOSTILE}\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\n{HOSTILE}\r\n"
        f"--b\r\nContent-Type: text/html\r\n\r\n<p>{HOSTILE}</p>\r\n"
        "--b\r\nContent-Type: application/x-<script>alert(1)</script>\r\n"
        'Content-Disposition: attachment; filename="<script>alert(1)</script>.txt"\r\n\r\nx\r\n--b--\r\n'
    )
    page = opened(raw.encode(), view)
    assert "<script>alert" not in page.html
    assert not re.search(r"<[^>]*\son[a-z]+=", page.html)


def test_broken_mime_shows_what_can_be_shown_and_what_is_wrong(opened):
    raw = b"Content-Type: text/plain; charset=klingon\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8!!!\r\n"
    page = opened(raw)
    assert "Hello" in page.text
    assert "has a charset that is unknown" in page.text
    assert '<ul class="problems">' in page.html


def test_a_message_without_mime_structure_is_shown(opened):
    assert "no header at all" in opened(b"no header at all\r\n", "source").text
    assert opened(b"\r\n").status == 200
    assert opened(b"\xff\xfe\r\n\r\n\x80\x81\r\n", "headers").status == 200


def test_a_message_that_cannot_be_read_shows_the_reason_and_the_source(console, opened, monkeypatch):
    page = opened(b"Subject: Deep\r\n" + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 1_000, "source")
    assert "Subject: Deep" in page.text


def test_an_unchecked_sender_is_named(opened):
    assert "The sender was not checked" in (text := opened(mail()).text) or "does not check senders" in text


def test_the_trace_is_a_list_of_points_in_order(console):
    alias, primary = console.system.linked_pair()
    message_id = console.system.deliver(mail(), alias)
    page = console.browser.get(f"/mail/{message_id}")
    timeline = re.search(r'<ol class="timeline">(.*?)</ol>', page.html, re.DOTALL)[1]
    labels = re.findall(r"<strong>([^<]+)</strong>", timeline)
    assert labels[0] == "accepted"
    assert labels.count("in the inbox") == 2
    text = html.unescape(re.sub(r"<[^>]+>", "", timeline))
    assert primary in text
    assert f"{alias} is an alias of {primary}" in text


def test_the_trace_shows_an_injected_fault(console):
    with routed(console, "smtp://127.0.0.1:1", fault=Fault.TEMPFAIL) as address:
        message_id = console.system.deliver(mail(), address)
        failing(console, address)
        page = console.browser.get(f"/mail/{message_id}")
    assert "Injected fault: tempfail" in page.text


def test_a_point_of_an_acceptance_has_the_rules_that_injected_faults():
    accepted = AcceptedEvent(
        sender="", peer="192.0.2.1", helo="client.example", protocol="ESMTP", size=1, faults="fault-1"
    )
    (point,) = timeline.points([TraceEvent(NOW, accepted)], [])
    assert point.fault == "fault-1"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "+0 ms"),
        (0.0129, "+12 ms"),
        (1, "+1 s"),
        (59.99, "+59 s"),
        (60, "+1 min"),
        (305, "+5 min 5 s"),
        (3600, "+1 h"),
        (3605, "+1 h"),
        (90_000, "+1 d 1 h"),
    ],
)
def test_the_trace_says_how_long_after_the_acceptance_an_event_was(seconds, words):
    assert timeline.elapsed(timedelta(seconds=seconds)) == words


def test_a_long_text_is_cut_until_the_reader_asks_for_all(console):
    message_id = console.system.deliver(mail(text="0123456789\r\n" * 15_000 + "the end"), console.system.new_address())
    page = console.browser.get(f"/mail/{message_id}")
    assert len(page.octets) < 150_000
    assert "the end" not in page.text
    link = re.search(r'href="([^"]+)">Show all 165\u202f00\d characters</a>', page.html)[1]
    whole = console.browser.get(html.unescape(link))
    assert "the end" in whole.text
    assert "Show all" not in whole.text
    source = console.browser.get(f"/mail/{message_id}", view="source")
    assert len(source.octets) < 150_000
    assert f'<a href="/console/mail/{message_id}/raw" download>Download all' in source.html


def test_an_unknown_message_is_not_found(console):
    for path in ("nothing", "00000000-0000-7000-8000-000000000000", "%00", "..%2f"):
        assert console.browser.get(f"/mail/{path}").status == 404, path
