"""Tests that the parameters of MAIL and RCPT are accepted, refused and interpreted as their RFCs require."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.domain.mail.messages import NO_DSN, Dsn, RecipientDsn
from waypost.smtp.protocol import grammar, parameters, replies
from waypost.smtp.protocol.parameters import NO_PARAMETERS, Mail, Refused, Transaction

LIMIT = 1_000


def mail(argument: str, *, sender: str = "a@client.example") -> Transaction:
    return parameters.read_mail(f"FROM:<{sender}> {argument}", message_limit=LIMIT)


def rcpt(argument: str) -> RecipientDsn:
    _, dsn = parameters.read_rcpt(f"TO:<support@example.com> {argument}", smtputf8=False, hostname="mail.example")
    return dsn


def xtext(text: str) -> str:
    """Encode text as xtext (RFC 3461 section 4). More characters are encoded than necessary."""
    return "".join(letter if letter.isalnum() else f"+{ord(letter):02X}" for letter in text)


def unitext(text: str) -> str:
    """Encode text in the ASCII form of RFC 6533 section 3, with `\\x{…}` for non-ASCII characters."""
    needs_it = re.compile(r"[^!-\[\]-~]|[+=]")
    return needs_it.sub(lambda match: rf"\x{{{ord(match[0]):02X}}}", text)


def is_refused(read, argument: str, reply: replies.Reply) -> bool:
    with pytest.raises(Refused) as caught:
        read(argument)
    assert str(caught.value) == str(reply)
    return caught.value.reply == reply


@pytest.mark.parametrize("size", ["0", "1", "999", "1000", "0000000000000001000"])
def test_a_size_up_to_the_limit_is_accepted(size):
    assert mail(f"SIZE={size}") == mail("")


@pytest.mark.parametrize("size", ["1001", 20 * "9", "00000000000000001001"])
def test_a_size_over_the_limit_is_refused(size):
    assert is_refused(mail, f"SIZE={size}", replies.MESSAGE_TOO_BIG.about(limit=LIMIT))


@pytest.mark.parametrize("size", ["-1", "+1", "1.0", "1e3", "0x10", "1_0", "²", "١", 21 * "9", 21 * "0", "five"])
def test_a_size_that_is_not_at_most_twenty_digits_is_refused(size):
    assert is_refused(mail, f"SIZE={size}", replies.BAD_PARAMETER.about(name="SIZE"))


@pytest.mark.parametrize(
    ("argument", "body"),
    [
        ("", "7BIT"),
        ("BODY=7BIT", "7BIT"),
        ("body=8bitmime", "8BITMIME"),
        ("Body=BinaryMime", "BINARYMIME"),
    ],
)
def test_body_has_one_of_three_values(argument, body):
    assert mail(argument).body == body


@pytest.mark.parametrize(
    ("argument", "ret"), [("", ""), ("RET=FULL", "FULL"), ("ret=hdrs", "HDRS"), ("SIZE=1 RET=HDRS BODY=7BIT", "HDRS")]
)
def test_ret_has_one_of_two_values(argument, ret):
    assert mail(argument).ret == ret


@pytest.mark.parametrize(
    ("argument", "name"),
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
def test_the_reply_to_an_invalid_parameter_has_its_name(argument, name):
    assert is_refused(mail, argument, replies.BAD_PARAMETER.about(name=name))


@pytest.mark.parametrize(
    ("read", "argument", "name"),
    [
        (mail, "NOTIFY=NEVER", "NOTIFY"),
        (mail, "ORCPT=rfc822;a@b", "ORCPT"),
        (mail, "SIZE=1 x-own=1 y-own", "X-OWN"),
        (mail, f"{70 * 'x'}=1", 64 * "X"),
        (rcpt, "SIZE=1", "SIZE"),
        (rcpt, "NOTIFY=NEVER RET=FULL", "RET"),
    ],
)
def test_the_reply_to_an_unknown_parameter_has_its_name(read, argument, name):
    assert is_refused(read, argument, replies.UNKNOWN_PARAMETER.about(name=name))


@pytest.mark.parametrize(
    ("argument", "name"),
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
def test_the_name_of_an_invalid_parameter_is_visible_ascii_without_an_email_address(argument, name):
    """The reply is logged, and the log must not contain an email address."""
    for read in (mail, rcpt):
        assert is_refused(read, argument, replies.BAD_PARAMETER.about(name=name))


@example("x" * 100)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=33))
def test_an_envelope_id_can_be_any_visible_ascii(envid):
    assert mail(f"ENVID={xtext(envid)}").envid == envid


def test_an_encoded_envelope_id_has_at_most_a_hundred_characters():
    assert mail(f"ENVID={100 * 'x'}").envid == 100 * "x"
    assert mail(f"ENVID={33 * '+2B'}x").envid == 33 * "+" + "x"
    assert is_refused(mail, f"ENVID={101 * 'x'}", replies.BAD_PARAMETER.about(name="ENVID"))
    assert is_refused(mail, f"ENVID={34 * '+2B'}", replies.BAD_PARAMETER.about(name="ENVID"))


@pytest.mark.parametrize(
    ("argument", "notify"),
    [
        ("", ()),
        ("NOTIFY=NEVER", ("NEVER",)),
        ("notify=never", ("NEVER",)),
        ("NOTIFY=FAILURE", ("FAILURE",)),
        ("NOTIFY=delay,Success", ("DELAY", "SUCCESS")),
        ("NOTIFY=SUCCESS,FAILURE,DELAY", ("SUCCESS", "FAILURE", "DELAY")),
    ],
)
def test_notify_is_never_or_a_list_of_events(argument, notify):
    assert rcpt(argument) == RecipientDsn(notify)


@pytest.mark.parametrize(
    "notify",
    ["", "=", "=,", "=NEVER,NEVER", "=NEVER,SUCCESS", "=SUCCESS,SUCCESS", "=SUCCESS,", "=,DELAY", "=BOUNCE", "=ﬀ"],
)
def test_any_other_value_of_notify_is_refused(notify):
    name = f"NOTIFY{notify}" if notify == "=" else "NOTIFY"
    assert is_refused(rcpt, f"NOTIFY{notify}", replies.BAD_PARAMETER.about(name=name))


@pytest.mark.parametrize(
    ("argument", "orcpt"),
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
def test_an_original_recipient_has_a_type_and_an_address(argument, orcpt):
    # A non-ASCII ORCPT is allowed without SMTPUTF8, because the server only passes the value on.
    assert rcpt(f"ORCPT={argument}") == RecipientDsn((), orcpt)


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
def test_a_malformed_original_recipient_is_refused(orcpt):
    assert is_refused(rcpt, f"ORCPT={orcpt}", replies.BAD_PARAMETER.about(name="ORCPT"))


def test_an_encoded_original_recipient_has_at_most_five_hundred_characters():
    assert rcpt(f"ORCPT=rfc822;{493 * 'x'}").orcpt == f"rfc822;{493 * 'x'}"
    assert is_refused(rcpt, f"ORCPT=rfc822;{494 * 'x'}", replies.BAD_PARAMETER.about(name="ORCPT"))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100))
def test_xtext_is_decoded_to_the_original_text(text):
    assert grammar.decode_xtext(xtext(text)) == text
    assert rcpt(f"ORCPT=rfc822;{xtext(text)}").orcpt == f"rfc822;{text}"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_unitext_is_decoded_to_the_original_text(text):
    assert grammar.decode_unitext(unitext(text)) == text


@given(st.text())
def test_any_text_can_be_decoded_or_gives_none(text):
    for decoded in (grammar.decode_xtext(text), grammar.decode_unitext(text)):
        assert decoded is None or decoded.encode()


@given(st.text(st.sampled_from("+0123456789ABCDEFabcdef\\x{};=, \tü"), max_size=30))
def test_any_parameter_value_is_accepted_or_refused_with_a_reply(value):
    for read, name in ((mail, "ENVID"), (mail, "SIZE"), (mail, "RET"), (rcpt, "NOTIFY"), (rcpt, "ORCPT")):
        try:
            result = read(f"{name}={value}")
        except Refused:
            continue
        words = [result.envid, result.ret] if isinstance(result, Mail) else [result.orcpt, *result.notify]
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
def test_the_domain_of_a_sender_can_be_an_address_literal(literal):
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
def test_a_malformed_address_literal_is_refused(literal):
    assert is_refused(lambda argument: mail(argument, sender=f"a@[{literal}]"), "", replies.BAD_MAIL)
    with pytest.raises(Refused) as caught:
        parameters.read_rcpt(f"TO:<a@[{literal}]>", smtputf8=False, hostname="mail.example")
    assert caught.value.reply == replies.BAD_RCPT


@pytest.mark.parametrize("sender", ["bücher@example.com", "a@bücher.example", '"ü"@example.com'])
def test_a_non_ascii_sender_requires_smtputf8(sender):
    assert is_refused(lambda argument: mail(argument, sender=sender), "", replies.NEEDS_SMTPUTF8)
    assert mail("SMTPUTF8", sender=sender).sender == sender


def test_a_transaction_without_dsn_parameters_requests_no_dsn():
    transaction = Transaction(mail("SIZE=1"))
    transaction.notifications += [NO_PARAMETERS, NO_PARAMETERS]
    assert transaction.dsn is NO_DSN


def test_the_dsn_parameters_of_recipients_are_in_the_order_of_the_recipients():
    transaction = Transaction(mail("ENVID=an-id"))
    transaction.notifications += [NO_PARAMETERS, rcpt("NOTIFY=NEVER"), NO_PARAMETERS]
    assert transaction.dsn == Dsn("", "an-id", (NO_PARAMETERS, RecipientDsn(("NEVER",)), NO_PARAMETERS))


def test_dsn_parameters_of_the_message_alone_have_no_recipients():
    transaction = Transaction(mail("RET=HDRS"))
    transaction.notifications += [NO_PARAMETERS]
    assert transaction.dsn == Dsn("HDRS", "", ())


@pytest.mark.parametrize("space", ["\t", "\x1c", "\x85", "\u2003", "\u3000"])
def test_only_a_space_separates_parameters(space):
    with pytest.raises(parameters.Refused):
        mail(f"BODY=8BITMIME{space}SMTPUTF8")
