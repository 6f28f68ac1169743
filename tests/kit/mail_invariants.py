"""Invariants of every message that was read, and of its HTML. `make test` checks them with hostile mail, and `fuzz/`
with libFuzzer.
"""

import re
from html.parser import HTMLParser

from waypost.mime.links import href
from waypost.mime.safe_html import _ATTRIBUTES, _TAGS

OURS = {"a": {"rel", "target", "title"}}
"""The attributes that are added to elements."""

_UNSAFE_NAME = re.compile(r"[/\\\x00-\x1f\u202a-\u202e\u2066-\u2069:]|^\.|^$")
_UNSAFE_STYLE = re.compile(r"[\\\"'*@<>{}]|url|expression|position|(?<!rgb)(?<!rgba)(?<!hsl)(?<!hsla)\(")


def check_message(message):
    """Check that what is shown of a message is within its limits, and contains no harmful characters."""
    assert len(message.parts) <= 500
    assert all(part.depth <= 50 for part in message.parts)
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
            assert not _UNSAFE_NAME.search(part.filename)
            assert len(part.filename.encode()) <= 255
    for text in shown:
        text.encode()  # fails for surrogates
        assert not re.search(r"[\0\u202d\u202e]", text)


def check_html(html, *, allow_remote):
    """Check that HTML contains nothing that is not on the lists."""
    parser = _Harmless(allow_remote=allow_remote)
    parser.feed(html)
    parser.close()
    assert not re.search(r"[\0\u202d\u202e]", html)


class _Harmless(HTMLParser):
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
                allowed = rf"(?:/parts/\d|data:image/(?:png|gif|jpeg|jpg|webp|bmp|avif)[;,]{remote})"
                assert re.match(allowed, value, re.IGNORECASE)
            if name == "style":
                assert not _UNSAFE_STYLE.search(value)

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment
