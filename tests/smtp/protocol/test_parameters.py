"""The parameters of MAIL and RCPT are what their RFCs allow, and mean what they say."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.domain.mail.messages import NO_DSN, Dsn, RecipientDsn
from waypost.smtp.protocol import grammar, parameters, replies
from waypost.smtp.protocol.parameters import NO_PARAMETERS, Refused, Transaction

LIMIT = 1_000


def mail(said: str, *, sender: str = "a@client.example") -> Transaction:
    return parameters.read_mail(f"FROM:<{sender}> {said}", message_limit=LIMIT)


def rcpt(said: str) -> RecipientDsn:
    _, dsn = parameters.read_rcpt(f"TO:<support@example.com> {said}", smtputf8=False, hostname="mail.example")
    return dsn


def xtext(text: str) -> str:
    """Text as RFC 3461 section 4 has it written, with more of it encoded than has to be."""
    return "".join(letter if letter.isalnum() else f"+{ord(letter):02X}" for letter in text)


def unitext(text: str) -> str:
    """Text as RFC 6533 section 3 has it written in ASCII, where `\\x{…}` stands for what is none."""
    needs_it = re.compile(r"[^!-\[\]-~]|[+=]")
    return needs_it.sub(lambda match: rf"\x{{{ord(match[0]):02X}}}", text)


def is_refused(read, said: str, reply: replies.Reply) -> bool:
    with pytest.raises(Refused) as caught:
        read(said)
    assert str(caught.value) == str(reply)
    return caught.value.reply == reply


@pytest.mark.parametrize("size", ["0", "1", "999", "1000", "0000000000000001000"])
def test_a_size_up_to_the_limit_is_welcome(size):
    assert mail(f"SIZE={size}") == mail("")


@pytest.mark.parametrize("size", ["1001", 20 * "9", "00000000000000001001"])
def test_a_size_beyond_the_limit_is_refused(size):
    assert is_refused(mail, f"SIZE={size}", replies.MESSAGE_TOO_BIG.about(limit=LIMIT))


@pytest.mark.parametrize("size", ["-1", "+1", "1.0", "1e3", "0x10", "1_0", "²", "١", 21 * "9", 21 * "0", "five"])
def test_a_size_is_twenty_digits_at_most(size):
    assert is_refused(mail, f"SIZE={size}", replies.BAD_PARAMETER.about(name="SIZE"))


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ("", "7BIT"),
        ("BODY=7BIT", "7BIT"),
        ("body=8bitmime", "8BITMIME"),
        ("Body=BinaryMime", "BINARYMIME"),
    ],
)
def test_a_body_is_one_of_three(said, body):
    assert mail(said).body == body


@pytest.mark.parametrize(
    ("said", "ret"), [("", ""), ("RET=FULL", "FULL"), ("ret=hdrs", "HDRS"), ("SIZE=1 RET=HDRS BODY=7BIT", "HDRS")]
)
def test_a_notification_has_the_whole_message_or_its_header(said, ret):
    assert mail(said).ret == ret


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("BODY", "BODY"),
        ("BODY=9BIT", "BODY"),
        ("BODY=7BIT,8BITMIME", "BODY"),
        ("BODY=ﬁ", "BODY"),
        ("RET", "RET"),
        ("RET=NONE", "RET"),
        ("RET=FULL,HDRS", "RET"),
        ("ENVID", "ENVID"),
        ("ENVID=+", "ENVID"),
        ("ENVID=+4", "ENVID"),
        ("ENVID=+4a", "ENVID"),
        ("ENVID=a+", "ENVID"),
        ("ENVID=ü", "ENVID"),
        ("ENVID=+0D+0A", "ENVID"),
        ("ENVID=+7F", "ENVID"),
        ("ENVID=+E9", "ENVID"),
        ("SMTPUTF8=yes", "SMTPUTF8"),
        ("SIZE=1 BODY=7BIT SIZE=1", "SIZE"),
        ("ret=FULL RET=FULL", "RET"),
        ("ENVID=a=b", "ENVID=a=b"),
    ],
)
def test_a_bad_parameter_of_mail_is_named(said, name):
    assert is_refused(mail, said, replies.BAD_PARAMETER.about(name=name))


@pytest.mark.parametrize(
    ("read", "said", "name"),
    [
        (mail, "NOTIFY=NEVER", "NOTIFY"),
        (mail, "ORCPT=rfc822;a@b", "ORCPT"),
        (mail, "SIZE=1 x-own=1 y-own", "X-OWN"),
        (mail, f"{70 * 'x'}=1", 64 * "X"),
        (rcpt, "SIZE=1", "SIZE"),
        (rcpt, "NOTIFY=NEVER RET=FULL", "RET"),
    ],
)
def test_an_unknown_parameter_is_named(read, said, name):
    assert is_refused(read, said, replies.UNKNOWN_PARAMETER.about(name=name))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("ü=1", r"\xfc=1"),
        ("\x1b[31m", r"\x1b[31m"),
        ("X=\x00", r"X=\x00"),
        ("\u202eX", r"\u202eX"),
        ("😀", r"\U0001f600"),
        ("a'b", "a'b"),
        ("{name}", "{name}"),
        ("ü" * 40, (r"\xfc" * 40)[:64]),
        ("support@example.com", "..."),
        ("<support@example.com>", "..."),
        ("support@example.com=1", "..."),
        ("ORCPT=rfc822;support@example.com=1", "ORCPT=..."),
    ],
)
def test_a_bad_parameter_is_named_in_visible_ascii_and_without_an_email_address(said, name):
    """The log has the reply, and may hold no email address."""
    for read in (mail, rcpt):
        assert is_refused(read, said, replies.BAD_PARAMETER.about(name=name))


@example("x" * 100)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=33))
def test_an_envelope_id_is_any_ascii_that_can_be_seen(envid):
    assert mail(f"ENVID={xtext(envid)}").envid == envid


def test_an_envelope_id_has_a_hundred_characters_as_it_is_written():
    assert mail(f"ENVID={100 * 'x'}").envid == 100 * "x"
    assert mail(f"ENVID={33 * '+2B'}x").envid == 33 * "+" + "x"
    assert is_refused(mail, f"ENVID={101 * 'x'}", replies.BAD_PARAMETER.about(name="ENVID"))
    assert is_refused(mail, f"ENVID={34 * '+2B'}", replies.BAD_PARAMETER.about(name="ENVID"))


@pytest.mark.parametrize(
    ("said", "notify"),
    [
        ("", ()),
        ("NOTIFY=NEVER", ("NEVER",)),
        ("notify=never", ("NEVER",)),
        ("NOTIFY=FAILURE", ("FAILURE",)),
        ("NOTIFY=delay,Success", ("DELAY", "SUCCESS")),
        ("NOTIFY=SUCCESS,FAILURE,DELAY", ("SUCCESS", "FAILURE", "DELAY")),
    ],
)
def test_a_recipient_is_notified_of_nothing_or_of_some_things(said, notify):
    assert rcpt(said) == RecipientDsn(notify)


@pytest.mark.parametrize(
    "notify",
    ["", "=", "=,", "=NEVER,NEVER", "=NEVER,SUCCESS", "=SUCCESS,SUCCESS", "=SUCCESS,", "=,DELAY", "=BOUNCE", "=ﬀ"],
)
def test_nothing_else_can_be_asked_for(notify):
    name = f"NOTIFY{notify}" if notify == "=" else "NOTIFY"
    assert is_refused(rcpt, f"NOTIFY{notify}", replies.BAD_PARAMETER.about(name=name))


@pytest.mark.parametrize(
    ("said", "orcpt"),
    [
        ("rfc822;a@b.example", "rfc822;a@b.example"),
        ("RFC822;a+2Bb@c.example", "RFC822;a+b@c.example"),
        ("rfc822;a;b", "rfc822;a;b"),
        ("x-400;+2Fc+3Dus", "x-400;/c=us"),
        ("utf-8;bücher@example.com", "utf-8;bücher@example.com"),
        (r"UTF-8;b\x{FC}cher@example.com", "UTF-8;bücher@example.com"),
        (r"utf-8;a\x{2B}b\x{5C}\x{1F600}", "utf-8;a+b\\😀"),
    ],
)
def test_an_original_recipient_has_a_kind_and_an_address(said, orcpt):
    # An address that is no ASCII goes with one that is, whatever MAIL said of SMTPUTF8: it is only passed on.
    assert rcpt(f"ORCPT={said}") == RecipientDsn((), orcpt)


@pytest.mark.parametrize(
    "orcpt",
    [
        "rfc822",
        "rfc822;",
        ";a@b",
        "-x;a@b",
        "rfc_822;a@b",
        "rfc822;a+b",
        "rfc822;a+2b",
        "rfc822;ü@b",
        "rfc822;+00",
        "rfc822;+C2+85",
        r"utf-8;\a",
        r"utf-8;\x{}",
        r"utf-8;\x{A}",
        r"utf-8;\x{fc}",
        r"utf-8;\x{0000041}",
        r"utf-8;\x{110000}",
        r"utf-8;\x{D800}",
        r"utf-8;\x{0D}\x{0A}",
        r"utf-8;\x{85}",
        r"utf-8;\x{2028}",
        "utf-8;a+b",
    ],
)
def test_what_is_no_original_recipient_is_refused(orcpt):
    assert is_refused(rcpt, f"ORCPT={orcpt}", replies.BAD_PARAMETER.about(name="ORCPT"))


def test_an_original_recipient_has_five_hundred_characters_as_it_is_written():
    assert rcpt(f"ORCPT=rfc822;{493 * 'x'}").orcpt == f"rfc822;{493 * 'x'}"
    assert is_refused(rcpt, f"ORCPT=rfc822;{494 * 'x'}", replies.BAD_PARAMETER.about(name="ORCPT"))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100))
def test_xtext_is_read_as_it_was_meant(text):
    assert grammar.decode_xtext(xtext(text)) == text
    assert rcpt(f"ORCPT=rfc822;{xtext(text)}").orcpt == f"rfc822;{text}"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_unitext_is_read_as_it_was_meant(text):
    assert grammar.decode_unitext(unitext(text)) == text


@given(st.text())
def test_any_text_is_xtext_or_unitext_or_it_is_not(text):
    for decoded in (grammar.decode_xtext(text), grammar.decode_unitext(text)):
        assert decoded is None or decoded.encode()


@given(st.text(st.sampled_from("+0123456789ABCDEFabcdef\\x{};=, \tü"), max_size=30))
def test_any_value_is_taken_or_refused_in_the_ways_that_are_named(value):
    for read, name in ((mail, "ENVID"), (mail, "SIZE"), (mail, "RET"), (rcpt, "NOTIFY"), (rcpt, "ORCPT")):
        try:
            said = read(f"{name}={value}")
        except Refused:
            continue
        words = [said.envid, said.ret] if isinstance(said, Transaction) else [said.orcpt, *said.notify]
        assert all(word.isprintable() for word in words)


@pytest.mark.parametrize(
    "literal",
    [
        "192.0.2.1",
        "0.0.0.0",
        "255.255.255.255",
        "IPv6:::",
        "IPv6:::1",
        "ipv6:2001:db8::1",
        "IPv6:2001:db8:0:0:0:0:0:1",
        "IPv6:::ffff:192.0.2.1",
    ],
)
def test_a_sender_may_be_at_an_address_literal(literal):
    assert mail("", sender=f"a@[{literal}]").sender == f"a@[{literal}]"


@pytest.mark.parametrize(
    "literal",
    [
        "",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.1.1",
        "::1",
        "IPv6:",
        "IPv6:192.0.2.1",
        "IPv6:1::2::3",
        "IPv6:12345::",
        "IPv6:fe80::1%eth0",
        "-tag:x",
        "tag:anything.at-all",
        "2001:db8::1",
        "tag:",
        "client.example",
        "tag:a[b",
    ],
)
def test_what_looks_like_an_address_literal_and_is_none_is_refused(literal):
    assert is_refused(lambda said: mail(said, sender=f"a@[{literal}]"), "", replies.BAD_MAIL)
    with pytest.raises(Refused) as caught:
        parameters.read_rcpt(f"TO:<a@[{literal}]>", smtputf8=False, hostname="mail.example")
    assert caught.value.reply == replies.BAD_RCPT


@pytest.mark.parametrize("sender", ["bücher@example.com", "a@bücher.example", '"ü"@example.com'])
def test_a_sender_that_is_no_ascii_needs_smtputf8(sender):
    assert is_refused(lambda said: mail(said, sender=sender), "", replies.NEEDS_SMTPUTF8)
    assert mail("SMTPUTF8", sender=sender).sender == sender


def test_who_says_nothing_of_notifications_is_asked_for_none():
    transaction = mail("SIZE=1")
    transaction.notifications += [NO_PARAMETERS, NO_PARAMETERS]
    assert transaction.dsn is NO_DSN


def test_what_is_said_of_one_recipient_is_told_in_the_order_of_all():
    transaction = mail("ENVID=an-id")
    transaction.notifications += [NO_PARAMETERS, rcpt("NOTIFY=NEVER"), NO_PARAMETERS]
    assert transaction.dsn == Dsn("", "an-id", (NO_PARAMETERS, RecipientDsn(("NEVER",)), NO_PARAMETERS))


def test_what_is_said_of_the_message_alone_is_told_without_recipients():
    transaction = mail("RET=HDRS")
    transaction.notifications += [NO_PARAMETERS]
    assert transaction.dsn == Dsn("HDRS", "", ())


@pytest.mark.parametrize("space", ["\t", "\x1c", "\x85", "\u2003", "\u3000"])
def test_nothing_but_a_space_stands_between_parameters(space):
    with pytest.raises(parameters.Refused):
        mail(f"BODY=8BITMIME{space}SMTPUTF8")
