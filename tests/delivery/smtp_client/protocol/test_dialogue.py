"""The dialogue with a peer, as tables of replies, commands and results. The results do not depend on how replies are
split.
"""

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
REFUSED = "250 ok|550 no|503 x"


def offering(*words, name="peer.example"):
    """Return the reply to EHLO that offers these extensions."""
    lines = [name, *words]
    return "|".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)


def octets_of(replies):
    """Convert replies from the notation of this file to bytes."""
    return replies if isinstance(replies, bytes) else (replies.replace("|", "\r\n") + "\r\n").encode("latin-1")


class Played:
    """A dialogue that has been played, with the commands of each turn and the result of each parcel."""

    def __init__(self, replies, *, parcels=(), parts=None, step=0, **options):
        self.dialogue = Dialogue(SessionOptions(**{"protocol": Protocol.SMTP, "hostname": "mail.example"} | options))
        self.said = []
        self.results = []
        self.replies, self.parcels, self.parts = list(replies), list(parcels), parts
        self.step, self.given = step, []
        while self.go_on():
            pass

    def go_on(self):
        """Give the dialogue the input that it needs. Returns whether there is more to do."""
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
        """Record the result of one parcel, and begin the next."""
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
        """The main values of the last result."""
        result = self.results[-1]
        return result.stage, result.code, result.enhanced, result.trouble


def play(replies, **options):
    """Play a dialogue with whole replies, byte by byte, and in pieces of three bytes, and check that the results are
    equal.
    """
    plays = [Played(replies, step=step, **options) for step in (0, 1, 3)]
    assert plays[0].said == plays[1].said == plays[2].said
    assert plays[0].results == plays[1].results == plays[2].results
    return plays[0]


# Commands


def test_a_peer_without_extensions_gets_one_command_at_a_time():
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


def test_with_pipelining_all_commands_up_to_data_are_sent_together():
    turns = [GREETING, offering("PIPELINING"), OK3, TAKEN, OK3, TAKEN]
    played = play(turns, parcels=[a_parcel(), a_parcel()])
    assert played.said[1] == played.said[3] == f"{MAIL}\r\n{RCPT}\r\nDATA\r\n"
    assert [result.code for result in played.results] == [250, 250]


@pytest.mark.parametrize("refusal", [["250 ok|550 no|503 x"], [OK3, "554 no"], ["550 no|503 x|503 x"]])
def test_rset_is_sent_before_the_mail_after_a_message_that_the_peer_has_refused(refusal):
    turns = [GREETING, offering("PIPELINING"), *refusal, f"250 reset|{OK3}", TAKEN, OK3, TAKEN]
    played = play(turns, parcels=[a_parcel(), a_parcel(), a_parcel()])
    assert played.said[-4] == f"RSET\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n"
    assert played.said[-2] == f"{MAIL}\r\n{RCPT}\r\nDATA\r\n"
    assert [result.code // 100 for result in played.results] == [5, 2, 2]


def test_with_chunking_a_small_message_is_sent_together_with_its_commands():
    replies = [GREETING, offering("PIPELINING", "CHUNKING"), f"250 ok|250 ok|{TAKEN}"]
    played = play(replies, parcels=[a_parcel()])
    assert played.said[1] == f"{MAIL}\r\n{RCPT}\r\nBDAT {len(SENT)} LAST\r\n{SENT}"
    assert played.facts == (Stage.END, 250, "2.0.0", None)


def test_without_pipelining_a_chunk_is_sent_after_the_reply_to_rcpt():
    played = play([GREETING, offering("CHUNKING"), "250 ok", "250 ok", TAKEN], parcels=[a_parcel()])
    assert played.said[1:] == [f"{MAIL}\r\n", f"{RCPT}\r\n", f"BDAT {len(SENT)} LAST\r\n{SENT}"]


def test_a_large_chunk_is_sent_after_the_reply_to_rcpt():
    large = Part(b"x" * (AT_ONCE + 1), is_last=True)
    replies = [GREETING, offering("CHUNKING", "PIPELINING"), "250 ok|250 ok", TAKEN]
    played = play(replies, parcels=[a_parcel()], parts=[large])
    assert played.said[1] == f"{MAIL}\r\n{RCPT}\r\n"
    assert played.said[2].startswith(f"BDAT {AT_ONCE + 1} LAST\r\nxxx")


def test_each_part_is_a_chunk_and_each_chunk_gets_a_reply():
    parts = [Part(b"a\r\n.", is_last=False), Part(b"", is_last=False), Part(b".\r\nb", is_last=True)]
    replies = [GREETING, offering("CHUNKING", "PIPELINING"), "250 ok|250 ok", "250 4", "250 0", TAKEN]
    played = play(replies, parcels=[a_parcel()], parts=parts)
    assert played.said[2:] == ["BDAT 4\r\na\r\n.", "BDAT 0\r\n", "BDAT 4 LAST\r\n.\r\nb"]


@pytest.mark.parametrize("greeting", ["220 MAIL.example ESMTP", GREETING], ids=["same name", "repeats the name"])
def test_a_peer_with_this_server_s_own_name_gets_mail(greeting):
    dialogue = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="mail.example", tls=Tls.NONE))
    dialogue.receive(octets_of(greeting))
    dialogue.receive(octets_of(offering("PIPELINING", name="MAIL.example")))
    assert (dialogue.need, dialogue.result, dialogue.is_over) == (Need.NOTHING, None, False)


