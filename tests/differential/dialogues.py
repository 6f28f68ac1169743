"""Generates random SMTP dialogues from a seed: well-formed dialogues, unusual dialogues, and invalid dialogues.

The client sends one command or message at a time (`Step`) and waits for the reply. It sends a message only after a 354
reply. Input that a server may read as more or fewer commands than it has lines is sent last, in one piece (`rest`).
"""

import random
from dataclasses import dataclass, field

KNOWN = [
    "support@example.com",
    "help.desk@example.com",
    "o'neil+tag@example.com",
    "a@example.com",
    "x%y@example.com",
    "grüße@example.com",
    "support@xn--bcher-kva.example",
]
"""The addresses that exist on each server."""

END = b"\r\n.\r\n"
QUIT = b"QUIT\r\n"

BAD_ENDS = {
    r"\n.\n": b"\n.\n",
    r"\n.\r": b"\n.\r",
    r"\r.\n": b"\r.\n",
    r"\r.\r": b"\r.\r",
    r"\n.\r\n": b"\n.\r\n",
    r"\r.\r\n": b"\r.\r\n",
    r"\r\n.\n": b"\r\n.\n",
    r"\r\n.\r": b"\r\n.\r",
    r"\r\n.\r\r\n": b"\r\n.\r\r\n",
    r"\r\r\n.\r\n": b"\r\r\n.\r\n",
    r"\r\r\n.\r\r\n": b"\r\r\n.\r\r\n",
    r"\r\n\r.\r\n": b"\r\n\r.\r\n",
    r"\n\n.\r\n": b"\n\n.\r\n",
    r"\n\r.\r\n": b"\n\r.\r\n",
    r"\r\n.\n\r": b"\r\n.\n\r",
    r"\r\n\x00.\r\n": b"\r\n\x00.\r\n",
    r"\r\n.\x00\r\n": b"\r\n.\x00\r\n",
    r"\r\n\x00.\r": b"\r\n\x00.\r",
    r"\r\n\x00.\n": b"\r\n\x00.\n",
    r"\r\x00\n.\r\n": b"\r\x00\n.\r\n",
    r"\r\n.\r\x00\n": b"\r\n.\r\x00\n",
    r"\r\n..\r\n": b"\r\n..\r\n",
    r"\r\n...\r\n": b"\r\n...\r\n",
    r"\r\n. \r\n": b"\r\n. \r\n",
    r"\r\n .\r\n": b"\r\n .\r\n",
    r"\r\n.\t\r\n": b"\r\n.\t\r\n",
    r"\r\n\t.\r\n": b"\r\n\t.\r\n",
    r"\r\n.=20\r\n": b"\r\n.=20\r\n",
    r"\r\n=2E\r\n": b"\r\n=2E\r\n",
    r"\r\n.\x0b\r\n": b"\r\n.\x0b\r\n",
    r"\r\n.\x0c\r\n": b"\r\n.\x0c\r\n",
    r"\r\n.\x08\r\n": b"\r\n.\x08\r\n",
    r"\r\n.\x1a\r\n": b"\r\n.\x1a\r\n",
    r"\r\n\xe2\x80\xa8.\r\n": b"\r\n\xe2\x80\xa8.\r\n",
    r"\xc2\x85.\xc2\x85": b"\xc2\x85.\xc2\x85",
    r"\x8d\x8a.\x8d\x8a": b"\x8d\x8a.\x8d\x8a",
    r"\r\n\xae\r\n": b"\r\n\xae\r\n",
    r"\r\n\xef\xbc\x8e\r\n": b"\r\n\xef\xbc\x8e\r\n",
}
"""Sequences that a server is known to accept as the end of a message, or might accept. They are all sequences of the
published scanners (smtpsmug, SMTP-Smuggling-Tools, smtp_smuggling_checker), and variants of them: with other white
space, with doubled dots, and with characters that become CR, LF or a dot if a bit is lost or text is normalised."""


