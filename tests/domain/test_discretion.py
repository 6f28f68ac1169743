"""Who is behind an alias is not told to senders, whatever the server of the primary says."""

import re
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.noticing import BOB, a_delivery, a_notice, failed, the_fields, the_words
from waypost.domain import addresses


def shown(text, delivery=None, **changes):
    """What a notice for a forwarded copy says that the peer said."""
    octets = a_notice(delivery or a_delivery(), failed(text, **changes))
    diagnostic = the_fields(octets)[1]["Diagnostic-Code"]
    return diagnostic.removeprefix("smtp; 550 5.1.1 ")


WITHHELD = "(the reason is withheld, because it names an address that is not for senders to know)"


def test_a_notice_for_a_forwarded_copy_speaks_of_the_alias():
    octets = a_notice(a_delivery())
    _, of_recipient = the_fields(octets)

    assert of_recipient["Final-Recipient"] == "rfc822; support@example.com"
    assert "\n    support@example.com\n" in the_words(octets)
    assert b"bob" not in octets.lower()
    assert b"private" not in octets


@pytest.mark.parametrize("peer", ["mx.private.example.net [192.0.2.9]:25", "aspmx.mail.test [192.0.2.9]:25"])
def test_which_server_has_the_mail_of_the_primary_is_not_told(peer):
    octets = a_notice(a_delivery(), failed(peer=peer))
    assert "Remote-MTA" not in the_fields(octets)[1]
    assert peer.partition(" ")[0].encode() not in octets


SAID = [
    ("User unknown", "User unknown"),
    ("<bob.smith@private.example.net>: unknown", "<support@example.com>: unknown"),
    ("no BOB.SMITH@PRIVATE.EXAMPLE.NET here", "no support@example.com here"),
    ("bob.smith@private.example.net.", "support@example.com."),
    ("bob.smith@private.example.net and Bob.Smith@private.example.net", "support@example.com and support@example.com"),
    ("<bob.smith@private.example.net> of private.example.net", WITHHELD),
    ("host mx.private.example.net said no", WITHHELD),
    ("host mx.example.net said no", WITHHELD),
    ("see https://help.example.net/why", WITHHELD),
    ("user bob.smith is unknown", WITHHELD),
    ("user Bob.Smith+x is unknown", WITHHELD),
    ("bob.smith%40private.example.net", WITHHELD),
    ("%62%6f%62.smith is unknown", WITHHELD),
    ("%2562%256f%2562.smith is unknown", WITHHELD),
    ("rfc822;bob.smith+40private.example.net", WITHHELD),
    ("+62+6F+62+2Esmith", WITHHELD),
    ("=62=6f=62.smith", WITHHELD),
    ("\\x{62}ob.smith", WITHHELD),
    ('"bob.smith"@private.example.net', WITHHELD),
    ("b\\ob.smith is unknown", WITHHELD),
    ("bob.smith @ private.example.net", WITHHELD),
    ("bob.smith at private.example.net", WITHHELD),
    ("bob smith (at) private example net", WITHHELD),
    ("SRS0=abcd=xy=private.example.net=bob.smith@fwd.test", WITHHELD),
    ("bounces+bob.smith=private.example.net@lists.test", WITHHELD),
    ("bob.smith@pri\x00vate.example.net", WITHHELD),
    ("bob.sm\u200bith@private.example.net", WITHHELD),
    ("notbob.smith@private.example.net", WITHHELD),
    ("<support@example.com>: not here", "<support@example.com>: not here"),
    ("bob smithers is unknown", "bob smithers is unknown"),
    ("see example.network", "see example.network"),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("said", "told"), SAID)
def test_what_a_peer_said_names_the_alias_or_is_withheld(said, told):
    assert shown(said) == told or (not said and shown(said) == "smtp; 550 5.1.1")


def test_to_who_wrote_to_the_address_itself_its_server_may_say_its_name():
    octets = a_notice(a_delivery(BOB, alias=None), failed(f"no {BOB} here"))
    assert the_fields(octets)[1]["Diagnostic-Code"] == f"smtp; 550 5.1.1 no {BOB} here"


NEIGHBOURS = [
    # Where both are in one domain, that is no secret; the local part is.
    ("bob@example.com", "support@example.com", "mx.example.com: no such user", True),
    ("bob@example.com", "support@example.com", "no such user: bob", False),
    ("bob+x@example.com", "bob+y@example.com", "user bob is unknown", True),
    ("bob+x@example.com", "bob+y@example.com", "user bob+x is unknown", False),
    ("+@example.com", "support@example.com", "user + is unknown", False),
    # Nor is a local part that both have; the domain is.
    ("support@new.test", "support@example.com", "user support is unknown", True),
    ("support@new.test", "support@example.com", "user support is unknown at new.test", False),
    ("support@a.example.com", "support@b.example.com", "example.com has no such user", True),
    ("support@a.example.com", "support@b.example.com", "a.example.com has no such user", False),
    ("support@example.com", "support@b.example.com", "example.com has no such user", True),
    ("support@example.com", "support@b.example.com", "support%40example.com is unknown", False),
    ("bob@intern", "support@example.com", "intern has no such user", False),
    ("bob@x.co.test", "bob@y.co.test", "co.test has no such user", True),
    # In letters that are not ASCII.
    ("jörg@example.com", "support@example.com", "J%C3%B6rg is unknown", False),
    ("jörg@example.com", "support@example.com", "J\\x{F6}rg is unknown", False),
    ("jörg@example.com", "support@example.com", "JÖRG is unknown", False),
    ("bob@bücher.test", "support@example.com", "xn--bcher-kva.test has no such user", False),
    ("bob@xn--bcher-kva.test", "support@example.com", "BÜCHER.test has no such user", False),
    ("bob@xn--a.test", "support@example.com", "xn--a.test has no such user", False),
    ("bob@xn--a.test", "support@example.com", "no such user", True),
]