def test_lmtp_uses_lhlo_and_the_peer_may_have_this_server_s_name():
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
        pytest.param(["SIZE 0"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size without a limit, given as zero"),
        pytest.param(["SIZE many"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size that is not a number"),
        pytest.param([f"size {SIZE}"], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="size that is just enough"),
        pytest.param(["SIZE " + "9" * 99], {}, f"{MAIL} SIZE={SIZE}", RCPT, id="excessive size"),
        pytest.param(["8BITMIME"], {}, MAIL, RCPT, id="7bit needs no body parameter"),
        pytest.param(["8BITMIME"], {"body": "8BITMIME"}, f"{MAIL} BODY=8BITMIME", RCPT, id="8bit"),
        pytest.param([], {"body": "8BITMIME"}, MAIL, RCPT, id="8bit is sent unchanged if it is not offered"),
        pytest.param([], {"sender": ""}, "MAIL FROM:<>", RCPT, id="null sender"),
        pytest.param(
            [], {"sender": '"a> b"@client.example'}, 'MAIL FROM:<"a> b"@client.example>', RCPT, id="quoted local part"
        ),
        pytest.param(
            ["SMTPUTF8", "8BITMIME"],
            {"sender": "grün@client.example"},
            "MAIL FROM:<grün@client.example> BODY=8BITMIME SMTPUTF8",
            RCPT,
            id="sender with non-ASCII characters",
        ),
        pytest.param(
            ["SMTPUTF8", "8BITMIME"], {"protocol": "UTF8SMTPS"}, MAIL, RCPT, id="SMTPUTF8 declared but not needed"
        ),
        pytest.param([], {"protocol": "UTF8SMTP"}, MAIL, RCPT, id="SMTPUTF8 declared, not needed and not offered"),
        pytest.param([], {"protocol": "UTF8LMTP", "sender": ""}, "MAIL FROM:<>", RCPT, id="SMTPUTF8, null sender"),
        pytest.param(
            [], {"sender": "a@bücher.example", "protocol": "UTF8SMTP"},
            "MAIL FROM:<a@xn--bcher-kva.example>", RCPT, id="sender with a non-ASCII domain",
        ),
        pytest.param(
            [], {"to": "x@bücher.example"}, MAIL,
            "RCPT TO:<x@xn--bcher-kva.example>", id="recipient with a non-ASCII domain",
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
            f"{RCPT} ORCPT=utf-8;gr\\x{{FC}}n\\x{{5C}}@example.org", id="dsn with non-ASCII characters",
        ),
        pytest.param(
            ["DSN"],
            {"notify": ("SOMETIMES",), "ret": "ALL", "envid": "a\r\nb", "orcpt": "rfc 822;a@b"},
            MAIL,
            RCPT,
            id="invalid dsn parameters",
        ),
        pytest.param(["DSN"], {"envid": "grün", "orcpt": "rfc822;grün@b"}, MAIL, RCPT, id="dsn that is not ASCII"),
        pytest.param(["DSN"], {"orcpt": "utf-8;"}, MAIL, RCPT, id="empty original recipient"),
    ],
)  # fmt: skip
def test_the_parameters_of_mail_and_rcpt(offer, parcel, mail, rcpt):
    replies = [GREETING, offering(*offer), "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel(**parcel)])
    assert played.said[1:3] == [f"{mail}\r\n", f"{rcpt}\r\n"]
    assert played.facts == (Stage.END, 250, "2.0.0", None)


UTF8 = {"protocol": "UTF8SMTP"}
UTF8_HEADER = "Subject: Grüße\r\n\r\nHello.\r\n".encode()
LATIN = b"Subject: Gr\xfc\xdfe\r\n\r\nHello.\r\n"
UTF8_BODY = "Subject: hello\r\n\r\nContent-Description: Grüße\r\n".encode()
UTF8_TRACE_HEADER = "Delivered-To: grün@example.com\r\n".encode()
NEEDED, NOT_NEEDED = " SMTPUTF8", ""


@pytest.mark.parametrize(
    ("parcel", "raw", "parts", "expected"),
    [
        pytest.param(UTF8, HELLO, 1, NOT_NEEDED, id="declared, everything is ASCII"),
        pytest.param(UTF8, UTF8_HEADER, 1, NEEDED, id="declared, the header is not ASCII"),
        pytest.param(UTF8, LATIN, 1, NOT_NEEDED, id="declared, the header is in another charset"),
        pytest.param(UTF8, UTF8_BODY, 1, NOT_NEEDED, id="declared, the body is not ASCII"),
        pytest.param({}, UTF8_HEADER, 1, NOT_NEEDED, id="not declared, the header is not ASCII"),
        pytest.param({}, LATIN, 1, NOT_NEEDED, id="not declared, the header is in another charset"),
        pytest.param({"header": UTF8_TRACE_HEADER}, HELLO, 1, NEEDED, id="not declared, the trace header is not ASCII"),
        pytest.param(UTF8, "\r\nGrüße\r\n".encode(), 1, NOT_NEEDED, id="declared, no header"),
        pytest.param(UTF8, b"Subject: no body\r\n", 1, NOT_NEEDED, id="declared, no body"),
        pytest.param(UTF8, UTF8_BODY, 2, NOT_NEEDED, id="declared, the first part ends in the body"),
        pytest.param(UTF8, b"Subject: hello\r\n" * 9, 2, NEEDED, id="declared, the first part ends in the header"),
    ],
)
def test_smtputf8_is_requested_only_if_the_addresses_or_the_header_need_it(parcel, raw, parts, expected):
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


def test_a_binary_message_is_declared_as_binarymime():
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
def test_a_peer_with_dsn_takes_over_requested_success_notices(offer, parcel, notifies):
    replies = [GREETING, offering(*offer), "250 ok", "250 ok", "354 go", TAKEN]
    assert play(replies, parcels=[a_parcel(**parcel)]).results[-1].notifies is notifies


@pytest.mark.parametrize(
    ("offer", "parcel", "trouble"),
    [
        pytest.param([], {"body": "BINARYMIME"}, Trouble.NEEDS_BINARY, id="binary"),
        pytest.param(["BINARYMIME"], {"body": "BINARYMIME"}, Trouble.NEEDS_BINARY, id="binary without chunks"),
        pytest.param(["CHUNKING"], {"body": "BINARYMIME"}, Trouble.NEEDS_BINARY, id="chunks that are not binary"),
        pytest.param([], {"to": "grün@example.com"}, Trouble.NEEDS_UTF8, id="recipient with non-ASCII characters"),
        pytest.param([], {"sender": "a@grün..x"}, Trouble.NEEDS_UTF8, id="domain without A-labels"),
        pytest.param(
            [], {"header": UTF8_TRACE_HEADER}, Trouble.NEEDS_UTF8, id="trace header with non-ASCII characters"
        ),
        pytest.param([f"SIZE {SIZE - 1}"], {}, Trouble.TOO_BIG, id="too big"),
    ],
)
def test_a_message_that_the_peer_cannot_accept_is_not_sent_to_it(offer, parcel, trouble):
    replies = [GREETING, offering(*offer), "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel(**parcel)])
    assert played.facts == (Stage.MAIL, None, "", trouble)
    assert played.said == ["EHLO mail.example\r\n"]
    assert not played.dialogue.is_over


# TLS and authentication

TLS_OFFER = offering("STARTTLS", "PIPELINING")


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRE, Tls.VERIFY])
def test_offered_tls_is_used_and_the_capabilities_from_before_are_discarded(tls):
    replies = [GREETING, TLS_OFFER, "220 go", offering("DSN"), "250 ok", "250 ok", "354 go", TAKEN]
    played = play(replies, parcels=[a_parcel()], tls=tls)
    assert played.said[:4] == ["EHLO mail.example\r\n", "STARTTLS\r\n", "EHLO mail.example\r\n", f"{MAIL}\r\n"]
    assert played.results[-1].tls == "TLSv1.3 A-CIPHER"


def test_implicit_tls_begins_before_the_greeting():
    replies = [GREETING, TLS_OFFER, OK3, TAKEN]
    played = play(replies, parcels=[a_parcel()], tls=Tls.REQUIRE, is_tls=True)
    assert played.said[:2] == ["EHLO mail.example\r\n", f"{MAIL}\r\n{RCPT}\r\nDATA\r\n"]
    assert played.results[-1].tls == "TLSv1.3 A-CIPHER"


@pytest.mark.parametrize("offer", [TLS_OFFER, offering("PIPELINING")])
def test_tls_is_not_used_if_the_route_disables_it(offer):
    played = play([GREETING, offer, OK3, TAKEN], parcels=[a_parcel()], tls=Tls.NONE)
    assert played.results[-1].tls == ""
    assert len(played.said) == 3


def test_if_tls_is_opportunistic_a_refusal_of_starttls_is_ignored():
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
            id="login, offered in the old form",
        ),
    ],
)
def test_the_password_is_sent_with_the_best_offered_mechanism(replies, said):
    played = play([*SECURE, *replies, "250 ok", "250 ok", "354 go", TAKEN], parcels=[a_parcel()], **AUTH)
    assert played.said[3 : 3 + len(said)] == said
    assert played.facts == (Stage.END, 250, "2.0.0", None)