@dataclass(frozen=True)
class Step:
    """Bytes that the client sends in one piece, and the number of replies that it expects."""

    octets: bytes
    replies: int = 1
    is_content: bool = False
    """Whether the bytes are a message, which is sent only after a 354 reply."""
    is_fresh: bool = False
    """Whether every server is in the same state after this step, regardless of earlier steps."""
    needs: bytes = b""
    """The extension that the step needs. If the server does not offer it, the step is skipped."""


@dataclass
class Dialogue:
    """Everything that one client sends."""

    number: int
    kind: str
    steps: list[Step] = field(default_factory=list)
    rest: bytes = QUIT
    contents: list[bytes] = field(default_factory=list)
    """The messages in the dialogue, without dot-stuffing."""

    def __repr__(self):
        said = b"".join(step.octets for step in self.steps) + self.rest
        return f"dialogue {self.number} ({self.kind}): {said!r}"

    def say(self, *lines, **how):
        """Add commands of one line each, which are sent in one piece."""
        octets = b"".join(octets_of(line) + b"\r\n" for line in lines)
        self.steps.append(Step(octets, len(lines), **how))

    def send(self, content):
        """Add a message, which consists of whole lines, after DATA."""
        self.contents.append(content)
        self.steps.append(Step(in_data(content), is_content=True))


def octets_of(line):
    return line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line


