"""Every difference between Waypost and its peers that is meant, or known, with the reason.

A difference that fits no row fails the tests; so does a row that fits no difference of the full run.
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
    """Who differs, by initials."""
    waypost: str
    others: str
    why: str
    fits: Callable[[Difference], bool]

    @property
    def names(self):
        return [name for name in (A, P) if name[0].upper() in self.peers]


def refused(*verbs):
    """Fits where Waypost refuses such a command, and the peer takes it."""

    def fits(it):
        return it.kind == "command" and it.verb in verbs and not it.we_accept and it.they_accept

    return fits


def taken(*verbs):
    """Fits where Waypost takes such a command, and the peer does not."""

    def fits(it):
        return it.kind == "command" and it.verb in verbs and it.we_accept and not it.they_accept

    return fits


def said(pattern, *conditions):
    """Fits where the command is like this, and the conditions hold."""
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
    """Fits where Postfix kept another message than Waypost, and Waypost's is like this."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda it: it.kind == "content" and compiled.search(it.ours) is not None


def has_bare_line_end(it):
    return (it.kind in ("message", "rest") or it.verb == "BDAT") and BARE.search(it.said) is not None


def last(codes):
    return codes[-1] if isinstance(codes, list) else codes


def is_about_chunks(it):
    return it.kind == "rest" and it.dialogue.kind == "in bad chunks"


def sees_two(it):
    """Whether the peer took a second message out of the first, and Waypost did not."""
    if it.kind != "rest" or not it.dialogue.kind.startswith("end of data"):
        return False
    has_real_end = END in it.said.partition(b"MAIL FROM")[0]  # as in CR CRLF . CRLF
    return it.theirs.count(354) > it.ours.count(354) and not has_real_end


def is_http(said):
    return any(map(grammar.is_http, said.splitlines(keepends=True)))


def is_greeted(it):
    """Whether Waypost had taken a greeting by then."""
    return A_GREETING.search(b"\n" + it.said_before) is not None


def is_over(codes):
    """Whether the session ended unasked."""
    return codes == CLOSED or (isinstance(codes, list) and 221 not in codes)


PATH = (refused("MAIL", "RCPT"), ours(501))

