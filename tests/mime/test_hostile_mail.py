"""Every hostile message is read within its limits, and its HTML becomes harmless."""

import re
import time

import pytest

from tests.kit import mail_invariants
from tests.kit.hostile_mail import MESSAGES
from waypost.mime import reading, safe_html

SECONDS = 20
"""The maximum processor time for reading a message, and for its HTML: ten times what the console allows, because a test
must not fail on a slow machine."""

URLS = {"self@x": "/parts/2", "svg": "/parts/3", "one": "/parts/2", "two": "/parts/3"}


LARGE = re.compile(r" MB|megabyte|\d00,000|2,000 parts")
"""The names of messages that take more than a tenth of a second."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if LARGE.search(name) else []) for name in MESSAGES]
)
def test_a_hostile_message_is_read_within_limits(name):
    raw = MESSAGES[name]()
    start = time.process_time()
    message = reading.read(raw)
    assert time.process_time() - start < SECONDS
    mail_invariants.check_message(message)


@pytest.mark.long
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
    mail_invariants.check_html(safe.html, allow_remote=allow_remote)
    again = safe_html.sanitised(safe.html, parts_by_cid={}, allow_remote=allow_remote)
    mail_invariants.check_html(again.html, allow_remote=allow_remote)
