"""Every intended or known difference between Waypost and other mail servers, with the reason.

The tests fail if a difference matches no row, or if a row matches no difference of the full run.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.differential.comparison import CLOSED, Difference
from tests.differential.dialogues import END
from tests.differential.player import NOT_OFFERED
from waypost.smtp.protocol import grammar

A, P = "aiosmtpd", "Postfix"
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
A_GREETING = re.compile(rb"(?i)\n(?:EHLO|HELO) +[!-~]{1,255} *\r\n")
AN_ADDRESS_ARGUMENT = re.compile(rb"(?i)(?:MAIL FROM|RCPT TO): *(?P<path>.*?)(?P<parameters>(?: [^<> ]*)*)")


@dataclass(frozen=True)
class Reason:
    """One row of the table."""

    peers: str
    """The initials of the servers that differ from Waypost."""
    waypost: str
    others: str
    why: str
    fits: Callable[[Difference], bool]

    @property
    def names(self):
        return [name for name in (A, P) if name[0].upper() in self.peers]


def refused(*verbs):
    """Return a condition: Waypost refuses a command with one of these verbs, and the peer accepts it."""

    def fits(it):
        return it.kind == "command" and it.verb in verbs and not it.we_accept and it.they_accept

    return fits


def taken(*verbs):
    """Return a condition: Waypost accepts a command with one of these verbs, and the peer refuses it."""

    def fits(it):
        return it.kind == "command" and it.verb in verbs and it.we_accept and not it.they_accept

    return fits


def said(pattern, *conditions):
    """Return a condition: the command matches `pattern`, and all of `conditions` are true."""
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def fits(it):
        return all(condition(it) for condition in conditions) and compiled.fullmatch(it.said) is not None

    return fits


def ours(*codes):
    return lambda it: it.ours in codes


def theirs(*codes):
    return lambda it: it.theirs in codes


def kind(name):
    return lambda it: it.kind == name


def content(pattern):
    """Return a condition: Postfix stored a different message, and the message that Waypost stored matches `pattern`."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda it: it.kind == "content" and compiled.search(it.ours) is not None


def has_bare_line_end(it):
    return (it.kind in ("message", "rest") or it.verb == "BDAT") and BARE.search(it.said) is not None


def last(codes):
    return codes[-1] if isinstance(codes, list) else codes


def is_about_chunks(it):
    return it.kind == "rest" and it.dialogue.kind == "in bad chunks"


def sees_two(it):
    """Whether the peer, but not Waypost, read one message as two messages."""
    if it.kind != "rest" or not it.dialogue.kind.startswith("end of data"):
        return False
    has_real_end = END in it.said.partition(b"MAIL FROM")[0]  # as in CR CRLF . CRLF
    return it.theirs.count(354) > it.ours.count(354) and not has_real_end


def is_http(said):
    return any(map(grammar.is_http, said.splitlines(keepends=True)))


def is_greeted(it):
    """Whether Waypost had accepted a greeting before."""
    return A_GREETING.search(b"\n" + it.said_before) is not None


def is_over(codes):
    """Whether the server ended the session without QUIT from the client."""
    return codes == CLOSED or (isinstance(codes, list) and 221 not in codes)


PATH = (refused("MAIL", "RCPT"), ours(501))

