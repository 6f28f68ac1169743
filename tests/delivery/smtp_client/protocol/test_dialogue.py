"""The dialogue with a peer, as tables: what it says, what we say, and what came of it. Cut anywhere, it is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.peers.scripted_mail_server import HEADER, HELLO, a_parcel
from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.dialogue import AT_ONCE, Dialogue, Need, SessionOptions
from waypost.domain.mail.delivery import Protocol, Stage, Trouble
from waypost.domain.mail.routes import Tls

GREETING = "220 peer.example ready"
SENT = (HEADER + HELLO).decode()
MAIL = "MAIL FROM:<a@client.example>"
RCPT = "RCPT TO:<support@example.com>"
TAKEN = "250 2.0.0 taken"
OK3 = "250 2.1.0 ok|250 2.1.5 ok|354 go ahead"


def offering(*words, name="peer.example"):
    """The reply to EHLO."""
    lines = [name, *words]
    return "|".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)


def octets_of(replies):
    """Replies as they are written here, as they come."""
    return replies if isinstance(replies, bytes) else (replies.replace("|", "\r\n") + "\r\n").encode("latin-1")


class Played:
    """A dialogue that was played: what was said in each turn, and what came of each parcel."""

    def __init__(self, replies, *, parcels=(), parts=None, step=0, **options):
        self.dialogue = Dialogue(SessionOptions(**{"protocol": Protocol.SMTP, "hostname": "mail.example"} | options))
        self.said = []
        self.results = []
        self.replies, self.parcels, self.parts = list(replies), list(parcels), parts
        self.step, self.given = step, []
        while self.go_on():
            pass

    def go_on(self):
        """Do what the dialogue needs. Returns whether there is more to do."""
        dialogue = self.dialogue
        said = dialogue.output()
        if said:
            self.said.append(said.decode("utf-8", "surrogateescape"))
        if dialogue.need is Need.NOTHING:
            return self.begin_next()
        if dialogue.need is Need.TLS:
            dialogue.tls_started("TLSv1.3 A-CIPHER")
        elif dialogue.need is Need.OCTETS and (part := self.given.pop(0)) is not Ellipsis:
            dialogue.give(part)
        elif not self.replies:
            dialogue.fail(Trouble.DISCONNECTED, "gone")
        else:
            octets = octets_of(self.replies.pop(0))
            for start in range(0, len(octets), self.step or len(octets)):
                dialogue.receive(octets[start : start + (self.step or len(octets))])
        return True

    def begin_next(self):
        """Note what came of one parcel, and begin with the next."""
        if self.dialogue.result:
            self.results.append(self.dialogue.result)
        if self.dialogue.is_over or not self.parcels:
            return False
        parcel = self.parcels.pop(0)
        self.given = list(self.parts or [Part(parcel.header + HELLO, is_last=True)])
        self.dialogue.begin(parcel)
        return True

    @property
    def facts(self):
        """Of the last result."""
        result = self.results[-1]
        return result.stage, result.code, result.enhanced, result.trouble


def play(replies, **options):
    """Play it whole, byte by byte, and in threes: it is the same."""
    plays = [Played(replies, step=step, **options) for step in (0, 1, 3)]
    assert plays[0].said == plays[1].said == plays[2].said
    assert plays[0].results == plays[1].results == plays[2].results
    return plays[0]


# What we say


def test_an_old_peer_gets_one_command_after_the_other():
    played = play([GREETING, "250 peer.example", "250 ok", "250 ok", "354 go ahead", TAKEN], parcels=[a_parcel()])
    assert played.said == [
        "EHLO mail.example\r\n",
        f"{MAIL}\r\n",
        f"{RCPT}\r\n",
        "DATA\r\n",
        f"{SENT}.\r\n",
    ]
    assert played.facts == (Stage.END, 250, "2.0.0", None)
    assert not played.dialogue.is_over


def test_a_peer_with_pipelining_gets_all_up_to_data_at_once_and_a_reset_before_the_next():
    turns = [GREETING, offering("PIPELINING"), OK3, TAKEN, f"250 reset|{OK3}", TAKEN]
    played = play(turns, parcels=[a_parcel(), a_parcel()])
    assert played.said[1] == f"{MAIL}\r\n{RCPT}\r\nDATA\r\n"
    assert played.said[3] == f"RSET\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n"
    assert [result.code for result in played.results] == [250, 250]


def test_a_small_message_goes_with_its_commands_where_chunks_are_taken():
    replies = [GREETING, offering("PIPELINING", "CHUNKING"), f"250 ok|250 ok|{TAKEN}"]
    played = play(replies, parcels=[a_parcel()])
    assert played.said[1] == f"{MAIL}\r\n{RCPT}\r\nBDAT {len(SENT)} LAST\r\n{SENT}"
    assert played.facts == (Stage.END, 250, "2.0.0", None)


def test_without_pipelining_a_chunk_waits_for_the_recipient():
    played = play([GREETING, offering("CHUNKING"), "250 ok", "250 ok", TAKEN], parcels=[a_parcel()])
    assert played.said[1:] == [f"{MAIL}\r\n", f"{RCPT}\r\n", f"BDAT {len(SENT)} LAST\r\n{SENT}"]


def test_a_chunk_that_is_not_small_waits_for_the_recipient():
    large = Part(b"x" * (AT_ONCE + 1), is_last=True)
    replies = [GREETING, offering("CHUNKING", "PIPELINING"), "250 ok|250 ok", TAKEN]
    played = play(replies, parcels=[a_parcel()], parts=[large])
    assert played.said[1] == f"{MAIL}\r\n{RCPT}\r\n"
    assert played.said[2].startswith(f"BDAT {AT_ONCE + 1} LAST\r\nxxx")


def test_each_part_is_a_chunk_and_each_chunk_is_answered():
    parts = [Part(b"a\r\n.", is_last=False), Part(b"", is_last=False), Part(b".\r\nb", is_last=True)]
    replies = [GREETING, offering("CHUNKING", "PIPELINING"), "250 ok|250 ok", "250 4", "250 0", TAKEN]
    played = play(replies, parcels=[a_parcel()], parts=parts)
    assert played.said[2:] == ["BDAT 4\r\na\r\n.", "BDAT 0\r\n", "BDAT 4 LAST\r\n.\r\nb"]


@pytest.mark.parametrize("greeting", ["220 MAIL.example ESMTP", GREETING], ids=["same name", "says it back"])
def test_a_peer_that_says_our_own_name_gets_mail(greeting):
    dialogue = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="mail.example", tls=Tls.NONE))
    dialogue.receive(octets_of(greeting))
    dialogue.receive(octets_of(offering("PIPELINING", name="MAIL.example")))
    assert (dialogue.need, dialogue.result, dialogue.is_over) == (Need.NOTHING, None, False)


def test_lmtp_says_lhlo_and_a_store_may_bear_our_name():
    replies = [GREETING, offering("PIPELINING", name="mail.example"), OK3, TAKEN]
    played = play(replies, parcels=[a_parcel()], protocol=Protocol.LMTP)
    assert played.said[0] == "LHLO mail.example\r\n"
    assert played.facts == (Stage.END, 250, "2.0.0", None)


def test_a_peer_that_does_not_know_ehlo_gets_helo():
    replies = [GREETING, "500 what?", "250 peer.example", "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel(body="8BITMIME")])
    assert played.said[:3] == ["EHLO mail.example\r\n", "HELO mail.example\r\n", f"{MAIL}\r\n"]
    assert played.facts == (Stage.END, 250, "2.0.0", None)


ALL = ("SIZE 1000", "8BITMIME", "BINARYMIME", "CHUNKING", "PIPELINING", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
DSN = {"notify": ("SUCCESS", "DELAY"), "ret": "HDRS", "envid": "a+b=c", "orcpt": "rfc822;an+old@example.org"}
SIZE = len(SENT)


@pytest.mark.parametrize(
    ("offer", "parcel", "mail", "rcpt"),
    [
        pytest.param([], {}, MAIL, RCPT, id="nothing offered"),
        pytest.param(["SIZE"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size without a limit"),
        pytest.param(["SIZE 0"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size without limit, said as zero"),
        pytest.param(["SIZE many"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size that is no number"),
        pytest.param([f"size {SIZE}"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size that is just enough"),
        pytest.param(["SIZE " + "9" * 99], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size beyond reason"),
        pytest.param(["8BITMIME"], {}, MAIL, RCPT, id="7bit needs no body parameter"),
        pytest.param(["8BITMIME"], {"body": "8BITMIME"}, f"{MAIL} BODY=8BITMIME", RCPT, id="8bit"),
        pytest.param([], {"body": "8BITMIME"}, MAIL, RCPT, id="8bit goes as it is where it is not offered"),
        pytest.param([], {"sender": ""}, "MAIL FROM:<>", RCPT, id="null sender"),
        pytest.param(
            [], {"sender": '"a> b"@client.example'}, 'MAIL FROM:<"a> b"@client.example>', RCPT, id="quoted local part"
        ),
        pytest.param(
            ["SMTPUTF8", "8BITMIME"],
            {"sender": "grün@client.example"},
            "MAIL FROM:<grün@client.example> BODY=8BITMIME SMTPUTF8",
            RCPT,
            id="sender beyond ASCII",
        ),
        pytest.param(
            ["SMTPUTF8", "8BITMIME"], {"protocol": "UTF8SMTPS"}, MAIL, RCPT, id="SMTPUTF8 declared and not needed"
        ),
        pytest.param([], {"protocol": "UTF8SMTP"}, MAIL, RCPT, id="SMTPUTF8 declared, not needed and not offered"),
        pytest.param([], {"protocol": "UTF8LMTP", "sender": ""}, "MAIL FROM:<>", RCPT, id="the same, null sender"),
        pytest.param(
            [], {"sender": "a@bücher.example", "protocol": "UTF8SMTP"},
            "MAIL FROM:<a@xn--bcher-kva.example>", RCPT, id="domain of the sender beyond ASCII",
        ),
        pytest.param(
            [], {"to": "x@bücher.example"}, MAIL, "RCPT TO:<x@xn--bcher-kva.example>", id="domain beyond ASCII"
        ),
        pytest.param([], DSN, MAIL, RCPT, id="dsn not offered"),
        pytest.param(
            ["DSN"],
            DSN,
            f"{MAIL} RET=HDRS ENVID=a+2Bb+3Dc",
            f"{RCPT} NOTIFY=SUCCESS,DELAY ORCPT=rfc822;an+2Bold@example.org",
            id="dsn",
        ),
        pytest.param(
            ["DSN"], {"orcpt": "utf-8;gr\u00fcn\\@example.org"}, MAIL,
            f"{RCPT} ORCPT=utf-8;gr\\x{{FC}}n\\x{{5C}}@example.org", id="dsn beyond ASCII",
        ),
        pytest.param(
            ["DSN"],
            {"notify": ("SOMETIMES",), "ret": "ALL", "envid": "a\r\nb", "orcpt": "rfc 822;a@b"},
            MAIL,
            RCPT,
            id="dsn that is none",
        ),
        pytest.param(["DSN"], {"envid": "grün", "orcpt": "rfc822;grün@b"}, MAIL, RCPT, id="dsn that is not ASCII"),
        pytest.param(["DSN"], {"orcpt": "utf-8;"}, MAIL, RCPT, id="original recipient that is empty"),
    ],
)  # fmt: skip
def test_what_mail_and_rcpt_say(offer, parcel, mail, rcpt):
    replies = [GREETING, offering(*offer), "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel(**parcel)])
    assert played.said[1:3] == [f"{mail}\r\n", f"{rcpt}\r\n"]
    assert played.facts == (Stage.END, 250, "2.0.0", None)


UTF8 = {"protocol": "UTF8SMTP"}
BEYOND = "Subject: Grüße\r\n\r\nHello.\r\n".encode()
LATIN = b"Subject: Gr\xfc\xdfe\r\n\r\nHello.\r\n"
BODY_BEYOND = "Subject: hello\r\n\r\nContent-Description: Grüße\r\n".encode()
OUR_LINE = "Delivered-To: grün@example.com\r\n".encode()
NEEDED, NOT_NEEDED = " SMTPUTF8", ""


@pytest.mark.parametrize(
    ("parcel", "raw", "parts", "expected"),
    [
        pytest.param(UTF8, HELLO, 1, NOT_NEEDED, id="declared, all is ASCII"),
        pytest.param(UTF8, BEYOND, 1, NEEDED, id="declared, the header is not ASCII"),
        pytest.param(UTF8, LATIN, 1, NOT_NEEDED, id="declared, the header is in another charset"),
        pytest.param(UTF8, BODY_BEYOND, 1, NOT_NEEDED, id="declared, the body is not ASCII"),
        pytest.param({}, BEYOND, 1, NOT_NEEDED, id="not declared, the header is not ASCII"),
        pytest.param({}, LATIN, 1, NOT_NEEDED, id="not declared, the header is in another charset"),
        pytest.param({"header": OUR_LINE}, HELLO, 1, NEEDED, id="not declared, a line of ours is not ASCII"),
        pytest.param(UTF8, "\r\nGrüße\r\n".encode(), 1, NOT_NEEDED, id="declared, no header"),
        pytest.param(UTF8, b"Subject: no body\r\n", 1, NOT_NEEDED, id="declared, no body"),
        pytest.param(UTF8, BODY_BEYOND, 2, NOT_NEEDED, id="declared, the first part ends in the body"),
        pytest.param(UTF8, b"Subject: hello\r\n" * 9, 2, NEEDED, id="declared, the first part ends in the header"),
    ],
)
def test_smtputf8_is_asked_for_if_what_is_sent_needs_it(parcel, raw, parts, expected):
    parcel = a_parcel(raw, **parcel)
    octets = parcel.header + raw
    cut = len(octets) if parts == 1 else len(octets) - 9
    sent = [Part(octets[:cut], is_last=parts == 1), *([Part(octets[cut:], is_last=True)] if parts == 2 else [])]
    offered = [GREETING, offering("SMTPUTF8", "PIPELINING"), OK3, TAKEN]
    played = Played(offered, parcels=[parcel], parts=sent)
    assert played.said[1] == f"{MAIL}{expected}\r\n{RCPT}\r\nDATA\r\n"
    for protocol in (Protocol.SMTP, Protocol.LMTP):
        played = Played([GREETING, offering("PIPELINING"), OK3, TAKEN], parcels=[parcel], parts=sent, protocol=protocol)
        assert played.results[-1].trouble is (Trouble.NEEDS_UTF8 if expected else None)


def test_a_binary_message_is_said_to_be_one():
    replies = [GREETING, offering(*ALL), f"250 ok|250 ok|{TAKEN}"]
    played = play(replies, parcels=[a_parcel(body="BINARYMIME")])
    assert f"{MAIL} SIZE={SIZE} BODY=BINARYMIME\r\n" in played.said[1]


@pytest.mark.parametrize(
    ("offer", "parcel", "notifies"),
    [
        (["DSN"], DSN, True),
        (["DSN"], {**DSN, "notify": ("FAILURE",)}, False),
        (["DSN"], {}, False),
        ([], DSN, False),
    ],
)
def test_a_peer_that_knows_of_notifications_takes_them_over(offer, parcel, notifies):
    replies = [GREETING, offering(*offer), "250 ok", "250 ok", "354 go", TAKEN]
    assert play(replies, parcels=[a_parcel(**parcel)]).results[-1].notifies is notifies


@pytest.mark.parametrize(
    ("offer", "parcel", "trouble"),
    [
        pytest.param([], {"body": "BINARYMIME"}, Trouble.NEEDS_BINARY, id="binary"),
        pytest.param(["BINARYMIME"], {"body": "BINARYMIME"}, Trouble.NEEDS_BINARY, id="binary without chunks"),
        pytest.param(["CHUNKING"], {"body": "BINARYMIME"}, Trouble.NEEDS_BINARY, id="chunks that are not binary"),
        pytest.param([], {"to": "grün@example.com"}, Trouble.NEEDS_UTF8, id="recipient beyond ASCII"),
        pytest.param([], {"sender": "a@grün..x"}, Trouble.NEEDS_UTF8, id="domain that has no A-labels"),
        pytest.param([], {"header": OUR_LINE}, Trouble.NEEDS_UTF8, id="a line of ours beyond ASCII"),
        pytest.param([f"SIZE {SIZE - 1}"], {}, Trouble.TOO_BIG, id="too big"),
    ],
)
def test_what_a_peer_cannot_take_is_not_said_to_it(offer, parcel, trouble):
    replies = [GREETING, offering(*offer), "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel(**parcel)])
    assert played.facts == (Stage.MAIL, None, "", trouble)
    assert played.said == ["EHLO mail.example\r\n"]
    assert not played.dialogue.is_over


# TLS and passwords

TLS_OFFER = offering("STARTTLS", "PIPELINING")


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRE, Tls.VERIFY])
def test_tls_is_spoken_where_it_is_offered_and_what_was_offered_before_it_is_forgotten(tls):
    replies = [GREETING, TLS_OFFER, "220 go", offering("DSN"), "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel()], tls=tls)
    assert played.said[:4] == ["EHLO mail.example\r\n", "STARTTLS\r\n", "EHLO mail.example\r\n", f"{MAIL}\r\n"]
    assert played.results[-1].tls == "TLSv1.3 A-CIPHER"


def test_tls_from_the_beginning_comes_before_the_greeting():
    replies = [GREETING, TLS_OFFER, OK3, TAKEN]
    played = play(replies, parcels=[a_parcel()], tls=Tls.REQUIRE, is_tls=True)
    assert played.said[:2] == ["EHLO mail.example\r\n", f"{MAIL}\r\n{RCPT}\r\nDATA\r\n"]
    assert played.results[-1].tls == "TLSv1.3 A-CIPHER"


@pytest.mark.parametrize("offer", [TLS_OFFER, offering("PIPELINING")])
def test_tls_is_not_spoken_where_the_route_wants_none(offer):
    played = play([GREETING, offer, OK3, TAKEN], parcels=[a_parcel()], tls=Tls.NONE)
    assert played.results[-1].tls == ""
    assert len(played.said) == 3


def test_where_tls_is_only_welcome_its_refusal_does_not_matter():
    played = play([GREETING, TLS_OFFER, "454 not now", OK3, TAKEN], parcels=[a_parcel()])
    assert played.facts == (Stage.END, 250, "2.0.0", None)
    assert played.results[-1].tls == ""


AUTH = {"tls": Tls.VERIFY, "user": "me", "secret": "geh€im"}
SECURE = [GREETING, TLS_OFFER, "220 go"]


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        pytest.param(
            [offering("AUTH LOGIN plain"), "235 ok"], ["AUTH PLAIN AG1lAGdlaOKCrGlt\r\n"], id="plain is preferred"
        ),
        pytest.param(
            [offering("AUTH=LOGIN"), "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok"],
            ["AUTH LOGIN\r\n", "bWU=\r\n", "Z2Vo4oKsaW0=\r\n"],
            id="login, offered as of old",
        ),
    ],
)
def test_how_a_password_is_said(replies, said):
    played = play([*SECURE, *replies, "250 ok", "250 ok", "354 go", TAKEN], parcels=[a_parcel()], **AUTH)
    assert played.said[3 : 3 + len(said)] == said
    assert played.facts == (Stage.END, 250, "2.0.0", None)


# What can go wrong

READY = [GREETING, offering("PIPELINING")]
ONE_BY_ONE = [GREETING, offering()]
CHUNKING = [GREETING, offering("PIPELINING", "CHUNKING")]
TWO_PARTS = [Part(b"a\r\n", is_last=False), Part(b"b\r\n", is_last=True)]


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param(["554 5.7.1 go away"], (Stage.GREETING, 554, "5.7.1", None), id="greeting refused"),
        pytest.param(["354 go"], (Stage.GREETING, 354, "", Trouble.GARBAGE), id="greeting of another kind"),
        pytest.param([], (Stage.GREETING, None, "", Trouble.DISCONNECTED), id="gone before the greeting"),
        pytest.param(["HTTP/1.1 400"], (Stage.GREETING, None, "", Trouble.GARBAGE), id="no mail server"),
        pytest.param([GREETING, "421 4.3.2 not now"], (Stage.HELLO, 421, "4.3.2", None), id="hello put off"),
        pytest.param([GREETING, "500 what", "554 no"], (Stage.HELLO, 554, "", None), id="hello refused twice"),
        pytest.param([GREETING], (Stage.HELLO, None, "", Trouble.DISCONNECTED), id="gone at hello"),
        pytest.param([*READY, "451 4.3.0 x|503 y|503 z"], (Stage.MAIL, 451, "4.3.0", None), id="mail, in a group"),
        pytest.param([*READY, "250 x|550 5.1.1 y|503 z"], (Stage.RCPT, 550, "5.1.1", None), id="rcpt, in a group"),
        pytest.param([*READY, "250 x|550 5.1.1 y|354 z"], (Stage.RCPT, 550, "5.1.1", None), id="354 without a rcpt"),
        pytest.param([*READY, "250 x|250 y|554 5.7.1 z"], (Stage.DATA, 554, "5.7.1", None), id="data, in a group"),
        pytest.param([*READY, "250 x|550 5.1.1 y"], (Stage.RCPT, 550, "5.1.1", None), id="gone after a refusal"),
        pytest.param([*READY, "250 x|550 5.1.1 y|huh"], (Stage.RCPT, 550, "5.1.1", None), id="garbage after a refusal"),
        pytest.param([*READY, "250 x|421 4.3.2 y"], (Stage.RCPT, 421, "4.3.2", None), id="goodbye at rcpt"),
        pytest.param([*READY, "250 x|250 y|250 z"], (Stage.DATA, 250, "", Trouble.GARBAGE), id="data with 250"),
        pytest.param([*READY, "354 x"], (Stage.MAIL, 354, "", Trouble.GARBAGE), id="mail with 354"),
        pytest.param([*READY, "250 x"], (Stage.RCPT, None, "", Trouble.DISCONNECTED), id="gone at rcpt"),
        pytest.param([*READY, OK3], (Stage.END, None, "", Trouble.DISCONNECTED), id="gone after the dot"),
        pytest.param([*READY, OK3, "huh"], (Stage.END, None, "", Trouble.GARBAGE), id="garbage after the dot"),
        pytest.param([*READY, OK3, "354 more"], (Stage.END, 354, "", Trouble.GARBAGE), id="354 after the dot"),
        pytest.param([*READY, OK3, "552 5.3.4 x"], (Stage.END, 552, "5.3.4", None), id="too big after the dot"),
        pytest.param([*READY, OK3, "421 4.3.2 x"], (Stage.END, 421, "4.3.2", None), id="goodbye after the dot"),
        pytest.param([*ONE_BY_ONE, "452 x"], (Stage.MAIL, 452, "", None), id="mail"),
        pytest.param([*ONE_BY_ONE, "250 x", "550 x"], (Stage.RCPT, 550, "", None), id="rcpt"),
        pytest.param(
            [*CHUNKING, "250 x|550 5.1.1 y|503 z"], (Stage.RCPT, 550, "5.1.1", None), id="rcpt, before a chunk"
        ),
        pytest.param([*CHUNKING, "250 x|250 y|554 5.6.0 z"], (Stage.END, 554, "5.6.0", None), id="last chunk refused"),
        pytest.param([*CHUNKING, "250 x"], (Stage.END, None, "", Trouble.DISCONNECTED), id="gone, though all was sent"),
        pytest.param([*CHUNKING, "huh"], (Stage.END, None, "", Trouble.GARBAGE), id="garbage, though all was sent"),
    ],
)
def test_what_comes_of_it_when(replies, facts):
    assert play(replies, parcels=[a_parcel()]).facts == facts


LONG = b"x" * 5_000
ENDLESS = {
    "the end does not come": b"250-2.0.0 taken\r\n",
    "the end of the line does not come": b"250 2.0.0 taken",
    "garbage": b"250-2.0.0 taken\r\nhuh\r\n",
    "garbage behind the end": b"250 2.0.0 taken\r\nhuh\r\n",
    "a line that is too long": b"250 2.0.0 " + LONG + b"\r\n",
    "a second line that is too long": b"250-2.0.0 taken\r\n250 " + LONG + b"\r\n",
    "too many lines": b"250-2.0.0 taken\r\n" * 101 + b"250 2.0.0 taken\r\n",
}


@pytest.mark.parametrize("octets", ENDLESS.values(), ids=ENDLESS)
def test_a_peer_that_has_said_250_after_the_dot_has_the_message_whatever_follows(octets):
    for replies in ([*READY, OK3, octets], [*CHUNKING, b"250 x\r\n250 y\r\n" + octets]):
        for protocol in (Protocol.SMTP, Protocol.LMTP):
            played = play(replies, parcels=[a_parcel(), a_parcel()], protocol=protocol)
            assert len(played.results) == 1, "nothing more is said on this connection"
            assert played.facts == (Stage.END, 250, "2.0.0", None)
            assert played.dialogue.is_over


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param([*READY, OK3, b"554-5.7.1 no\r\n"], (Stage.END, 554, "5.7.1", None), id="refused"),
        pytest.param([*READY, OK3, b"451 4.3.0 " + LONG], (Stage.END, 451, "4.3.0", None), id="put off"),
        pytest.param([*READY, OK3, b"354 more"], (Stage.END, 354, "", Trouble.GARBAGE), id="of another kind"),
        pytest.param([*READY, OK3, b"250-a\r\n550 b\r\n"], (Stage.END, None, "", Trouble.GARBAGE), id="two codes"),
        pytest.param([*READY, OK3, b"25"], (Stage.END, None, "", Trouble.DISCONNECTED), id="no code"),
        pytest.param(
            [*CHUNKING, b"250 x\r\n550 5.1.1 y\r\n250-z\r\n"], (Stage.RCPT, 550, "5.1.1", None), id="no recipient"
        ),
        pytest.param(
            [*READY, b"250 x\r\n250-y\r\n"], (Stage.RCPT, None, "", Trouble.DISCONNECTED), id="before the dot"
        ),
    ],
)
def test_of_a_reply_without_end_the_code_counts_after_the_dot_alone(replies, facts):
    played = play(replies, parcels=[a_parcel()])
    assert played.facts == facts
    assert played.dialogue.is_over


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param([GREETING, offering()], (Stage.TLS, None, "", Trouble.NO_TLS), id="not offered"),
        pytest.param([GREETING, "502 x", "250 x"], (Stage.TLS, None, "", Trouble.NO_TLS), id="known to HELO alone"),
        pytest.param([GREETING, TLS_OFFER, "454 4.7.0 x"], (Stage.TLS, 454, "4.7.0", None), id="put off"),
        pytest.param([GREETING, TLS_OFFER, "354 x"], (Stage.TLS, 354, "", Trouble.GARBAGE), id="of another kind"),
        pytest.param([GREETING, TLS_OFFER], (Stage.TLS, None, "", Trouble.DISCONNECTED), id="gone"),
        pytest.param(
            [GREETING, TLS_OFFER, "220 go|250-evil|250 AUTH"], (Stage.TLS, None, "", Trouble.GARBAGE), id="injection"
        ),
        pytest.param([*SECURE, "421 x"], (Stage.HELLO, 421, "", None), id="second hello"),
        pytest.param([*SECURE, offering()], (Stage.AUTH, None, "", Trouble.NO_AUTH), id="no way to log in"),
        pytest.param([*SECURE, offering("AUTH NTLM")], (Stage.AUTH, None, "", Trouble.NO_AUTH), id="unknown way"),
        pytest.param([*SECURE, offering("AUTH PLAIN"), "535 5.7.8 x"], (Stage.AUTH, 535, "5.7.8", None), id="wrong"),
        pytest.param(
            [*SECURE, offering("AUTH PLAIN"), "334 x"], (Stage.AUTH, 334, "", Trouble.GARBAGE), id="more than plain"
        ),
        pytest.param([*SECURE, offering("AUTH LOGIN"), "504 x"], (Stage.AUTH, 504, "", None), id="login after all not"),
        pytest.param(
            [*SECURE, offering("AUTH LOGIN"), "334 x", "535 x"], (Stage.AUTH, 535, "", None), id="unknown user"
        ),
    ],
)
def test_where_tls_and_a_password_are_needed_what_comes_of_it_when(replies, facts):
    played = play(replies, parcels=[a_parcel()], **AUTH)
    assert played.facts == facts
    assert played.dialogue.is_over


@pytest.mark.parametrize("tls", [Tls.NONE, Tls.OPPORTUNISTIC])
def test_a_password_is_never_sent_in_clear(tls):
    played = play([GREETING, offering("AUTH PLAIN LOGIN")], parcels=[a_parcel()], **AUTH | {"tls": tls})
    assert played.facts == (Stage.AUTH, None, "", Trouble.NO_AUTH)
    assert "AUTH" not in "".join(played.said)


def test_lmtp_has_no_helo():
    played = play([GREETING, "500 what?"], parcels=[a_parcel()], protocol=Protocol.LMTP)
    assert played.facts == (Stage.HELLO, 500, "", None)


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param(["452 4.2.2 full"], (Stage.DATA, 452, "4.2.2", None), id="refused"),
        pytest.param(["421 bye"], (Stage.DATA, 421, "", None), id="goodbye"),
        pytest.param(["354 go on"], (Stage.DATA, 354, "", Trouble.GARBAGE), id="of another kind"),
        pytest.param([], (Stage.BODY, None, "", Trouble.DISCONNECTED), id="gone"),
        pytest.param(["250 a", "554 5.6.0 b"], (Stage.END, 554, "5.6.0", None), id="refused at the last"),
        pytest.param(["250 a", "452 c"], (Stage.END, 452, "", None), id="put off at the last"),
        pytest.param(["250 a"], (Stage.END, None, "", Trouble.DISCONNECTED), id="gone after the last"),
    ],
)
def test_what_comes_of_a_chunk_when(replies, facts):
    played = Played([*CHUNKING, "250 ok|250 ok", *replies], parcels=[a_parcel()], parts=TWO_PARTS)
    assert played.facts == facts


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        pytest.param("552 5.3.4 too big", (Stage.BODY, 552, "5.3.4", None), id="refused"),
        pytest.param("250 taken", (Stage.BODY, 250, "", Trouble.GARBAGE), id="taken before it was sent"),
        pytest.param("huh", (Stage.BODY, None, "", Trouble.GARBAGE), id="garbage"),
        pytest.param(b"25", (Stage.BODY, None, "", Trouble.GARBAGE), id="half a reply"),
    ],
)
def test_what_a_peer_says_into_the_message_ends_it(reply, facts):
    parts = [Part(b"a", is_last=False), ..., Part(b"b", is_last=True)]
    played = play([*READY, OK3, reply], parcels=[a_parcel()], parts=parts)
    assert played.facts == facts
    assert played.dialogue.is_over
    assert played.said[-1] == "a"


def test_a_peer_that_waits_for_a_message_without_a_recipient_gets_none():
    played = play([*READY, "250 x|550 5.1.1 y|354 z"], parcels=[a_parcel()])
    assert played.dialogue.is_over
    assert played.said[-1].endswith("DATA\r\n")


@pytest.mark.parametrize(
    ("replies", "parts", "stage"),
    [
        pytest.param([f"{GREETING}|250 x"], None, Stage.GREETING, id="greeting"),
        pytest.param([*ONE_BY_ONE, "250 x|250 y"], None, Stage.MAIL, id="mail"),
        pytest.param([*READY, f"{OK3}|250 x"], None, Stage.BODY, id="data"),
        pytest.param([*CHUNKING, "250 x|250 y|250 z"], TWO_PARTS, Stage.RCPT, id="before a chunk"),
        pytest.param([*CHUNKING, "250 x|250 y", "250 a|250 b"], TWO_PARTS, Stage.BODY, id="chunk"),
    ],
)
def test_a_peer_that_says_more_than_it_was_asked_is_not_understood_any_more(replies, parts, stage):
    played = Played(replies, parcels=[a_parcel()], parts=parts)
    assert (played.facts[0], played.facts[3]) == (stage, Trouble.GARBAGE)
    assert played.dialogue.is_over


def test_what_a_peer_says_before_the_message_ends_it_too():
    dialogue = Played(READY).dialogue
    dialogue.begin(a_parcel())
    dialogue.receive(b"421 4.4.2 idle for too long\r\n")
    assert (dialogue.result.stage, dialogue.result.code, dialogue.is_over) == (Stage.MAIL, 421, True)


# Connections that are kept


@pytest.mark.parametrize(
    ("replies", "is_stale"),
    [
        pytest.param([], True, id="gone"),
        pytest.param(["250 reset"], True, id="gone after RSET"),
        pytest.param(["421 idle"], True, id="goodbye to RSET"),
        pytest.param(["250 reset|421 too many"], True, id="goodbye to MAIL"),
        pytest.param(["250 reset|250 ok"], False, id="gone after MAIL"),
        pytest.param(["250 reset|451 no|503 x|503 x"], False, id="MAIL put off"),
        pytest.param(["250 reset|250 ok|421 bye"], False, id="goodbye to RCPT"),
        pytest.param(["huh"], False, id="garbage"),
    ],
)
def test_a_kept_connection_is_stale_if_it_ended_before_the_peer_heard_of_the_message(replies, is_stale):
    played = play([*READY, OK3, TAKEN, *replies], parcels=[a_parcel(), a_parcel()])
    assert played.dialogue.is_stale is is_stale


def test_a_connection_is_not_stale_if_all_was_sent_and_nobody_said_a_word():
    played = play([*CHUNKING, f"250 ok|250 ok|{TAKEN}"], parcels=[a_parcel(), a_parcel()])
    assert played.facts == (Stage.END, None, "", Trouble.DISCONNECTED)
    assert not played.dialogue.is_stale


def test_though_all_was_sent_a_goodbye_to_mail_says_that_it_was_not_taken():
    played = play([*CHUNKING, f"250 ok|250 ok|{TAKEN}", "250 reset|421 bye"], parcels=[a_parcel(), a_parcel()])
    assert played.facts == (Stage.MAIL, 421, "", None)
    assert played.dialogue.is_stale


def test_a_new_connection_is_never_stale():
    assert not play(READY, parcels=[a_parcel()]).dialogue.is_stale


def test_what_a_peer_says_to_rset_does_not_matter():
    turns = [*READY, OK3, TAKEN, f"502 what?|{OK3}", TAKEN]
    assert play(turns, parcels=[a_parcel(), a_parcel()]).facts == (Stage.END, 250, "2.0.0", None)


def test_a_peer_that_says_more_after_the_message_is_not_spoken_with_again():
    for more in (b"421 bye\r\n", b"4"):
        dialogue = Played([*READY, OK3, TAKEN], parcels=[a_parcel()]).dialogue
        dialogue.receive(more)
        assert dialogue.is_over
    played = Played([*READY, OK3, f"{TAKEN}|421 bye"], parcels=[a_parcel()])
    assert played.facts == (Stage.END, 250, "2.0.0", None)
    assert played.dialogue.is_over


def test_a_goodbye_is_said_once_and_only_to_who_is_there():
    dialogue = Played(READY).dialogue
    dialogue.quit()
    dialogue.quit()
    assert dialogue.output() == b"QUIT\r\n"
    gone = Played(READY).dialogue
    gone.fail(Trouble.DISCONNECTED, "gone")
    gone.quit()
    assert (gone.output(), gone.result) == (b"", None)


def test_clear_text_in_the_place_of_the_handshake_ends_it():
    dialogue = Played([GREETING, TLS_OFFER]).dialogue
    assert dialogue.is_over
    dialogue = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="mail.example", is_tls=True))
    dialogue.receive(b"220 hello\r\n")
    assert (dialogue.result.stage, dialogue.result.trouble) == (Stage.TLS, Trouble.GARBAGE)


# Command injection


@pytest.mark.parametrize("bad", [chr(n) for n in (*range(0x20), 0x7F, 0x85, 0x9F, 0xD800)], ids=ascii)
@pytest.mark.parametrize("where", ["sender", "to"])
def test_no_control_character_gets_into_a_command(bad, where):
    for address in (f"a{bad}QUIT@example.com", f'"a{bad}QUIT"@example.com'):
        parcel = a_parcel(**{where: address})
        played = Played([GREETING, offering("SMTPUTF8", "PIPELINING")], parcels=[parcel])
        assert played.facts == (Stage.MAIL, None, "", Trouble.FAILED)
        assert played.said == ["EHLO mail.example\r\n"]


@pytest.mark.parametrize("bad", ["a@b> SIZE=1", "a b@c.example", "<a@b", "a@b\\", 'a"@b', '"a" b@c'])
def test_no_address_is_a_parameter_as_well(bad):
    played = Played(READY, parcels=[a_parcel(sender=bad)])
    assert played.facts == (Stage.MAIL, None, "", Trouble.FAILED)
    assert played.said == ["EHLO mail.example\r\n"]


def test_a_host_name_that_would_be_two_commands_is_not_said():
    dialogue = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="a\r\nQUIT"))
    dialogue.receive(b"220 hello\r\n")
    assert (dialogue.result.trouble, dialogue.output(), dialogue.is_over) == (Trouble.FAILED, b"", True)


@given(st.text(), st.text(), st.text(), st.text())
def test_a_parcel_never_makes_more_commands_than_it_should(sender, to, envid, orcpt):
    parcel = a_parcel(sender=sender, to=to, envid=envid, orcpt=orcpt, notify=("FAILURE",))
    dialogue = Played([GREETING, offering("DSN", "SMTPUTF8")]).dialogue
    dialogue.begin(parcel)
    dialogue.give(Part(b"", is_last=True))
    if dialogue.need is Need.REPLY:  # else it could not be said
        mail = dialogue.output()
        dialogue.receive(b"250 ok\r\n")
        rcpt = dialogue.output()
        for command in (mail, rcpt):
            assert command.endswith(b"\r\n")
            assert not any(octet < 0x20 or octet == 0x7F for octet in command[:-2])


# Words


def test_the_words_of_a_peer_are_one_line_without_controls():
    replies = [GREETING, "554-5.7.1 a\x1b[31m|554-5.7.1 \tb\r|554 5.7.1 " + "c" * 2000]
    (result,) = play([*replies[:1], "500 x", replies[1]]).results
    assert result.text.startswith("a [31m b ccc")
    assert len(result.text) == 1000