# Failures

READY = [GREETING, offering("PIPELINING")]
ONE_BY_ONE = [GREETING, offering()]
CHUNKING = [GREETING, offering("PIPELINING", "CHUNKING")]
TWO_PARTS = [Part(b"a\r\n", is_last=False), Part(b"b\r\n", is_last=True)]


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param(["554 5.7.1 go away"], (Stage.GREETING, 554, "5.7.1", None), id="greeting refused"),
        pytest.param(["354 go"], (Stage.GREETING, 354, "", Trouble.GARBAGE), id="greeting with an unexpected code"),
        pytest.param([], (Stage.GREETING, None, "", Trouble.DISCONNECTED), id="gone before the greeting"),
        pytest.param(["HTTP/1.1 400"], (Stage.GREETING, None, "", Trouble.GARBAGE), id="not a mail server"),
        pytest.param([GREETING, "421 4.3.2 not now"], (Stage.HELLO, 421, "4.3.2", None), id="hello deferred"),
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
        pytest.param(
            [*CHUNKING, "250 x"], (Stage.END, None, "", Trouble.DISCONNECTED), id="gone after everything was sent"
        ),
        pytest.param(
            [*CHUNKING, "huh"], (Stage.END, None, "", Trouble.GARBAGE), id="garbage after everything was sent"
        ),
    ],
)
def test_each_failure_has_its_stage_code_and_trouble(replies, facts):
    assert play(replies, parcels=[a_parcel()]).facts == facts