EXPECTED = {
    # Lines and greetings
    "A line ends with CRLF": Reason(
        "AP", "closes the connection (521)", "accept a bare LF as a line end, and a bare CR as a character",
        "RFC 5321 section 2.3.8: servers MUST NOT recognise anything else as a line end. If one server sees one "
        "command and another server sees two, a client can smuggle mail.",
        lambda it: it.dialogue.kind == "bare line ends in commands" and it.kind == "rest" and 521 in it.ours,
    ),
    "A NUL is not allowed in a command": Reason(
        "P", "500", "accepts the command up to the NUL",
        "RFC 5321 section 4.1.2 allows no control characters in an argument, and section 4.1.1 allows none in a verb.",
        lambda it: it.kind == "rest" and b"\x00" in it.said and 500 in it.ours and 250 in it.theirs,
    ),
    "A verb is followed by a space": Reason(
        "P", "500", "accepts any white space, also before the verb",
        "RFC 5321 section 4.1.1: a verb is at the beginning of the line, and is followed by SP only.",
        said(rb"\s*NOOP(?:\t.*)?", refused("NOOP", " NOO", "\tNOO")),
    ),
    "A command line has at most 512 octets": Reason(
        "AP", "500", "have other limits (Postfix 2,048; aiosmtpd adds its own for each extension)",
        "RFC 5321 section 4.5.3.1.4 sets the limit, and each extension increases it (RFC 1870, 3461, 6152, 6531).",
        lambda it: 500 in (it.ours, it.theirs) and len(it.said) > 510 and it.verb not in ("", "BDAT"),
    ),
    "HTTP and header fields are not commands": Reason(
        "A", "closes the connection (521)", "refuses each line (500)",
        "A web page can make a browser send commands in the body of a request. Postfix closes the connection too "
        "(smtpd_forbidden_commands).",
        lambda it: it.kind in ("command", "rest") and last(it.ours) == 521 and is_http(it.said),
    ),
    "The first error before a greeting ends the session": Reason(
        "AP", "closes the connection", "continue",
        "The first line of a request in another protocol causes such an error, and the following lines may be content "
        "that an attacker chose. RFC 5321 section 4.1.4 requires a client to begin with EHLO.",
        lambda it: it.kind != "sender" and not is_greeted(it) and is_over(it.ours),
    ),
    "A greeting has one word": Reason(
        "AP", "501 (500 if it is not UTF-8)", "accept anything",
        "RFC 5321 section 4.1.1.1 requires a domain or an address literal, of at most 255 octets (section 4.5.3.1.2). "
        "Waypost accepts any printable word, because many clients do not know their name, and writes it into the "
        "Received line.",
        lambda it: refused("EHLO", "HELO")(it) and it.ours in (500, 501),
    ),
    "A transaction begins with a greeting": Reason(
        "P", "503", "accepts MAIL without a greeting",
        "RFC 5321 section 4.1.4: a client MUST issue HELO or EHLO first. Postfix can require a greeting too "
        "(smtpd_helo_required).",
        lambda it: refused("MAIL")(it) and it.ours == 503,
    ),
    "QUIT takes no argument": Reason(
        "P", "501", "closes the connection", "RFC 5321 section 4.1.1.10.", said(rb"QUIT \S.*", ours(501), theirs(221))
    ),
    "HELP is answered": Reason(
        "P", "214", "does not support HELP",
        "RFC 5321 section 4.5.1 does not require HELP, and section 4.1.1.8 describes its purpose.",
        said(rb"HELP.*", taken("HELP")),
    ),
    "HELP may have any argument": Reason(
        "A", "214", "refuses unknown topics", "RFC 5321 section 4.1.1.8 allows any string.",
        said(rb"HELP .*", taken("HELP"), theirs(501)),
    ),
    "VRFY reveals nothing": Reason(
        "AP", "252 for every argument", "require an argument; Postfix also reveals which addresses exist (550, 554)",
        "RFC 5321 section 7.3: a site may refuse to verify addresses for security, and then replies 252 (section "
        "3.5.3).",
        taken("VRFY"),
    ),
    # Paths
    "A path has angle brackets": Reason(
        "AP", "501", "accept an address without brackets, or with only one bracket",
        'RFC 5321 section 4.1.2: `Path = "<" [ A-d-l ":" ] Mailbox ">"`.',
        said(rb"(?:MAIL FROM|RCPT TO): *(?:[^< ][^<]*|<[^>]*)", *PATH),
    ),
    "Nothing is between bracket and address": Reason(
        "AP", "501", "accept spaces and more brackets there (Postfix also accepts `< >` as the null sender)",
        "RFC 5321 section 4.1.2 (Path) allows nothing between the bracket and the address.",
        said(rb"(?:MAIL FROM|RCPT TO):(?: *<(?:<.*>| .*|[^>]* )>| *\t).*", *PATH),
    ),
    "Dots are only between atoms": Reason(
        "AP", "501", "accept `.a`, `a.` and `a..b` as senders",
        "RFC 5321 section 4.1.2 (Dot-string) allows a dot only between two atoms.",
        said(rb"(?:MAIL FROM|RCPT TO): *<(?:\.[^@]*|[^@]*\.|[^@]*\.\.[^@]*)@.*", *PATH),
    ),
    "An address has a domain": Reason(
        "AP", "501",
        "accept a local part alone; Postfix also accepts it in quotes, with a backslash before the @ or as a bang "
        "path, and adds its own domain",
        'RFC 5321 section 4.1.2: `Mailbox = Local-part "@" ( Domain / address-literal )`; section 4.5.1 makes '
        "an exception only for `<postmaster>` in RCPT.",
        said(rb"(?:MAIL FROM|RCPT TO): *<(?:[^@]*|\"[^\"]*\"|[^@]*\\@[^@]*)>.*", *PATH),
    ),
    "An address has one @": Reason(
        "P", "501", "uses the last @", "RFC 5321 section 4.1.2: an @ in a local part must be quoted.",
        said(rb"(?:MAIL FROM|RCPT TO): *<[^\"]*@[^\"]*@.*", *PATH),
    ),
    "An address literal ends with a bracket": Reason(
        "P", "501", "accepts `[127.0.0.1` as a sender", "RFC 5321 section 4.1.3.",
        said(rb"(?:MAIL FROM|RCPT TO): *<[^>]*@\[[^\]]*>.*", *PATH),
    ),
    "A local part consists of atoms, or is quoted": Reason(
        "AP", "501",
        "accept spaces, comments, control characters, stray quotes and backslashes in it; Postfix also accepts an "
        "empty local part",
        "RFC 5321 section 4.1.2 allows only certain characters in an atom, and no control characters in a quoted "
        "string.",
        said(rb"(?:MAIL FROM|RCPT TO): *<(?:@[^>]*|[^>]*[ ()\[,:;\\\x00-\x1f\"\x7f-\xff][^>]*)>.*", *PATH),
    ),
    "An address that is not ASCII needs SMTPUTF8": Reason(
        "AP", "553", "accept it without the parameter",
        "RFC 6531 section 3.5: the reply is 550 or 553 if the parameter is missing.",
        said(rb"(?:MAIL FROM|RCPT TO):.*[\x80-\xff].*", refused("MAIL", "RCPT"), ours(553)),
    ),
    "A command is UTF-8": Reason(
        "A", "500", "accepts any octets", "RFC 6531 section 3.3 allows only UTF-8 in addresses, and no other encoding.",
        said(rb".*[\x80-\xff].*", ours(500), lambda it: it.they_accept),
    ),
    "Source routes are not followed": Reason(
        "AP", "553", "use the address at the end of the route",
        "RFC 5321 section 3.6.1: a server SHOULD ignore the route, or MAY decline to relay along it. A client that "
        "does not need the route can name only the address.",
        said(rb"(?:MAIL FROM|RCPT TO): *<@.*", refused("MAIL", "RCPT"), ours(553)),
    ),
    "A sender's host is not checked": Reason(
        "AP", "accepts any host name without special characters, and anything in the form of an address literal",
        "refuse some of them, in different cases: `.a`, `-a`, `a.`, `127.0.0.1`, labels of more than 63 octets, some "
        "literals",
        "Waypost only records the sender's host as the client gave it, and never sends mail to it.",
        said(
            rb"MAIL FROM: *<[^>]*@(?:\.[^>]*|-[^>]*|[^>]*\.|[^>]*\.\.[^>]*|\[[^>]*\]|[0-9.]+|.*[^.]{64}.*|.{200,})>.*",
            taken("MAIL"), theirs(501, 553),
        ),
    ),
    "A domain does not end with a dot": Reason(
        "P", "550 for a recipient", "removes the dot", 'RFC 5321 section 4.1.2: Domain = sub-domain *("." sub-domain).',
        said(rb"RCPT TO: *<[^>]*\.>.*", refused("RCPT"), ours(550)),
    ),
    "A % in a local part has no special meaning": Reason(
        "P", "250 for an address that exists", "interprets x%y@ours as x@y, and does not relay",
        "RFC 5321 section 2.3.11: only the domain's own host interprets a local part, and Waypost is this host.",
        said(rb"RCPT TO: *<x%y@example.com>.*", taken("RCPT")),
    ),
    "Only existing addresses receive mail: `<postmaster>`": Reason(
        "P", "550", "accepts it without configuration",
        "RFC 5321 section 4.5.1 requires a server to accept mail for `<postmaster>`. In Waypost, `<postmaster>` means "
        "postmaster at the server's own host name, if that email address exists.",
        said(rb"RCPT TO: *<postmaster>.*", refused("RCPT"), ours(550)),
    ),
    "Only existing addresses receive mail: literals": Reason(
        "P", "550", "accepts an address literal of its own host",
        "RFC 5321 section 4.1.3 does not require a server to accept mail for its own address literals.",
        said(rb"RCPT TO: *<[^>]*@\[.*\]>.*", refused("RCPT"), ours(550)),
    ),
    "Equivalent spellings of an address are the same address": Reason(
        "AP", "250", "do not find it (as configured for this test, they compare octets)",
        "RFC 5890 section 2.3.2: a U-label and its A-label are the same domain. RFC 6532 section 3.1: text should be "
        "in Unicode normal form NFC.",
        said(rb"RCPT TO:.*[\x80-\xff].*", taken("RCPT"), theirs(550, 554)),
    ),
    # Parameters
    "A parameter may occur only once": Reason(
        "AP", "501", "use the last value", "RFC 5321 section 4.1.1.11 does not define the meaning of a second value.",
        lambda it: refused("MAIL", "RCPT")(it)
        and it.ours == 501
        and max(Counter(re.findall(rb" ([A-Z0-9-]+)", it.said.upper())).values(), default=0) > 1,
    ),
    "A size consists of ASCII digits": Reason(
        "A", "501", "accepts digits of any script", "RFC 1870: `size-value ::= 1*20DIGIT`.",
        said(rb"MAIL.* SIZE=[^ ]*[\x80-\xff].*", refused("MAIL"), ours(501)),
    ),
    "AUTH= is not offered": Reason(
        "P", "555", "accepts it, although it does not offer AUTH",
        "RFC 4954 section 5 defines the parameter for servers that offer AUTH. Other servers reply 555 (RFC 5321 "
        "section 4.1.1.11).",
        said(rb"MAIL.* AUTH=.*", refused("MAIL"), ours(555)),
    ),
    "Parameters are accepted after HELO": Reason(
        "A", "250", "refuses them (501)",
        "RFC 5321 section 4.1.1.11 defines parameters only after EHLO. Like Postfix, Waypost also accepts parameters "
        "from a client that said HELO.",
        lambda it: taken("MAIL", "RCPT")(it) and it.theirs == 501 and b"\nHELO " in b"\n" + it.said_before.upper(),
    ),
    # Extensions that not every server supports
    "CHUNKING": Reason(
        "A", "supports BDAT", "does not support it", "RFC 3030.",
        lambda it: it.theirs == NOT_OFFERED or is_about_chunks(it),
    ),
    "A chunk may have no octets": Reason(
        "P", "250", "refuses it (551) if it is not the last", "RFC 3030 section 2 allows any number as the size.",
        said(rb"BDAT 0", taken("BDAT")),
    ),
    "A refused chunk ends the transaction": Reason(
        "P", "begins a new transaction", "requires RSET first",
        "RFC 3030 section 2: the transaction has failed, and the client MUST send RSET. If the client does not send "
        "RSET, Waypost begins a new transaction.",
        lambda it: it.kind == "command" and it.theirs == 503 and it.we_accept and b"BDAT" in it.said_before,
    ),
    "A message may end without a line end": Reason(
        "P", "keeps every octet", "adds a line end",
        "RFC 3030 section 2: the octets of the chunks are the message. Only BDAT can transfer a message "
        "without a final line end.",
        lambda it: it.kind == "content" and it.theirs == it.ours + b"\r\n",
    ),
    "A BDAT command has only one form": Reason(
        "P", "closes the connection (501)", "accepts more spaces, and a bare LF at its end",
        'RFC 3030 section 2: "BDAT" SP chunk-size [ SP end-marker ] CRLF. The beginning of the chunk must be '
        'unambiguous.',
        lambda it: is_about_chunks(it) and last(it.ours) in (501, 521) and 250 in it.theirs[2:],
    ),
    "BINARYMIME": Reason(
        "AP", "accepts BODY=BINARYMIME, and then any octets in chunks", "do not offer it",
        "RFC 3030. Waypost stores binary messages unchanged, and never sends them to a peer with DATA.",
        said(rb"MAIL.* BODY=BINARYMIME.*", taken("MAIL"), theirs(501, 555)),
    ),
    "DSN": Reason(
        "A", "accepts RET, ENVID, NOTIFY and ORCPT", "does not support them",
        "RFC 3461. Waypost accepts NOTIFY=SUCCESS and RET=FULL from an outside sender, but does not honour them "
        "(docs/quirks.md).",
        said(rb"(?:MAIL|RCPT).* (?:RET|ENVID|NOTIFY|ORCPT)=.*", taken("MAIL", "RCPT")),
    ),
    "DSN parameters must be well-formed": Reason(
        "P", "501", "accepts empty addresses, longer addresses, longer ENVID, and NOTIFY with a repeated or empty word",
        "RFC 3461 section 4 allows 100 characters in ENVID (4.4), 500 in ORCPT (4.2), and each word of NOTIFY once "
        "(4.1).",
        said(rb"(?:MAIL|RCPT).* (?:RET|ENVID|NOTIFY|ORCPT)=.*", refused("MAIL", "RCPT"), ours(501)),
    ),
    # Messages
    "A message has no bare CR or LF": Reason(
        "AP", "554, and closes the connection", "keep them, or replace them",
        "RFC 5321 section 2.3.8: a bare CR or LF MUST NOT be sent. A server that passes on a bare CR or LF may "
        "smuggle mail, and a server that replaces it breaks signatures.",
        lambda it: has_bare_line_end(it) and not sees_two(it) and last(it.ours) == 554,
    ),
    "SMUGGLING: one message becomes two": Reason(
        "P", "554, and closes the connection",
        "takes a part of the message for its end, and the rest for a second message",
        "RFC 5321 section 4.1.1.4: only `<CRLF>.<CRLF>` ends a message. By default, Postfix 3.7 accepts a bare LF as "
        "a line end. Postfix 3.9 and newer refuse a bare LF (smtpd_forbid_bare_newline).",
        sees_two,
    ),
    "A line of a message may be long": Reason(
        "A", "250", "refuses lines of more than 1,001 octets (500)",
        "RFC 5321 section 4.5.3.1.6 requires a server to accept lines of at least 1,000 octets, but real mail has "
        "longer lines.",
        lambda it: it.kind == "message" and it.ours == 250 and it.theirs == 500,
    ),
    "A loop has more than 100 hops": Reason(
        "AP", "554 from 101 Received lines on", "have a limit of 50 (Postfix, 554) or no limit (aiosmtpd)",
        'RFC 5321 section 6.3: the limit should be "normally at least 100".',
        lambda it: it.kind == "message" and it.said.startswith(b"Received: ") and 554 in (it.ours, it.theirs),
    ),
    "A header is not changed": Reason(
        "P", "keeps every octet",
        "removes Return-Path, Bcc and Content-Length, removes a space before a colon, and adds an empty line if the "
        "header ends without an empty line",
        "RFC 5321 section 6.4 allows only an originating server to correct messages. A correction would break the "
        "message's signature.",
        content(
            rb"\A(?![A-Za-z-]+: )|^(?:Return-Path|Bcc|Resent-Bcc|Content-Length|Subject ):|\r\n(?:no colon|\t\r\n)"
        ),
    ),
    "A sender is kept as it is written": Reason(
        "AP", "keeps the spelling", "remove quotes and backslashes; Postfix also removes a final dot",
        "RFC 5321 section 4.4: the Return-Path line has the address from MAIL.",
        lambda it: it.kind == "sender" and it.ours != it.theirs and _plain(it.ours) == _plain(it.theirs),
    ),
}  # fmt: skip