EXPECTED = {
    # Lines and greetings
    "A line ends with CRLF": Reason(
        "AP", "hangs up (521)", "take a bare LF for a line end, and a bare CR for a character",
        "RFC 5321 section 2.3.8: servers MUST NOT recognise anything else as a line end. Where one server sees one "
        "command and another two, mail is smuggled.",
        lambda it: it.dialogue.kind == "bare line ends in commands" and it.kind == "rest" and 521 in it.ours,
    ),
    "A NUL is no part of a command": Reason(
        "P", "500", "takes the command up to the NUL",
        "RFC 5321 section 4.1.2 knows no control characters in an argument, and section 4.1.1 none in a verb.",
        lambda it: it.kind == "rest" and b"\x00" in it.said and 500 in it.ours and 250 in it.theirs,
    ),
    "A verb is followed by a space": Reason(
        "P", "500", "takes any white space, also in front",
        "RFC 5321 section 4.1.1: a verb is the beginning of the line, and SP alone separates it.",
        said(rb"\s*NOOP(?:\t.*)?", refused("NOOP", " NOO", "\tNOO")),
    ),
    "A command line has 512 octets at most": Reason(
        "AP", "500", "have other limits (Postfix 2,048; aiosmtpd adds its own for each extension)",
        "RFC 5321 section 4.5.3.1.4, and each extension adds what it says (RFC 1870, 3461, 6152, 6531).",
        lambda it: 500 in (it.ours, it.theirs) and len(it.said) > 510 and it.verb not in ("", "BDAT"),
    ),
    "HTTP and header fields are no commands": Reason(
        "A", "hangs up (521)", "refuses each line (500)",
        "A web page can make a browser send commands in the body of a request. Postfix hangs up too "
        "(smtpd_forbidden_commands).",
        lambda it: it.kind in ("command", "rest") and last(it.ours) == 521 and is_http(it.said),
    ),
    "The first error before a greeting ends the session": Reason(
        "AP", "hangs up", "go on",
        "The first line of a request of another protocol is such an error, and what follows it is not the client's. "
        "RFC 5321 section 4.1.4 has a client begin with EHLO.",
        lambda it: it.kind != "sender" and not is_greeted(it) and is_over(it.ours),
    ),
    "A greeting has one word": Reason(
        "AP", "501 (500 where it is no UTF-8)", "take anything",
        "RFC 5321 section 4.1.1.1: a domain or an address literal, of 255 octets at most (section 4.5.3.1.2). Waypost "
        "takes any visible word, because many clients do not know their name, and it goes into the Received line.",
        lambda it: refused("EHLO", "HELO")(it) and it.ours in (500, 501),
    ),
    "A transaction begins with a greeting": Reason(
        "P", "503", "takes MAIL without one",
        "RFC 5321 section 4.1.4: a client MUST issue HELO or EHLO before. Postfix can ask for it "
        "(smtpd_helo_required).",
        lambda it: refused("MAIL")(it) and it.ours == 503,
    ),
    "QUIT takes no argument": Reason(
        "P", "501", "closes", "RFC 5321 section 4.1.1.10.", said(rb"QUIT \S.*", ours(501), theirs(221))
    ),
    "HELP is answered": Reason(
        "P", "214", "does not know it",
        "RFC 5321 section 4.5.1 does not ask for it, and section 4.1.1.8 says what it is for.",
        said(rb"HELP.*", taken("HELP")),
    ),
    "HELP may have any argument": Reason(
        "A", "214", "refuses topics that it does not know", "RFC 5321 section 4.1.1.8: any string.",
        said(rb"HELP .*", taken("HELP"), theirs(501)),
    ),
    "VRFY tells nothing": Reason(
        "AP", "252, whatever is asked", "want an argument; Postfix also tells who is known, and who is not (550, 554)",
        "RFC 5321 section 7.3: a site may refuse to tell for security, and 252 is the answer then (section 3.5.3).",
        taken("VRFY"),
    ),
    # Paths
    "A path has angle brackets": Reason(
        "AP", "501", "take an address without them, or with one of them",
        'RFC 5321 section 4.1.2: `Path = "<" [ A-d-l ":" ] Mailbox ">"`.',
        said(rb"(?:MAIL FROM|RCPT TO): *(?:[^< ][^<]*|<[^>]*)", *PATH),
    ),
    "Nothing is between bracket and address": Reason(
        "AP", "501", "take spaces and more brackets there (Postfix: `< >` for the null sender too)",
        "RFC 5321 section 4.1.2, Path.",
        said(rb"(?:MAIL FROM|RCPT TO):(?: *<(?:<.*>| .*|[^>]* )>| *\t).*", *PATH),
    ),
    "Dots stand between atoms": Reason(
        "AP", "501", "take `.a`, `a.` and `a..b` as senders",
        "RFC 5321 section 4.1.2, Dot-string.",
        said(rb"(?:MAIL FROM|RCPT TO): *<(?:\.[^@]*|[^@]*\.|[^@]*\.\.[^@]*)@.*", *PATH),
    ),
    "An address has a domain": Reason(
        "AP", "501", "take a local part alone, Postfix also in quotes, with a backslash before the @ or as a bang "
        "path, to which it adds its own domain",
        'RFC 5321 section 4.1.2: `Mailbox = Local-part "@" ( Domain / address-literal )`; section 4.5.1 excepts '
        "`<postmaster>`, and that for RCPT.",
        said(rb"(?:MAIL FROM|RCPT TO): *<(?:[^@]*|\"[^\"]*\"|[^@]*\\@[^@]*)>.*", *PATH),
    ),
    "An address has one @": Reason(
        "P", "501", "takes the last one", "RFC 5321 section 4.1.2: an @ in a local part is quoted.",
        said(rb"(?:MAIL FROM|RCPT TO): *<[^\"]*@[^\"]*@.*", *PATH),
    ),
    "An address literal ends with a bracket": Reason(
        "P", "501", "takes `[127.0.0.1` as a sender", "RFC 5321 section 4.1.3.",
        said(rb"(?:MAIL FROM|RCPT TO): *<[^>]*@\[[^\]]*>.*", *PATH),
    ),
    "A local part is atoms, or quoted": Reason(
        "AP", "501", "take spaces, comments, controls, stray quotes and backslashes in it; Postfix also an empty one",
        "RFC 5321 section 4.1.2: an atom has none of them, and a quoted string no controls.",
        said(rb"(?:MAIL FROM|RCPT TO): *<(?:@[^>]*|[^>]*[ ()\[,:;\\\x00-\x1f\"\x7f-\xff][^>]*)>.*", *PATH),
    ),
    "An address that is not ASCII needs SMTPUTF8": Reason(
        "AP", "553", "take it without the parameter", "RFC 6531 section 3.5: 550 or 553 where it is missing.",
        said(rb"(?:MAIL FROM|RCPT TO):.*[\x80-\xff].*", refused("MAIL", "RCPT"), ours(553)),
    ),
    "A command is UTF-8": Reason(
        "A", "500", "takes any octets", "RFC 6531 section 3.3 extends addresses by UTF-8, and by nothing else.",
        said(rb".*[\x80-\xff].*", ours(500), lambda it: it.they_accept),
    ),
    "Source routes are not followed": Reason(
        "AP", "553", "take the address at the end of it",
        "RFC 5321 section 3.6.1: a server SHOULD ignore the route, or MAY decline the relaying that it implies; who "
        "wants the address alone, names it alone.",
        said(rb"(?:MAIL FROM|RCPT TO): *<@.*", refused("MAIL", "RCPT"), ours(553)),
    ),
    "A sender's host is not judged": Reason(
        "AP", "takes any host name that has no special character, and any literal that has the form of one",
        "refuse some, each others: `.a`, `-a`, `a.`, `127.0.0.1`, labels of more than 63 octets, some literals",
        "It is recorded as it was said, and nothing is ever sent there.",
        said(
            rb"MAIL FROM: *<[^>]*@(?:\.[^>]*|-[^>]*|[^>]*\.|[^>]*\.\.[^>]*|\[[^>]*\]|[0-9.]+|.*[^.]{64}.*|.{200,})>.*",
            taken("MAIL"), theirs(501, 553),
        ),
    ),
    "A domain has no dot at its end": Reason(
        "P", "550 for a recipient", "takes it off", 'RFC 5321 section 4.1.2: Domain = sub-domain *("." sub-domain).',
        said(rb"RCPT TO: *<[^>]*\.>.*", refused("RCPT"), ours(550)),
    ),
    "A % in a local part means nothing": Reason(
        "P", "250 for an address that exists", "takes x%y@ours for x@y, and does not relay",
        "RFC 5321 section 2.3.11: a local part is interpreted by its own host alone, and this is ours.",
        said(rb"RCPT TO: *<x%y@example.com>.*", taken("RCPT")),
    ),
    "Only addresses that were made receive mail: `<postmaster>`": Reason(
        "P", "550", "takes it without being told to",
        "RFC 5321 section 4.5.1 asks for it. Here it is postmaster at our own host name, if that was made.",
        said(rb"RCPT TO: *<postmaster>.*", refused("RCPT"), ours(550)),
    ),
    "Only addresses that were made receive mail: literals": Reason(
        "P", "550", "takes an address literal of its own host",
        "RFC 5321 section 4.1.3 does not ask a server to know its literals.",
        said(rb"RCPT TO: *<[^>]*@\[.*\]>.*", refused("RCPT"), ours(550)),
    ),
    "Other spellings of an address are that address": Reason(
        "AP", "250", "do not know it (as they were set up here, they compare octets)",
        "RFC 5890 section 2.3.2: a U-label and its A-label are one domain; RFC 6532 section 3.1: text should be in "
        "normal form NFC.",
        said(rb"RCPT TO:.*[\x80-\xff].*", taken("RCPT"), theirs(550, 554)),
    ),
    # Parameters
    "A parameter is given once": Reason(
        "AP", "501", "take the last one", "RFC 5321 section 4.1.1.11 leaves a second value without a meaning.",
        lambda it: refused("MAIL", "RCPT")(it)
        and it.ours == 501
        and max(Counter(re.findall(rb" ([A-Z0-9-]+)", it.said.upper())).values(), default=0) > 1,
    ),
    "A size is in ASCII digits": Reason(
        "A", "501", "takes the digits of any script", "RFC 1870: `size-value ::= 1*20DIGIT`.",
        said(rb"MAIL.* SIZE=[^ ]*[\x80-\xff].*", refused("MAIL"), ours(501)),
    ),
    "AUTH= is not offered": Reason(
        "P", "555", "takes it, and offers no AUTH either",
        "RFC 4954 section 5 defines it for servers that offer AUTH; RFC 5321 section 4.1.1.11: 555 for others.",
        said(rb"MAIL.* AUTH=.*", refused("MAIL"), ours(555)),
    ),
    "Parameters are taken after HELO": Reason(
        "A", "250", "refuses them (501)",
        "RFC 5321 section 4.1.1.11 has them for EHLO only. A client that says HELO and uses them is understood, as by "
        "Postfix.",
        lambda it: taken("MAIL", "RCPT")(it) and it.theirs == 501 and b"\nHELO " in b"\n" + it.said_before.upper(),
    ),
    # Extensions that are not everybody's
    "CHUNKING": Reason(
        "A", "has BDAT", "does not know it", "RFC 3030.",
        lambda it: it.theirs == NOT_OFFERED or is_about_chunks(it),
    ),
    "A chunk may have no octets": Reason(
        "P", "250", "refuses it (551) where it is not the last", "RFC 3030 section 2: the size is any number.",
        said(rb"BDAT 0", taken("BDAT")),
    ),
    "A refused chunk ends the transaction": Reason(
        "P", "begins anew", "wants RSET first",
        "RFC 3030 section 2: the transaction has failed then, and a client MUST say RSET. Who does not, begins anew.",
        lambda it: it.kind == "command" and it.theirs == 503 and it.we_accept and b"BDAT" in it.said_before,
    ),
    "A message may end without a line end": Reason(
        "P", "keeps each octet", "adds the line end",
        "RFC 3030 section 2: the octets of the chunks are the message. It is so after BDAT alone.",
        lambda it: it.kind == "content" and it.theirs == it.ours + b"\r\n",
    ),
    "A BDAT command has one form": Reason(
        "P", "hangs up (501)", "takes more spaces, and a bare LF at its end",
        'RFC 3030 section 2: "BDAT" SP chunk-size [ SP end-marker ] CRLF. Where the chunk begins must not be in doubt.',
        lambda it: is_about_chunks(it) and last(it.ours) in (501, 521) and 250 in it.theirs[2:],
    ),
    "BINARYMIME": Reason(
        "AP", "takes BODY=BINARYMIME, and then any octets in chunks", "do not offer it",
        "RFC 3030. What is binary is stored as it is, and is nothing to send on by DATA.",
        said(rb"MAIL.* BODY=BINARYMIME.*", taken("MAIL"), theirs(501, 555)),
    ),
    "DSN": Reason(
        "A", "takes RET, ENVID, NOTIFY and ORCPT", "does not know them",
        "RFC 3461. NOTIFY=SUCCESS and RET=FULL of a sender outside are taken, and not answered (docs/quirks.md).",
        said(rb"(?:MAIL|RCPT).* (?:RET|ENVID|NOTIFY|ORCPT)=.*", taken("MAIL", "RCPT")),
    ),
    "DSN parameters have their form": Reason(
        "P", "501", "takes empty addresses, longer ones, longer ENVID, and NOTIFY with a word twice or empty",
        "RFC 3461 section 4: 100 characters of ENVID (4.4), 500 of ORCPT (4.2), and each word of NOTIFY once (4.1).",
        said(rb"(?:MAIL|RCPT).* (?:RET|ENVID|NOTIFY|ORCPT)=.*", refused("MAIL", "RCPT"), ours(501)),
    ),
    # Messages
    "A message has no bare CR or LF": Reason(
        "AP", "554, and hangs up", "keep them, or mend them",
        "RFC 5321 section 2.3.8: they MUST NOT be sent. What passes them on may smuggle; what mends them breaks "
        "signatures.",
        lambda it: has_bare_line_end(it) and not sees_two(it) and last(it.ours) == 554,
    ),
    "SMUGGLING: two messages out of one": Reason(
        "P", "554, and hangs up", "takes what is in the message for its end, and the rest for a second message",
        "RFC 5321 section 4.1.1.4: only `<CRLF>.<CRLF>` ends a message. Postfix 3.7 takes a bare LF for a line end by "
        "default; since 3.9 it does not (smtpd_forbid_bare_newline).",
        sees_two,
    ),
    "A line of a message may be long": Reason(
        "A", "250", "refuses lines of more than 1,001 octets (500)",
        "RFC 5321 section 4.5.3.1.6 requires at least 1,000 bytes a line; real mail has longer lines.",
        lambda it: it.kind == "message" and it.ours == 250 and it.theirs == 500,
    ),
    "A loop has more than 100 hops": Reason(
        "AP", "554 from 101 Received lines on", "draw the line at 50 (Postfix, 554), or nowhere (aiosmtpd)",
        'RFC 5321 section 6.3: "normally at least 100".',
        lambda it: it.kind == "message" and it.said.startswith(b"Received: ") and 554 in (it.ours, it.theirs),
    ),
    "A header is not mended": Reason(
        "P", "keeps each octet",
        "takes out Return-Path, Bcc and Content-Length, takes a space before a colon out, and adds an empty line "
        "where the header ends without one",
        "RFC 5321 section 6.4 lets an originating server mend messages, and nobody else; a signature is valid for "
        "what was sent.",
        content(
            rb"\A(?![A-Za-z-]+: )|^(?:Return-Path|Bcc|Resent-Bcc|Content-Length|Subject ):|\r\n(?:no colon|\t\r\n)"
        ),
    ),
    "A sender is kept as it is written": Reason(
        "AP", "keeps the spelling", "take quotes and backslashes off, Postfix also a dot at the end",
        "RFC 5321 section 4.4: the Return-Path line has what MAIL said.",
        lambda it: it.kind == "sender" and it.ours != it.theirs and _plain(it.ours) == _plain(it.theirs),
    ),
}  # fmt: skip


def _plain(address):
    return re.sub(r'["\\]', "", address).rstrip(".").lower()


def reasons(difference: Difference) -> list[str]:
    """The rows that a difference fits."""
    return [name for name, reason in EXPECTED.items() if difference.peer in reason.names and reason.fits(difference)]


def sorted_out(differences: list[Difference]) -> tuple[Counter[tuple[str, str]], list[Difference]]:
    """How often each reason occurred, by its name and the peer; and the differences without a reason."""
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
    """The reasons that never occurred, of those that are about these peers."""
    return [
        (name, peer)
        for name, reason in EXPECTED.items()
        for peer in reason.names
        if peer in peers and not counts[name, peer]
    ]


def markdown() -> str:
    """The table as a page of the documentation."""
    lines = ["| What | Waypost | Who differs | How | Why |", "| --- | --- | --- | --- | --- |"]
    for name, reason in EXPECTED.items():
        cells = [name, reason.waypost, " and ".join(reason.names), reason.others, reason.why]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
