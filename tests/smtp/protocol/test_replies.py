"""Tests that every reply is well formed, agrees with its code, is explained, and is used."""

import re
from pathlib import Path

import pytest

from waypost.domain import errors as domain_errors
from waypost.smtp.backend import errors
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

NAMED = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
SOURCES = [path for path in Path(replies.__file__).parents[1].rglob("*.py") if path.name != "replies.py"]
PLACEHOLDERS = {name for reply in NAMED.values() for name in re.findall(r"{(\w+)}", reply.text)}
DETAILS = dict.fromkeys(PLACEHOLDERS, "x")

every_reply = pytest.mark.parametrize("name", NAMED)


@every_reply
def test_every_line_of_a_reply_is_well_formed(name):
    reply = NAMED[name].about(**DETAILS)
    *lines, last, nothing = bytes(reply).decode("ascii").split("\r\n")
    assert nothing == ""
    assert all(re.fullmatch(rf"{reply.code}-[ -~]+", line) for line in lines)
    assert re.fullmatch(rf"{reply.code} [ -~]+", last)
    assert "{" not in last
    assert all(len(line) <= 510 for line in [*lines, last])


@every_reply
def test_the_enhanced_code_of_a_reply_agrees_with_its_code(name):
    reply = NAMED[name]
    if name in ("GREETING", "HELO", "EHLO", "GO_AHEAD"):
        assert reply.enhanced is None
    else:
        assert re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", reply.enhanced)
        assert reply.enhanced[0] == str(reply.code)[0]


@every_reply
def test_a_reply_has_an_explanation_and_advice_for_a_postmaster(name):
    reply = NAMED[name]
    assert reply.means.endswith(".")
    assert reply.sender.endswith(".") or (not reply.sender and reply.code < 400)


@every_reply
def test_every_reply_is_used(name):
    assert any(re.search(rf"\breplies\.{name}\b", path.read_text(encoding="utf-8")) for path in SOURCES)


def a_reply(code, enhanced, text):
    return Reply(code=code, enhanced=enhanced, text=text, means="", sender="")


@pytest.mark.parametrize(("code", "accepts"), [(250, True), (252, True), (354, False), (451, False), (550, False)])
def test_a_reply_is_positive_if_its_code_is_2xx(code, accepts):
    assert a_reply(code, None, "text").accepts is accepts


def test_each_line_of_a_reply_has_the_enhanced_code():
    assert bytes(a_reply(250, "2.0.0", "one\ntwo\nthree")) == b"250-2.0.0 one\r\n250-2.0.0 two\r\n250 2.0.0 three\r\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (domain_errors.UnknownRecipient("Nobody"), b"550 5.1.1 No such address here\r\n"),
        (domain_errors.RecipientsChanged("Deleted; try again"), b"451 4.2.1 Deleted; try again\r\n"),
        (domain_errors.MailLoop("A {loop}"), b"554 5.4.6 A {loop}\r\n"),
    ],
    ids=repr,
)
def test_an_error_that_the_sender_must_see_has_its_own_reply(error, expected):
    assert bytes(errors.refusal(error)) == expected


@pytest.mark.parametrize("error", [domain_errors.NotFound("secret"), RuntimeError("secret")], ids=repr)
def test_any_other_error_has_no_reply(error):
    assert errors.refusal(error) is None