def _plain(address):
    return re.sub(r'["\\]', "", address).rstrip(".").lower()


def reasons(difference: Difference) -> list[str]:
    """Return the names of the rows that match a difference."""
    return [name for name, reason in EXPECTED.items() if difference.peer in reason.names and reason.fits(difference)]


def sorted_out(differences: list[Difference]) -> tuple[Counter[tuple[str, str]], list[Difference]]:
    """Return how often each reason occurred for each peer, and the differences without a reason."""
    counts: Counter[tuple[str, str]] = Counter()
    unexpected = []
    for difference in differences:
        found = reasons(difference)
        if found:
            counts[found[0], difference.peer] += 1
        else:
            unexpected.append(difference)
    return counts, unexpected


def dead(counts: Counter[tuple[str, str]], peers: list[str]) -> list[tuple[str, str]]:
    """Return the reasons that never occurred, with the peer, for these peers."""
    return [
        (name, peer)
        for name, reason in EXPECTED.items()
        for peer in reason.names
        if peer in peers and not counts[name, peer]
    ]


def markdown() -> str:
    """Return the table in Markdown, for the documentation."""
    lines = ["| rule | Waypost | different in | the difference | reason |", "| --- | --- | --- | --- | --- |"]
    for name, reason in EXPECTED.items():
        cells = [name, reason.waypost, " and ".join(reason.names), reason.others, reason.why]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