LONG = b"x" * 5_000
INCOMPLETE = {
    "no last line": b"250-2.0.0 taken\r\n",
    "no line ending": b"250 2.0.0 taken",
    "garbage": b"250-2.0.0 taken\r\nhuh\r\n",
    "garbage after the reply": b"250 2.0.0 taken\r\nhuh\r\n",
    "a line that is too long": b"250 2.0.0 " + LONG + b"\r\n",
    "a second line that is too long": b"250-2.0.0 taken\r\n250 " + LONG + b"\r\n",
    "too many lines": b"250-2.0.0 taken\r\n" * 101 + b"250 2.0.0 taken\r\n",
}


@pytest.mark.parametrize("octets", INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_250_after_the_dot_means_delivery_even_if_the_rest_of_the_reply_is_invalid(octets):
    for replies in ([*READY, OK3, octets], [*CHUNKING, b"250 x\r\n250 y\r\n" + octets]):
        for protocol in (Protocol.SMTP, Protocol.LMTP):
            played = play(replies, parcels=[a_parcel(), a_parcel()], protocol=protocol)
            assert len(played.results) == 1, "no further transaction begins on this connection"
            assert played.facts == (Stage.END, 250, "2.0.0", None)
            assert played.dialogue.is_over


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param([*READY, OK3, b"554-5.7.1 no\r\n"], (Stage.END, 554, "5.7.1", None), id="refused"),
        pytest.param([*READY, OK3, b"451 4.3.0 " + LONG], (Stage.END, 451, "4.3.0", None), id="deferred"),
        pytest.param([*READY, OK3, b"354 more"], (Stage.END, 354, "", Trouble.GARBAGE), id="unexpected code"),
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
def test_the_code_of_an_incomplete_reply_counts_only_after_the_dot(replies, facts):
    played = play(replies, parcels=[a_parcel()])
    assert played.facts == facts
    assert played.dialogue.is_over


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param([GREETING, offering()], (Stage.TLS, None, "", Trouble.NO_TLS), id="not offered"),
        pytest.param([GREETING, "502 x", "250 x"], (Stage.TLS, None, "", Trouble.NO_TLS), id="only HELO is supported"),
        pytest.param([GREETING, TLS_OFFER, "454 4.7.0 x"], (Stage.TLS, 454, "4.7.0", None), id="deferred"),
        pytest.param([GREETING, TLS_OFFER, "354 x"], (Stage.TLS, 354, "", Trouble.GARBAGE), id="unexpected code"),
        pytest.param([GREETING, TLS_OFFER], (Stage.TLS, None, "", Trouble.DISCONNECTED), id="gone"),
        pytest.param(
            [GREETING, TLS_OFFER, "220 go|250-evil|250 AUTH"], (Stage.TLS, None, "", Trouble.GARBAGE), id="injection"
        ),
        pytest.param([*SECURE, "421 x"], (Stage.HELLO, 421, "", None), id="second hello"),
        pytest.param([*SECURE, offering()], (Stage.AUTH, None, "", Trouble.NO_AUTH), id="no mechanism offered"),
        pytest.param([*SECURE, offering("AUTH NTLM")], (Stage.AUTH, None, "", Trouble.NO_AUTH), id="unknown mechanism"),
        pytest.param([*SECURE, offering("AUTH PLAIN"), "535 5.7.8 x"], (Stage.AUTH, 535, "5.7.8", None), id="wrong"),
        pytest.param(
            [*SECURE, offering("AUTH PLAIN"), "334 x"],
            (Stage.AUTH, 334, "", Trouble.GARBAGE),
            id="unexpected challenge to plain",
        ),
        pytest.param(
            [*SECURE, offering("AUTH LOGIN"), "504 x"], (Stage.AUTH, 504, "", None), id="login offered but refused"
        ),
        pytest.param(
            [*SECURE, offering("AUTH LOGIN"), "334 x", "535 x"], (Stage.AUTH, 535, "", None), id="unknown user"
        ),
    ],
)
def test_each_failure_of_required_tls_and_authentication_ends_the_dialogue(replies, facts):
    played = play(replies, parcels=[a_parcel()], **AUTH)
    assert played.facts == facts
    assert played.dialogue.is_over