def in_data(content):
    """Return a message in the form that is sent after DATA, with dot-stuffing and the final dot."""
    return (b"." if content.startswith(b".") else b"") + content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class Generator:
    """Generates dialogues, which are the same for the same seed. A thousand dialogues contain all unusual inputs."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self._decks = {}
        self.kinds = {
            self.well_formed: 170,
            self.out_of_order: 90,
            self.odd_recipient: 140,
            self.odd_sender: 110,
            self.with_parameters: 110,
            self.odd_greeting: 50,
            self.other_commands: 50,
            self.long_lines: 40,
            self.bare_line_ends_in_commands: 40,
            self.odd_content: 62,
            self.in_chunks: 60,
            self.in_bad_chunks: 30,
            self.starttls: 10,
        }

    def dialogues(self, count):
        """Return `count` dialogues. A thousand dialogues contain each bad end once, and fewer contain only some."""
        ends = list(BAD_ENDS.items())[: count * len(BAD_ENDS) // 1000 or 1]
        made = [self._made(number, self.odd_end, *end) for number, end in enumerate(ends)]
        kinds = [kind for kind, weight in self.kinds.items() for _ in range(weight)]
        return made + [self._made(number, self.drawn("kind", kinds)) for number in range(len(made), count)]

    def _made(self, number, kind, *arguments):
        dialogue = Dialogue(number, kind.__name__.replace("_", " "))
        kind(dialogue, *arguments)
        return dialogue

    def drawn(self, name, options):
        """Draw a random option. No option is drawn again before all options were drawn."""
        deck = self._decks.setdefault(name, [])
        if not deck:
            deck += range(len(options))
            self.random.shuffle(deck)
        return options[deck.pop()]

    # Parts of dialogues

    def chance(self, share):
        return self.random.random() < share

    def greet(self, dialogue, esmtp=0.9):
        name = self.random.choice(["client.example", "[192.0.2.7]", "localhost"])
        verb = "EHLO" if self.chance(esmtp) else "HELO"
        dialogue.say(f"{self.case(verb)} {name}", is_fresh=True)
        return verb == "EHLO"

    def case(self, verb):
        return self.random.choice([verb] * 6 + [verb.lower(), verb.title()])

    def sender(self):
        return self.random.choice(["ann@client.example"] * 4 + ["", "ann+bob@client.example", "bounces-7@list.example"])

    def recipient(self):
        return self.random.choice([*KNOWN[:4], *KNOWN[:4], "unknown@example.com", "ann@elsewhere.example"])

    def content(self):
        return self.random.choice(
            [
                b"Subject: hello\r\n\r\nHello.\r\n",
                b"From: <ann@client.example>\r\nSubject: dots\r\n\r\n.\r\n..\r\n.x\r\nx.\r\n",
                b"Subject: long\r\n\r\n" + b"x" * self.random.randint(900, 996) + b"\r\n",
                b"Subject: eight bits\r\n\r\nGr\xc3\xbc\xc3\x9fe \xff\xfe\r\n",
                b"Subject: folded\r\n\tand more\r\n\r\n \r\n\t\r\n\r\n\r\n",
                b"Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\nSubject: hops\r\n\r\nHello.\r\n",
                b"Subject: header only\r\n",
                b"Subject: lines\r\n\r\n" + b"line\r\n" * self.random.randint(1, 300),
            ]
        )

    def transaction(self, dialogue, *, mail=None, rcpt=None, content=None, grouped=False):
        """Add a whole transaction. Its commands and its content may be given, and are random otherwise."""
        mail = mail or f"{self.case('MAIL')} FROM:<{self.sender()}>"
        many = self.random.choice([1, 1, 1, 2, 3])
        rcpt = rcpt or [f"{self.case('RCPT')} TO:<{self.recipient()}>" for _ in range(many)]
        commands = [mail, *rcpt, self.case("DATA")]
        if grouped:
            dialogue.say(*commands)
        else:
            for command in commands:
                dialogue.say(command)
        dialogue.send(self.content() if content is None else content)

    def again(self, dialogue):
        """Add RSET, after which all servers are in the same state."""
        dialogue.say("RSET", is_fresh=True)

    # Kinds of dialogues

    def well_formed(self, dialogue):
        self.greet(dialogue)
        for number in range(self.random.choice([1, 1, 2, 3])):
            if number and self.chance(0.3):
                self.again(dialogue)
            self.transaction(dialogue, grouped=self.chance(0.4))

    def out_of_order(self, dialogue):
        commands = [
            "MAIL FROM:<ann@client.example>",
            "MAIL FROM:<ann@client.example>",
            "RCPT TO:<support@example.com>",
            "RCPT TO:<support@example.com>",
            "RCPT TO:<unknown@example.com>",
            "DATA",
            "DATA",
            "RSET",
            "NOOP",
            "EHLO client.example",
            "HELO client.example",
            "BDAT 0 LAST",
            "VRFY support",
        ]
        if self.chance(0.7):
            self.greet(dialogue)
        for command in self.random.sample(commands, self.random.randint(3, 9)):
            is_fresh = command.startswith(("EHLO", "HELO", "RSET"))
            dialogue.say(command, is_fresh=is_fresh, needs=b"CHUNKING" if command.startswith("BDAT") else b"")
            if command.startswith("BDAT"):
                dialogue.contents.append(b"")
            if command == "DATA":
                dialogue.send(b"Subject: out of order\r\n\r\nHello.\r\n")

    def _odd_path(self, name):
        known = "support@example.com"
        long = "x" * self.random.choice([63, 64, 65, 70])
        return self.drawn(
            name,
            [
                known,
                f"<{known}",
                f"{known}>",
                f"< {known}>",
                f"<{known} >",
                f" <{known}>",
                f"  <{known}>",
                f"\t<{known}>",
                f"<{known}> ",
                f"<<{known}>>",
                f"Support <{known}>",
                f"<{known}>, <a@example.com>",
                f"<{known}><a@example.com>",
                f"<{known},a@example.com>",
                f"<{known}> a@example.com",
                "<SUPPORT@EXAMPLE.COM>",
                '<"support"@example.com>',
                '<"sup\\port"@example.com>',
                '<"sup port"@example.com>',
                '<"support@example.com">',
                '<"a>b"@example.com>',
                '<"a<b"@example.com>',
                '<"a\\"b"@example.com>',
                '<""@example.com>',
                '<"support@example.com>',
                '<sup"port@example.com>',
                "<support@[127.0.0.1]>",
                "<support@[IPv6:::1]>",
                "<support@[IPv6:2001:db8::1]>",
                "<support@[300.1.1.1]>",
                "<support@[tag:content]>",
                "<support@[]>",
                "<support@127.0.0.1>",
                "<support@[127.0.0.1>",
                f"<@relay.example:{known}>",
                f"<@relay.example,@other.example:{known}>",
                f"<@relay.example {known}>",
                f"<@:{known}>",
                "<>",
                "< >",
                "",
                "<support>",
                "<@example.com>",
                "<support@>",
                "<@>",
                "<support@@example.com>",
                "<support@a@example.com>",
                "<a@b@c>",
                "<postmaster>",
                "<Postmaster>",
                "<postmaster@example.com>",
                "<support%example.com@elsewhere.example>",
                "<support%example.com@example.com>",
                "<x%y@example.com>",
                "<elsewhere.example!support@example.com>",
                "<example.com!support>",
                "<support..x@example.com>",
                "<.support@example.com>",
                "<support.@example.com>",
                "<support@example..com>",
                "<support@.example.com>",
                "<support@example.com.>",
                "<support@-example.com>",
                "<support@exam_ple.com>",
                "<support@example>",
                "<sup(comment)port@example.com>",
                "<support(comment)@example.com>",
                "<support;x@example.com>",
                "<support:x@example.com>",
                "<support\\@example.com>",
                "<sup\\port@example.com>",
                "<support@exam ple.com>",
                "<sup port@example.com>",
                "<sup\tport@example.com>",
                "<sup\x00port@example.com>",
                "<sup\x07port@example.com>",
                "<sup\x7fport@example.com>",
                "<o'neil+tag@example.com>",
                "<!#$%&'*+-/=?^_`{|}~@example.com>",
                f"<{long}@example.com>",
                f"<support@{long}.example>",
                f"<support@{'.'.join(['x' * 60] * 4)}.{'x' * self.random.randint(5, 20)}>",
                "<grüße@example.com>",
                "<support@bücher.example>",
                "<support@xn--bcher-kva.example>",
                "<support@XN--BCHER-KVA.example>",
                "<gru\u0308ße@example.com>",
                "<sup\u200bport@example.com>",
                "<sup\u2028port@example.com>",
                "<sup\xa0port@example.com>",
                "<sup\udcffport@example.com>",
                "<support@b\udcffcher.example>",
            ],
        )

    def _odd_argument(self, keyword):
        """Return an unusual argument for RCPT or MAIL."""
        path = self._odd_path(keyword)
        if path == "":
            return self.random.choice([keyword, f"{keyword} <a@example.com>", f"{keyword} :<a@example.com>", ""])
        return self.random.choice([f"{keyword}:"] * 9 + [f"{keyword}: ", f"{keyword.lower()}:"]) + path

    def odd_recipient(self, dialogue):
        self.greet(dialogue, esmtp=0.97)
        odd = f"RCPT {self._odd_argument('TO')}"
        mail = "MAIL FROM:<ann@client.example>" + (" SMTPUTF8" if self.chance(0.1 if odd.isascii() else 0.8) else "")
        rcpt = [odd] if self.chance(0.5) else [f"RCPT TO:<{KNOWN[3]}>", odd]
        self.transaction(dialogue, mail=mail, rcpt=rcpt, content=b"Subject: odd\r\n\r\nHello.\r\n")

    def odd_sender(self, dialogue):
        self.greet(dialogue, esmtp=0.97)
        odd = self._odd_argument("FROM").replace("support", "ann").replace("example.com", "client.example")
        after = " SMTPUTF8" if self.chance(0.1 if odd.isascii() else 0.6) else ""
        self.transaction(
            dialogue,
            mail=f"MAIL {odd}{after}",
            rcpt=["RCPT TO:<support@example.com>"],
            content=b"Subject: odd\r\n\r\nHello.\r\n",
        )

    def with_parameters(self, dialogue):
        self.greet(dialogue, esmtp=0.85)
        mail, rcpt = "MAIL FROM:<ann@client.example>", "RCPT TO:<support@example.com>"
        for_mail = [
            "SIZE=100", "SIZE=0", "SIZE=", "SIZE", "SIZE=x", "SIZE=-1", "SIZE=1.5", "SIZE=99999999999",
            "SIZE=" + "9" * 20, "SIZE=" + "9" * 21, "size=100", "SIZE=100 SIZE=100", "SIZE= 100", "SIZE=\u0661",
            "BODY=7BIT", "BODY=8BITMIME", "BODY=8bitmime", "BODY=BINARYMIME", "BODY=", "BODY", "BODY=9BIT",
            "BODY=7BIT BODY=8BITMIME", "SMTPUTF8", "smtputf8", "SMTPUTF8=yes", "SMTPUTF8 SMTPUTF8",
            "RET=HDRS", "RET=FULL", "RET=full", "RET=", "RET", "RET=NOTHING", "RET=FULL RET=HDRS",
            "ENVID=QQ314159", "ENVID=a+2Bb", "ENVID=a+2", "ENVID=a+zzb", "ENVID=", "ENVID=" + "x" * 100,
            "ENVID=" + "x" * 101, "RET=HDRS ENVID=1 SIZE=100 BODY=8BITMIME",
            "AUTH=<>", "AUTH=ann@client.example", "MT-PRIORITY=3", "HOLDFOR=10", "REQUIRETLS", "BY=120;R", "UNKNOWN",
            "UNKNOWN=1", "X-Y=1", "=", "=1", "A=B=C", "\u00fc=1", "NOTIFY=NEVER", "  SIZE=100   BODY=7BIT  ",
        ]  # fmt: skip
        for_rcpt = [
            "NOTIFY=NEVER", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=success", "NOTIFY=NEVER,SUCCESS", "NOTIFY=",
            "NOTIFY", "NOTIFY=OTHER", "NOTIFY=SUCCESS,,FAILURE", "NOTIFY=SUCCESS,SUCCESS",
            "NOTIFY=SUCCESS NOTIFY=DELAY",
            "ORCPT=rfc822;support@example.com", "ORCPT=RFC822;sup+2Bport@example.com", "ORCPT=support@example.com",
            "ORCPT=rfc822;", "ORCPT=;x", "ORCPT=", "ORCPT=x-local;\\\\node\\box", "ORCPT=rfc822;sup+zzport@example.com",
            "ORCPT=utf-8;gr\\x{FC}\\x{DF}e@example.com", "ORCPT=rfc822;" + "x" * 501,
            "NOTIFY=FAILURE ORCPT=rfc822;support@example.com", "SIZE=100", "UNKNOWN", "X=1", "=",
        ]  # fmt: skip
        if self.chance(0.62):
            mail += " " + self.drawn("for MAIL", for_mail)
        else:
            rcpt += " " + self.drawn("for RCPT", for_rcpt)
        self.transaction(dialogue, mail=mail, rcpt=[rcpt], content=b"Subject: odd\r\n\r\nHello.\r\n")

    def odd_greeting(self, dialogue):
        name = self.drawn(
            "greeting",
            [
                "", " ", "client", "client.example", "-", "a_b", "client_example.", ".", "..", "a b",
                "client.example x",
                "[192.0.2.7]", "[192.0.2.300]", "[IPv6:::1]", "[]", "[", "192.0.2.7", "user@client.example", "<x>",
                "client.example;", "(x)", '"x"', "x" * 255, "x" * 256, "x" * 300, "bücher.example",
                "b\udcffcher.example", "a\tb", "a\x00b", "  client.example", "client.example  ", "$(id)", "'; --",
            ],
        )  # fmt: skip
        if self.chance(0.2):
            self.greet(dialogue)
        verb = self.random.choice(["EHLO", "EHLO", "HELO"])
        dialogue.say(f"{verb}{' ' if name else ''}{name}")
        self.transaction(
            dialogue,
            mail="MAIL FROM:<ann@client.example>",
            rcpt=["RCPT TO:<support@example.com>"],
            content=b"Subject: odd greeting\r\n\r\nHello.\r\n",
        )

    def other_commands(self, dialogue):
        commands = [
            "NOOP", "NOOP text", "noop", "NOOP " + "x" * 100, "RSET x", "DATA x", "HELP", "HELP MAIL", "HELP me please",
            "VRFY", "VRFY support", "VRFY <support@example.com>", "VRFY unknown@example.com", "VRFY grüße@example.com",
            "EXPN", "EXPN list", "TURN", "SEND FROM:<ann@client.example>", "SOML FROM:<ann@client.example>",
            "SAML FROM:<ann@client.example>", "ETRN example.com", "AUTH PLAIN AGEAYg==", "AUTH", "XCLIENT NAME=x",
            "XFORWARD NAME=x", "LHLO client.example", "FOO", "FOO bar", "", " ", " NOOP", "NOOP ", "MAIL", "RCPT",
            "NO OP", "N\u00d6OP", "no\u017fp", "N\x00OOP", "\x00", "\udcff", "NOOP \udcff", "NOOP \u00fc",
            "MAILFROM:<ann@client.example>",
            "DATA ", "RSET ", "QUIT now", "NOOP\tx", "\tNOOP",
        ]  # fmt: skip
        if self.chance(0.8):
            self.greet(dialogue)
        for command in [self.drawn("command", commands) for _ in range(self.random.randint(2, 5))]:
            dialogue.say(command)
        self.again(dialogue)
        self.transaction(dialogue, mail="MAIL FROM:<ann@client.example>", rcpt=["RCPT TO:<support@example.com>"])

    def long_lines(self, dialogue):
        sizes = [511, 512, 513, 600, 1000, 2048, 2049, 5000]
        what, size = self.drawn("long", [(what, size) for what in range(5) for size in sizes])
        self.greet(dialogue)
        match what:
            case 0:
                dialogue.say("NOOP " + "x" * (size - 7))
            case 1:
                dialogue.say("X" * (size - 2))
            case 2:
                dialogue.say("MAIL FROM:<ann@client.example>" + " " * (size - 32 - 9) + " SIZE=100")
            case 3:
                dialogue.say("RCPT TO:<" + "x" * (size - 24) + "@example.com>")
            case _:
                self.transaction(
                    dialogue,
                    rcpt=["RCPT TO:<support@example.com>"],
                    content=b"Subject: long\r\n\r\n"
                    + b"x" * self.random.choice([998, 999, 1000, 2047, 4096, 70_000])
                    + b"\r\n",
                )
        self.again(dialogue)
        self.transaction(dialogue, rcpt=["RCPT TO:<support@example.com>"])

    def bare_line_ends_in_commands(self, dialogue):
        """Lines with bare line ends, in one piece, because servers differ in how many commands they read in them."""
        self.greet(dialogue)
        line = self.drawn(
            "bare",
            [
                b"NOOP\nNOOP\r\n",
                b"NOOP\n",
                b"NOOP\rNOOP\r\n",
                b"NOOP\r\r\n",
                b"NOOP\n\r\n",
                b"NOOP\r",
                b"\nNOOP\r\n",
                b"\rNOOP\r\n",
                b"NOOP x\ny\r\n",
                b"NOOP\r\n\n",
                b"NOOP\r\n\r",
                b"\r\n",
                b"\n",
                b"MAIL FROM:<ann\n@client.example>\r\n",
                b"MAIL FROM:<ann@client.example>\nRCPT TO:<support@example.com>\nDATA\n",
                b"NOOP\x00\r\n",
                b"NOOP\r\x00\n",
                b"RSET\nRSET\n",
                b"EHLO client.example\rMAIL FROM:<ann@client.example>\r\n",
            ],
        )
        whole = b"MAIL FROM:<ann@client.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n"
        dialogue.contents.append(b"Subject: after\r\n\r\nHello.\r\n")
        dialogue.rest = line + whole + in_data(dialogue.contents[0]) + QUIT

    def odd_content(self, dialogue):
        self.greet(dialogue)
        content = self.drawn(
            "content",
            [
                b"",
                b"\r\n",
                b"\r\n\r\n",
                b"Hello.\r\n",
                b"no header at all\r\n\r\nHello.\r\n",
                b".\r\n",
                b"..\r\n",
                b".\r\n.\r\n",
                b".a\r\n",
                b"Subject: nul\r\n\r\na\x00b\r\n\x00\r\n",
                b"Sub\x00ject: nul\r\n\r\nx\r\n",
                b"Subject: \xff\r\n\r\n\xff\r\n",
                b"\xef\xbb\xbfSubject: bom\r\n\r\nx\r\n",
                b" Subject: begins folded\r\n\r\nx\r\n",
                b"Subject : space\r\n\r\nx\r\n",
                b": no name\r\n\r\nx\r\n",
                b"Subject: a\r\nno colon\r\n\r\nx\r\n",
                b"From ann Mon Nov  2\r\nSubject: mbox\r\n\r\nx\r\n",
                b"Return-Path: <x@y.example>\r\nSubject: path\r\n\r\nx\r\n",
                b"Bcc: <b@client.example>\r\nSubject: bcc\r\n\r\nx\r\n",
                b"Content-Length: 7\r\nSubject: length\r\n\r\nx\r\n",
                b"Delivered-To: support@example.com\r\nSubject: been here\r\n\r\nx\r\n",
                b"Resent-Bcc: <b@client.example>\r\nSubject: resent\r\n\r\nx\r\n",
                b"Subject: ctrl\r\n\r\n\x01\x08\x0b\x0c\x1a\x7f\r\n",
                b"Subject: tab\t\r\n\t\r\nx\r\n",
                b"Received: from a by b; x\r\n" * 60 + b"\r\nx\r\n",
                b"Received: from a by b; x\r\n" * 101 + b"\r\nx\r\n",
                b"Subject: cr\r\n\r\na\rb\r\n",
                b"Subject: lf\r\n\r\na\nb\r\n",
                b"Subject: crcrlf\r\n\r\na\r\r\n",
                b"Subject: lflf\n\nx\r\n",
                b"Subject: a\rFrom: <b@c.example>\r\n\r\nx\r\n",
                b"a\nb\r\n",
                b"Subject: end\r\n\r\nx\r\r\n",
                b"Subject: end\r\n\r\nx\n\r\n",
                b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHello.\r\n--x--\r\n",
                b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\r\n",
            ],
        )
        self.transaction(
            dialogue, mail="MAIL FROM:<ann@client.example>", rcpt=["RCPT TO:<support@example.com>"], content=content
        )

    def odd_end(self, dialogue, name, end):
        """A message that contains a sequence that might end it, followed by a second transaction."""
        dialogue.kind = f"end of data {name}"
        self.greet(dialogue, esmtp=1)
        first, second = b"Subject: first\r\n\r\nHello.", b"Subject: second\r\n\r\nSmuggled.\r\n"
        inside = b"MAIL FROM:<ceo@client.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n"
        for command in ("MAIL FROM:<ann@client.example>", "RCPT TO:<support@example.com>", "DATA"):
            dialogue.say(command)
        sent = first + end + inside + second + b".\r\n"
        dialogue.contents.append((first + end + inside + second).replace(b"\r\n.", b"\r\n"))
        dialogue.rest = sent + QUIT

    def in_chunks(self, dialogue):
        """BDAT (RFC 3030) with correct sizes. The client waits for each reply."""
        self.greet(dialogue, esmtp=1)
        for number in range(self.random.choice([1, 1, 2])):
            content = self.random.choice(
                [
                    self.content(),
                    b"Subject: no line end",
                    b"Subject: nul\r\n\r\n\x00\r\n",
                    b"Subject: lf\n\na\nb\n",
                    b"",
                    b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
                    b"Subject: end\r\n\r\nx\r\n.\r\nMAIL FROM:<x@y.example>\r\n",
                ]
            )
            half = self.random.randint(0, len(content))
            first, second = (
                bdat(content[:half]),
                bdat(content[half:], self.random.choice([b" LAST", b" LAST", b" last"])),
            )
            whole = bdat(content, b" LAST")
            chunks = self.drawn(
                "chunks",
                [
                    [whole],
                    [whole],
                    [first, second],
                    [bdat(content), b"BDAT 0 LAST\r\n"],
                    [first, b"NOOP\r\n", second],
                    [first, bdat(b""), second],
                    [first, b"RSET\r\n", second],
                    [first, b"DATA\r\n", second],
                    [first, b"MAIL FROM:<x@client.example>\r\n", second],
                    [first, b"RCPT TO:<a@example.com>\r\n", second],
                    [whole, whole],
                    [first, b"EHLO client.example\r\n", second],
                    [b"DATA\r\n"],
                ],
            )
            if number:
                self.again(dialogue)
            body = self.random.choice(["", "", " BODY=BINARYMIME", " BODY=8BITMIME"])
            dialogue.say(f"MAIL FROM:<ann@client.example>{body}")
            dialogue.say(f"RCPT TO:<{self.random.choice(['support', 'a', 'a', 'a', 'unknown'])}@example.com>")
            dialogue.contents.append(content)
            for chunk in chunks:
                dialogue.steps.append(Step(chunk, needs=b"CHUNKING" if chunk.startswith(b"BDAT") else b""))
                if chunk == b"DATA\r\n":
                    dialogue.send(b"Subject: mixed\r\n\r\nHello.\r\n")

    def in_bad_chunks(self, dialogue):
        """BDAT with wrong sizes, sent in one piece, because servers differ in what they read as a command."""
        self.greet(dialogue, esmtp=1)
        begin = b"MAIL FROM:<ann@client.example>\r\nRCPT TO:<support@example.com>\r\n"
        content = b"Subject: chunk\r\n\r\nHello.\r\n"
        dialogue.contents += [content, content[:-2], b"Hello"]
        dialogue.rest = self.drawn(
            "bad chunk",
            [
                begin + b"BDAT\r\n",
                begin + b"BDAT x\r\n",
                begin + b"BDAT -1\r\n",
                begin + b"BDAT 5 FIRST\r\nHello",
                begin + b"BDAT 5 LAST LAST\r\nHello",
                begin + b"BDAT 0x5\r\n",
                begin + b"BDAT 05 LAST\r\nHello",
                begin + b"BDAT  5  LAST \r\nHello",
                begin + b"BDAT 99999999999999999999\r\n",
                begin + b"BDAT %d LAST\r\n" % (len(content) + 500) + content,
                begin + b"BDAT %d LAST\r\n" % (len(content) - 2) + content,
                begin + b"BDAT 10\r\n" + content[:10] + b"BDAT x LAST\r\n",
                begin + b"BDAT %d LAST\n" % len(content) + content,
                b"BDAT 5 LAST\r\nHello",
            ],
        ) + b"\r\n" + QUIT  # fmt: skip

    def starttls(self, dialogue):
        """STARTTLS, after which the client continues without TLS."""
        self.greet(dialogue, esmtp=1)
        line = self.random.choice(
            [b"STARTTLS\r\n", b"STARTTLS\r\n", b"STARTTLS now\r\n", b"MAIL FROM:<a@b.example>\r\nSTARTTLS\r\n"]
        )
        injected = b"MAIL FROM:<ann@client.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n"
        dialogue.contents.append(b"Subject: injected\r\n\r\nHello.\r\n")
        dialogue.rest = line + injected + in_data(dialogue.contents[0]) + QUIT


def bdat(chunk, last=b""):
    return b"BDAT %d%s\r\n" % (len(chunk), last) + chunk
