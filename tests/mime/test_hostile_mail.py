"""Every hostile message is read within its limits, and its HTML becomes harmless."""

import re
import time
from html.parser import HTMLParser

import pytest

from tests.kit.hostile_mail import MESSAGES
from waypost.mime import reading, safe_html
from waypost.mime.links import href
from waypost.mime.safe_html import _ATTRIBUTES, _TAGS

SECONDS = 2
"""The maximum processor time for reading a message, and for its HTML."""

URLS = {"self@x": "/parts/2", "svg": "/parts/3", "one": "/parts/2", "two": "/parts/3"}

OURS = {"a": {"rel", "target", "title"}}
"""The attributes that are added to elements."""


class Harmless(HTMLParser):
    """A parser that fails if HTML contains anything that is not on the lists."""

    def __init__(self, *, allow_remote):
        super().__init__()
        self._allow_remote = allow_remote

    def handle_starttag(self, tag, attrs):
        assert tag in _TAGS
        assert len({name for name, _ in attrs}) == len(attrs)
        for name, value in attrs:
            assert name in _ATTRIBUTES["*"] | _ATTRIBUTES.get(tag, set()) | OURS.get(tag, set())
            assert name != "srcset"
            if name == "href":
                assert href(value) == value
                assert dict(attrs)["rel"] == "noopener noreferrer nofollow"
                assert dict(attrs)["target"] == "_blank"
                assert dict(attrs)["title"]
            if name in {"src", "background"}:
                remote = "|https?://" if self._allow_remote else ""
                assert re.match(rf"(?:/parts/\d|data:image/(?:png|gif|jpeg|jpg|webp|bmp|avif)[;,]{remote})", value)
            if name == "style":
                assert not re.search(
                    r"[\\\"'*@<>{}]|url|expression|position|(?<!rgb)(?<!rgba)(?<!hsl)(?<!hsla)\(", value
                )

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


@pytest.mark.parametrize("name", MESSAGES)
def test_a_hostile_message_is_read_within_limits(name):
    raw = MESSAGES[name]()
    start = time.process_time()
    message = reading.read(raw)
    assert time.process_time() - start < SECONDS
    assert len(message.parts) <= 500
    assert max((part.depth for part in message.parts), default=0) <= 50
    assert len(message.text) <= 1024 * 1024
    assert len(message.problems) <= 51
    shown = [message.text, *message.problems]
    for header in message.headers:
        shown += header
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(header))
    for part in message.parts:
        shown += [part.content_type, part.filename or "", part.content_id or "", part.charset or ""]
        assert re.fullmatch(r"[\w!#$&^.+/-]+", part.content_type, re.ASCII)
        if part.filename is not None:
            assert not re.search(r"[/\\\x00-\x1f\u202a-\u202e\u2066-\u2069:]|^\.|^$", part.filename)
            assert len(part.filename.encode()) <= 255
    for text in shown:
        text.encode()  # fails for surrogates
        assert not re.search(r"[\0\u202d\u202e]", text)


@pytest.mark.slow
@pytest.mark.parametrize("allow_remote", [False, True])
@pytest.mark.parametrize("name", [name for name in MESSAGES if "HTML" in name or "script" in name])
def test_hostile_html_becomes_harmless(name, allow_remote):
    raw = MESSAGES[name]()
    number = reading.read(raw).html_part or 1
    html, _ = reading.html_of(reading.part(raw, number))
    start = time.process_time()
    safe = safe_html.sanitised(html, parts_by_cid=URLS, allow_remote=allow_remote)
    assert time.process_time() - start < SECONDS
    parser = Harmless(allow_remote=allow_remote)
    parser.feed(safe.html)
    parser.close()
    assert not re.search(r"[\0\u202d\u202e]", safe.html)
    again = safe_html.sanitised(safe.html, parts_by_cid={}, allow_remote=allow_remote)
    parser.feed(again.html)