@pytest.mark.parametrize("tls", [Tls.NONE, Tls.OPPORTUNISTIC])
def test_a_password_is_never_sent_without_tls(tls):
    played = play([GREETING, offering("AUTH PLAIN LOGIN")], parcels=[a_parcel()], **AUTH | {"tls": tls})
    assert played.facts == (Stage.AUTH, None, "", Trouble.NO_AUTH)
    assert "AUTH" not in "".join(played.said)


def test_lmtp_does_not_fall_back_to_helo():
    played = play([GREETING, "500 what?"], parcels=[a_parcel()], protocol=Protocol.LMTP)
    assert played.facts == (Stage.HELLO, 500, "", None)


@pytest.mark.parametrize(
    ("replies", "facts"),
    [
        pytest.param(["452 4.2.2 full"], (Stage.DATA, 452, "4.2.2", None), id="refused"),
        pytest.param(["421 bye"], (Stage.DATA, 421, "", None), id="goodbye"),
        pytest.param(["354 go on"], (Stage.DATA, 354, "", Trouble.GARBAGE), id="unexpected code"),
        pytest.param([], (Stage.BODY, None, "", Trouble.DISCONNECTED), id="gone"),
        pytest.param(["250 a", "554 5.6.0 b"], (Stage.END, 554, "5.6.0", None), id="last chunk refused"),
        pytest.param(["250 a", "452 c"], (Stage.END, 452, "", None), id="last chunk deferred"),
        pytest.param(["250 a"], (Stage.END, None, "", Trouble.DISCONNECTED), id="gone after the last chunk"),
    ],
)
def test_each_reply_to_a_chunk_has_its_result(replies, facts):
    played = Played([*CHUNKING, "250 ok|250 ok", *replies], parcels=[a_parcel()], parts=TWO_PARTS)
    assert played.facts == facts


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        pytest.param("552 5.3.4 too big", (Stage.BODY, 552, "5.3.4", None), id="refused"),
        pytest.param("250 taken", (Stage.BODY, 250, "", Trouble.GARBAGE), id="accepted before it was sent"),
        pytest.param("huh", (Stage.BODY, None, "", Trouble.GARBAGE), id="garbage"),
        pytest.param(b"25", (Stage.BODY, None, "", Trouble.GARBAGE), id="incomplete reply"),
    ],
)
def test_a_reply_during_the_message_ends_the_dialogue(reply, facts):
    parts = [Part(b"a", is_last=False), ..., Part(b"b", is_last=True)]
    played = play([*READY, OK3, reply], parcels=[a_parcel()], parts=parts)
    assert played.facts == facts
    assert played.dialogue.is_over
    assert played.said[-1] == "a"


