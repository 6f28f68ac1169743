"""What a browser gets of a message's own content: files, the document of the frame, and its pictures."""

import base64
import re
from urllib.parse import quote

import pytest

from tests.console.test_mail import mail
from tests.kit.hostile_mail import MESSAGES
from tests.kit.servers.running import ACCEPTED

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def with_parts(*parts):
    """Return a multipart message. Each part is its header, without the encoding, and its octets."""
    lines = ["Subject: Parts", "MIME-Version: 1.0", "Content-Type: multipart/related; boundary=b", ""]
    for header, octets in parts:
        lines += ["--b", header, "Content-Transfer-Encoding: base64", "", base64.b64encode(octets).decode()]
    return "\r\n".join([*lines, "--b--", ""]).encode()


PICTURES = with_parts(
    ("Content-Type: text/html; charset=utf-8", b'<p>Hi</p><img src="cid:dot"><img src="https://tracker.example/x">'),
    ("Content-Type: image/png\r\nContent-ID: <dot>", PNG),
    ("Content-Type: image/svg+xml\r\nContent-ID: <svg>\r\nContent-Disposition: attachment", b"<svg onload='x()'/>"),
)


@pytest.fixture
def delivered(console):
    def deliver(raw):
        return console.system.deliver(raw, console.system.new_address())

    return deliver


def policy(page):
    """Return the directives of a page's Content-Security-Policy."""
    return dict(directive.partition(" ")[::2] for directive in page.headers["content-security-policy"].split("; "))


def test_the_document_of_the_frame_allows_nothing_but_its_own_pictures_and_styles(console, delivered):
    page = console.browser.get(f"/mail/{delivered(PICTURES)}/html")
    assert page.status == 200
    assert policy(page) == {
        "default-src": "'none'",
        "img-src": "'self' data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
        "sandbox": "allow-popups allow-popups-to-escape-sandbox",
    }
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "tracker.example" not in page.html
    assert "<p>Hi</p>" in page.html


def test_remote_pictures_are_allowed_only_on_request(console, delivered):
    page = console.browser.get(f"/mail/{delivered(PICTURES)}/html", remote="1")
    assert policy(page)["img-src"] == "'self' data: https: http:"
    assert 'src="https://tracker.example/x"' in page.html


def test_a_picture_of_the_frame_needs_no_cookie_but_its_key(console, delivered):
    page = console.browser.get(f"/mail/{delivered(PICTURES)}/html")
    url = re.search(r'<img src="(/console/mail/[^"]+)"', page.html)[1].replace("&amp;", "&")
    from_frame = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}
    picture = console.new_browser().get(url, headers=from_frame)
    assert picture.status == 200
    assert picture.octets == PNG
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert picture.headers["cross-origin-resource-policy"] == "cross-origin"
    assert policy(picture)["default-src"] == "'none'"
    assert "sandbox" in policy(picture)
    stranger = console.new_browser()
    for changed in (
        url.replace("pictures/3", "pictures/4"),
        re.sub("until=.", "until=9", url),
        url[:-1] + "x",
        url[:90],
    ):
        assert stranger.get(changed, headers=from_frame).status in {403, 404}, changed
    assert stranger.get(url, headers={"Host": "evil.example"}).status == 403
    assert stranger.get(page.headers.get("location", "/mail"), headers=from_frame).status == 403