@pytest.mark.parametrize(("primary", "alias", "said", "is_given"), NEIGHBOURS)
def test_only_what_the_alias_does_not_tell_is_a_secret(primary, alias, said, is_given):
    delivery = a_delivery(primary, alias=alias)
    octets = a_notice(delivery, failed(said))
    assert (WITHHELD not in the_fields(octets)[1]["Diagnostic-Code"]) is is_given


def test_an_alias_that_is_like_its_primary_is_still_named():
    delivery = a_delivery("bob@example.com", alias="bob.smith@example.com")
    assert shown("<bob@example.com> is unknown", delivery) == "<bob.smith@example.com> is unknown"
    assert shown("<bob.smith@example.com> is unknown", delivery) == "<bob.smith@example.com> is unknown"


def test_an_address_is_found_before_words_are_cut():
    assert shown("x" * 490 + f" {BOB}") == "x" * 490 + " support@e"
    assert shown("x " * 1000 + "bob.smith") == WITHHELD


PRIMARIES = [BOB, "bob+news@private.example.net", "a_b.c-d@example.com", "jörg@bücher.test", "x@y.test"]
ESCAPED = {
    "as it is": str,
    "upper": str.upper,
    "lower": str.lower,
    "percent": urllib.parse.quote,
    "all percent": lambda text: "".join(f"%{octet:02x}" for octet in text.encode()),
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe="")),
    "xtext": lambda text: "".join(c if c.isalnum() and c.isascii() else f"+{ord(c):02X}" for c in text),
    "all xtext": lambda text: "".join(f"+{octet:02X}" for octet in text.encode()),
    "quoted-printable": lambda text: "".join(f"={octet:02X}" for octet in text.encode()),
    "RFC 6533": lambda text: "".join(f"\\x{{{ord(c):02X}}}" for c in text),
    "quoted": lambda text: '"{}"@{}'.format(*text.split("@")),
    "backslashes": lambda text: '"{}"@{}'.format("".join(f"\\{c}" for c in text.split("@")[0]), text.split("@")[1]),
    "apart": lambda text: " @ ".join(text.split("@")),
    "at": lambda text: " at ".join(text.split("@")),
    "like SRS": lambda text: "{1}={0}".format(*text.split("@")),
    "like VERP": lambda text: "=".join(text.split("@")),
}
WORDS = st.text(max_size=30) | st.sampled_from(["", "<", "user ", "550 ", "%", "=", '"', "x", "\\", "@", "(", "%3C"])


def names(octets, primary):
    """Whether a notice has an address in it, for who undoes all escapes that there are."""
    address = addresses.parse(primary)
    text = octets.decode("utf-8", "replace")
    readings = {text, text.replace("=\r\n", ""), the_words(octets), the_words(octets).replace("\n    ", " ")}
    for _ in range(2):
        readings |= {urllib.parse.unquote(reading) for reading in readings}
        readings |= {
            re.sub(rf"{sign}([0-9A-Fa-f]{{2}}){end}", lambda octet: chr(int(octet[1], 16)), reading)
            for reading in readings
            for sign, end in ((r"\+", ""), ("=", ""), (r"\\x\{", r"\}"))
        }
        readings |= {re.sub(r'[\\"]', "", reading) for reading in readings}
    forms = {primary.lower(), address.key, " @ ".join(primary.lower().split("@")), "=".join(primary.lower().split("@"))}
    return any(form in reading.lower() for form in forms for reading in readings)


@settings(max_examples=400)
@given(primary=st.sampled_from(PRIMARIES), way=st.sampled_from(list(ESCAPED)), before=WORDS, after=WORDS)
def test_whatever_a_peer_says_the_primary_is_not_in_the_notice(primary, way, before, after):
    octets = a_notice(a_delivery(primary), failed(before + ESCAPED[way](primary) + after))
    assert not names(octets, primary)


@pytest.mark.parametrize("primary", PRIMARIES)
@pytest.mark.parametrize("way", ESCAPED)
def test_in_each_way_of_writing_the_primary_is_not_in_the_notice(primary, way):
    assert not names(a_notice(a_delivery(primary), failed(f"<{ESCAPED[way](primary)}> is unknown")), primary)


@given(st.text(max_size=200), st.sampled_from(PRIMARIES))
def test_whatever_else_a_peer_says_the_primary_is_not_in_the_notice(text, primary):
    assert not names(a_notice(a_delivery(primary), failed(text)), primary)