def test_no_message_is_sent_to_a_peer_that_replies_354_after_it_refused_the_recipient():
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
def test_a_reply_without_a_command_ends_the_dialogue(replies, parts, stage):
    played = Played(replies, parcels=[a_parcel()], parts=parts)
    assert (played.facts[0], played.facts[3]) == (stage, Trouble.GARBAGE)
    assert played.dialogue.is_over


def test_a_reply_before_the_message_ends_the_dialogue():
    dialogue = Played(READY).dialogue
    dialogue.begin(a_parcel())
    dialogue.receive(b"421 4.4.2 idle for too long\r\n")
    assert (dialogue.result.stage, dialogue.result.code, dialogue.is_over) == (Stage.MAIL, 421, True)


# Idle connections


@pytest.mark.parametrize(
    ("replies", "is_stale"),
    [
        pytest.param([], True, id="gone"),
        pytest.param(["250 reset"], True, id="gone after RSET"),
        pytest.param(["421 idle"], True, id="goodbye to RSET"),
        pytest.param(["250 reset|421 too many"], True, id="goodbye to MAIL"),
        pytest.param(["250 reset|250 ok"], False, id="gone after MAIL"),
        pytest.param(["250 reset|451 no|503 x|503 x"], False, id="MAIL deferred"),
        pytest.param(["250 reset|250 ok|421 bye"], False, id="goodbye to RCPT"),
        pytest.param(["huh"], False, id="garbage"),
    ],
)
def test_an_idle_connection_is_stale_if_it_ended_before_the_peer_replied_to_mail(replies, is_stale):
    played = play([*READY, REFUSED, *replies], parcels=[a_parcel(), a_parcel()])
    assert played.dialogue.is_stale is is_stale


@pytest.mark.parametrize(
    ("replies", "is_stale"),
    [
        pytest.param([], True, id="gone"),
        pytest.param(["421 idle"], True, id="goodbye to MAIL"),
        pytest.param(["250 ok"], False, id="gone after MAIL"),
        pytest.param(["451 no|503 x|503 x"], False, id="MAIL deferred"),
        pytest.param(["250 ok|421 bye"], False, id="goodbye to RCPT"),
        pytest.param(["huh"], False, id="garbage"),
    ],
)
def test_without_rset_an_idle_connection_is_stale_if_it_ended_before_the_peer_replied_to_mail(replies, is_stale):
    played = play([*READY, OK3, TAKEN, *replies], parcels=[a_parcel(), a_parcel()])
    assert played.dialogue.is_stale is is_stale


def test_a_connection_is_not_stale_if_everything_was_sent_and_no_reply_came():
    played = play([*CHUNKING, f"250 ok|250 ok|{TAKEN}"], parcels=[a_parcel(), a_parcel()])
    assert played.facts == (Stage.END, None, "", Trouble.DISCONNECTED)
    assert not played.dialogue.is_stale


def test_a_421_reply_to_mail_means_that_the_message_was_not_accepted_even_if_everything_was_sent():
    played = play([*CHUNKING, f"250 ok|250 ok|{TAKEN}", "421 bye"], parcels=[a_parcel(), a_parcel()])
    assert played.facts == (Stage.MAIL, 421, "", None)
    assert played.dialogue.is_stale