def test_a_file_is_never_shown_as_a_page(console, delivered):
    raw = with_parts(
        ("Content-Type: text/html", b"<p>The text</p>"),
        ("Content-Type: text/html\r\nContent-Disposition: attachment; filename=x.html", b"<script>alert(1)</script>"),
        ("Content-Type: image/svg+xml; name=x.svg", b"<svg onload='alert(1)'/>"),
        ("Content-Type: image/png; name=x.png", PNG),
    )
    message_id = delivered(raw)
    kinds = []
    for number in (3, 4, 5):
        page = console.browser.get(f"/mail/{message_id}/parts/{number}")
        assert page.status == 200
        assert page.headers["content-disposition"].startswith("attachment; ")
        assert policy(page)["default-src"] == "'none'"
        assert "sandbox" in policy(page)
        kinds.append(page.headers["content-type"])
    assert kinds == ["application/octet-stream", "application/octet-stream", "image/png"]


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ('"../../etc/passwd"', "passwd"),
        ('"a\'b\\"c;.txt"', "a'b_c;.txt"),
        ('"=?utf-8?q?Rechnung_=C3=BC.pdf?="', "Rechnung ü.pdf"),
        ("*=utf-8''%E2%82%AC%0D%0ASet-Cookie%3A%20x", None),
    ],
)
def test_the_name_of_a_file_is_safe(console, delivered, given, saved):
    equals = "" if given.startswith("*") else "="
    raw = with_parts(
        (f"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename{equals}{given}", b"%PDF")
    )
    page = console.browser.get(f"/mail/{delivered(raw)}/parts/2")
    disposition = page.headers["content-disposition"]
    assert disposition.isascii()
    assert not page.set_cookies
    assert re.fullmatch(r"""attachment; filename="[^"\\/]+"; filename\*=UTF-8''[\w.%~-]+""", disposition, re.ASCII)
    if saved:
        assert disposition.endswith(f"UTF-8''{quote(saved, safe='')}")


def test_attachments_are_cards_with_a_link(console, delivered):
    raw = with_parts(("Content-Type: application/pdf; name=a.pdf", b"%PDF" * 500))
    page = console.browser.get(f"/mail/{delivered(raw)}")
    assert "1 attachment" in page.text
    assert re.search(r'<a href="/console/mail/[0-9a-f-]{36}/parts/2" download>a.pdf</a>', page.html)
    assert "application/pdf, 2.0 KB" in page.text.replace("\u202f", " ")


def test_the_whole_message_is_a_file(console):
    address = console.system.new_address()
    raw = mail("Raw", "x" * 300_000)
    message_id = console.system.deliver(raw, address)
    page = console.browser.get(f"/mail/{message_id}/raw")
    assert page.octets == console.system.raw(message_id, address)
    assert page.octets.endswith(raw)
    assert page.headers["content-disposition"].startswith(f'attachment; filename="{message_id}.eml"')
    assert page.headers["content-type"] == "message/rfc822"


def test_a_part_that_does_not_exist_is_not_found(console, delivered):
    message_id = delivered(mail())
    endless = "9" * 5000  # `int` refuses more than 4,300 digits
    for path in (
        f"parts/{endless}",
        f"pictures/{endless}",
        "parts/7",
        "parts/0",
        "parts/99999999999999999999",
        "parts/x",
        "pictures/1",
        "html",
    ):
        assert console.browser.get(f"/mail/{message_id}/{path}").status in {403, 404}, path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", MESSAGES)
def test_every_view_of_a_hostile_message_is_harmless(console, name):
    code, reply = console.system.send(MESSAGES[name](), console.system.new_address())
    if code != 250:
        return  # the server has refused it
    message_id = ACCEPTED.fullmatch(reply)["id"].decode()
    ours = set(re.findall(r"<script[^>]*>", console.browser.get("/keys").html))
    for view in ("html", "headers"):
        page = console.browser.get(f"/mail/{message_id}", view=view)
        assert page.status == 200
        assert set(re.findall(r"<script[^>]*>", page.html)) == ours
        assert not re.search(r"<[a-z]+[^>]*\s(?:on[a-z]+|style|formaction|srcdoc)=", page.html, re.IGNORECASE)
    frame = console.browser.get(f"/mail/{message_id}/html")
    if frame.status == 404:
        assert "The message has no HTML." in frame.text
        return
    assert frame.status == 200
    assert "sandbox" in policy(frame)
    assert not re.search(r"<(?:script|iframe|object|embed|form|meta http)", frame.html, re.IGNORECASE)