def test_a_new_connection_is_never_stale():
    assert not play(READY, parcels=[a_parcel()]).dialogue.is_stale


def test_the_reply_to_rset_is_ignored():
    turns = [*READY, REFUSED, f"502 what?|{OK3}", TAKEN]
    assert play(turns, parcels=[a_parcel(), a_parcel()]).facts == (Stage.END, 250, "2.0.0", None)


def test_a_connection_is_not_reused_if_the_peer_sends_more_after_its_last_reply():
    for more in (b"421 bye\r\n", b"4"):
        dialogue = Played([*READY, OK3, TAKEN], parcels=[a_parcel()]).dialogue
        dialogue.receive(more)
        assert dialogue.is_over
    played = Played([*READY, OK3, f"{TAKEN}|421 bye"], parcels=[a_parcel()])
    assert played.facts == (Stage.END, 250, "2.0.0", None)
    assert played.dialogue.is_over


def test_quit_is_sent_once_and_only_on_a_usable_connection():
    dialogue = Played(READY).dialogue
    dialogue.quit()
    dialogue.quit()
    assert dialogue.output() == b"QUIT\r\n"
    gone = Played(READY).dialogue
    gone.fail(Trouble.DISCONNECTED, "gone")
    gone.quit()
    assert (gone.output(), gone.result) == (b"", None)


def test_clear_text_in_place_of_the_tls_handshake_ends_the_dialogue():
    dialogue = Played([GREETING, TLS_OFFER]).dialogue
    assert dialogue.is_over
    dialogue = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="mail.example", is_tls=True))
    dialogue.receive(b"220 hello\r\n")
    assert (dialogue.result.stage, dialogue.result.trouble) == (Stage.TLS, Trouble.GARBAGE)


# Command injection


@pytest.mark.parametrize("bad", [chr(n) for n in (*range(0x20), 0x7F, 0x85, 0x9F, 0xD800)], ids=ascii)
@pytest.mark.parametrize("where", ["sender", "to"])
def test_no_control_character_is_sent_in_a_command(bad, where):
    for address in (f"a{bad}QUIT@example.com", f'"a{bad}QUIT"@example.com'):
        parcel = a_parcel(**{where: address})
        played = Played([GREETING, offering("SMTPUTF8", "PIPELINING")], parcels=[parcel])
        assert played.facts == (Stage.MAIL, None, "", Trouble.FAILED)
        assert played.said == ["EHLO mail.example\r\n"]


@pytest.mark.parametrize("bad", ["a@b> SIZE=1", "a b@c.example", "<a@b", "a@b\\", 'a"@b', '"a" b@c'])
def test_no_address_can_add_a_parameter(bad):
    played = Played(READY, parcels=[a_parcel(sender=bad)])
    assert played.facts == (Stage.MAIL, None, "", Trouble.FAILED)
    assert played.said == ["EHLO mail.example\r\n"]


def test_a_host_name_with_a_line_ending_is_not_sent():
    dialogue = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="a\r\nQUIT"))
    dialogue.receive(b"220 hello\r\n")
    assert (dialogue.result.trouble, dialogue.output(), dialogue.is_over) == (Trouble.FAILED, b"", True)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_parcel_can_inject_a_command(sender, to, envid, orcpt):
    parcel = a_parcel(sender=sender, to=to, envid=envid, orcpt=orcpt, notify=("FAILURE",))
    dialogue = Played([GREETING, offering("DSN", "SMTPUTF8")]).dialogue
    dialogue.begin(parcel)
    dialogue.give(Part(b"", is_last=True))
    if dialogue.need is Need.REPLY:  # otherwise the command could not be sent
        mail = dialogue.output()
        dialogue.receive(b"250 ok\r\n")
        rcpt = dialogue.output()
        for command in (mail, rcpt):
            assert command.endswith(b"\r\n")
            assert not any(octet < 0x20 or octet == 0x7F for octet in command[:-2])


# The text of replies


def test_the_text_of_a_reply_becomes_one_line_without_control_characters():
    replies = [GREETING, "554-5.7.1 a\x1b[31m|554-5.7.1 \tb\r|554 5.7.1 " + "c" * 2000]
    (result,) = play([*replies[:1], "500 x", replies[1]]).results
    assert result.text.startswith("a [31m b ccc")
    assert len(result.text) == 1000
