"""Measures the most expensive inputs: each parser with its largest input, and each hostile message with a real server.

Times are processor times of the measured process, and are compared with the limits: 5 ms in a store transaction, 50 ms
on the event loop, and 50 ms for one parser in the checking process. On a busy machine the times are longer.

    bench/worst.py            both tables
    bench/worst.py parsers    the parsers in `tests/work`
    bench/worst.py messages   the messages in `hostile.py`
"""

import gc
import json
import os
import smtplib
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import watched
from hostile import MESSAGES, RECIPIENTS, Hostile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.kit import signed_mail  # noqa: E402 - after the path
from tests.kit.peers.dns_server import Zone  # noqa: E402
from tests.work import measure, parsers  # noqa: E402
from tests.work.rows import BOUNDS, Where  # noqa: E402
from waypost.testing import process  # noqa: E402

SHOWN = 40
"""The number of parsers to show, which are the parsers that come closest to their limits."""

TIMES = 3
"""The number of times that each message is sent. The shortest time is used, because disturbances only add time."""

SETTINGS = """
[[route]]
match = "*@out.example"
to = "{sink}"

[delivery]
srs_domain = "bounces.mail.example"
"""


def main() -> None:
    """Print both tables, or one of them."""
    asked = sys.argv[1:] or ["parsers", "messages"]
    if "parsers" in asked:
        print("\n".join(_parsers()))
    if "messages" in asked:
        print("\n".join(_messages()))


def _parsers() -> Iterator[str]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)  # as in the server
    costs = [(measure.least(parser, parser.limit).turn, parser) for parser in parsers.ROWS]
    costs.sort(key=lambda cost: cost[0] / BOUNDS[cost[1].where], reverse=True)
    yield f"The {SHOWN} of {len(costs)} inputs of parsers that come closest to their limits:\n"
    yield "| parser and input | octets | where | ms | bound |"
    yield "|---|--:|---|--:|--:|"
    for seconds, parser in costs[:SHOWN]:
        bound = BOUNDS[parser.where]
        yield f"| {parser.name} | {parser.limit:,} | {parser.where} | {_ms(seconds, bound)} | {bound * 1e3:g} |"
    yield ""


def _messages() -> Iterator[str]:
    yield f"{len(MESSAGES)} hostile messages, and the longest time that each blocks other work:\n"
    yield "| message | octets | reply | transaction, ms | loop, ms | checks, ms |"
    yield "|---|--:|---|--:|--:|--:|"
    with _watched_server() as server:
        for name, message in MESSAGES.items():
            octets = message.octets()
            runs = [(server.send(message, octets), *server.longest()) for _ in range(TIMES)]
            cells = [_ms(min(longest[where] for _, longest, _ in runs), bound) for where, bound in _BOUNDS.items()]
            checks = min(seconds for *_, seconds in runs)
            yield f"| {name} | {len(octets):,} | {runs[0][0]} | {cells[0]} | {cells[1]} | {checks * 1e3:.0f} |"


_BOUNDS = {"transaction": BOUNDS[Where.TRANSACTION], "loop": BOUNDS[Where.LOOP]}


def _ms(seconds: float, bound: float) -> str:
    return f"**{seconds * 1e3:.1f}**" if seconds > bound else f"{seconds * 1e3:.1f}"


class _WatchedServer:
    def __init__(self, server: process.Server, output: Path, senders: list[str]) -> None:
        self._server = server
        self._output = output
        self._read = 0
        self._checks = 0.0
        self._senders = senders
        self._connect = boto3.client("connect", **server.client_arguments)
        self._instance = self._connect.list_instances()["InstanceSummaryList"][0]["Id"]
        self.addresses, self.aliases = self._made_pairs("example.com")
        _, self.aliases_over_a_route = self._made_pairs("out.example")
        self._made("out@out.example")
        self.send(Hostile(bytes), b"Subject: first\r\n\r\n", "out@out.example")
        _until(lambda: self._senders and '"works":true' in server.log.read_text())
        self.longest()

    def _made_pairs(self, domain: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Create as many aliases as a message may have recipients, and their primaries."""
        primaries = [self._made(f"a{number}@{domain}") for number in range(RECIPIENTS)]
        aliases = [self._made(f"alias{number}@{domain}") for number in range(RECIPIENTS)]
        for primary, alias in zip(primaries, aliases, strict=True):
            self._connect.associate_email_address_alias(
                InstanceId=self._instance,
                EmailAddressId=primary[1],
                AliasConfiguration={"EmailAddressId": alias[1]},
            )
        return primaries, aliases

    def _made(self, address: str) -> tuple[str, str]:
        made = self._connect.create_email_address(InstanceId=self._instance, EmailAddress=address)
        return address, made["EmailAddressId"]

    def send(self, message: Hostile, octets: bytes, *to: str) -> str:
        """Send a message, and return the beginning of the last reply."""
        made = self.aliases if message.aliases else self.addresses
        made = self.aliases_over_a_route if message.over_a_route else made
        recipients = list(to) or [address for address, _ in made[: message.recipients]]
        if message.is_bounce:
            rewritten = list(dict.fromkeys(filter(None, self._senders)))
            recipients = rewritten[:1] if message.recipients == 1 else rewritten[-message.recipients :]
        if message.to_one:
            recipients = recipients[:1] * message.recipients
        with smtplib.SMTP(*self._server.smtp, local_hostname="client.example", timeout=120) as client:
            client.ehlo()
            if message.first:
                client.sock.sendall(message.first)
                for _ in range(message.first.count(b"\r\n")):
                    client.getreply()
            client.docmd(f"MAIL FROM:<{message.sender}>{message.mail}")
            for recipient in recipients:
                code, _ = client.docmd(f"RCPT TO:<{recipient}>{message.rcpt}")
                if code != 250:
                    return f"{code} to RCPT"
            try:
                if message.in_chunks_of:
                    return self._in_chunks(client.sock, octets, message.in_chunks_of)
                code, said = client.data(octets)
            except (smtplib.SMTPException, OSError) as error:
                return type(error).__name__
            return f"{code} {said.split()[0].decode()}"

    @staticmethod
    def _in_chunks(connection: socket.socket, octets: bytes, size: int) -> str:
        chunks = [octets[start : start + size] for start in range(0, len(octets), size)]
        wire = b"".join(b"BDAT %d\r\n%b" % (len(chunk), chunk) for chunk in chunks) + b"BDAT 0 LAST\r\n"
        sending = threading.Thread(target=connection.sendall, args=(wire,))
        sending.start()
        output = b""
        while output.count(b"\r\n") <= len(chunks) and (part := connection.recv(65_536)):
            output += part
        sending.join()
        return output.rstrip().rpartition(b"\r\n")[2][:9].decode()

    def longest(self) -> tuple[dict[str, float], float]:
        """Return the longest transaction and callback since the last call, and the time of the checks, in seconds."""
        time.sleep(0.3)  # wait for work that is done after the reply
        found = dict.fromkeys(_BOUNDS, 0.0)
        lines = self._output.read_text().splitlines()
        for line in lines[self._read :]:
            one = json.loads(line)
            found[one["where"]] = max(found[one["where"]], one["seconds"])
        self._read = len(lines)
        before, self._checks = self._checks, _children_seconds(self._server.run.pid)
        return found, self._checks - before


def _children_seconds(pid: int) -> float:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spent = 0.0
    for child in children:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


class _Sink(socketserver.StreamRequestHandler):
    """A mail server that accepts all mail, and records the senders."""

    def handle(self) -> None:
        self.wfile.write(b"220 sink.example\r\n")
        in_data = False
        for line in iter(self._line, b""):
            if in_data:
                in_data = line != b".\r\n"
            elif line[:5] == b"MAIL ":
                self.server.senders.append(line.partition(b"<")[2].partition(b">")[0].decode())
            if not in_data:
                in_data = line[:4] == b"DATA"
                self.wfile.write(b"354 go\r\n" if in_data else b"250 ok\r\n")

    def _line(self) -> bytes:
        try:
            return self.rfile.readline()
        except ConnectionError:
            return b""


@contextmanager
def _watched_server() -> Iterator[_WatchedServer]:
    _, key = signed_mail.key()
    sink = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Sink)
    sink.daemon_threads, sink.senders = True, []
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    records = {
        "client.example": {"TXT": ["v=spf1 +all"]},
        "_dmarc.client.example": {"TXT": ["v=DMARC1; p=none"]},
        "sel._domainkey.client.example": {"TXT": [key]},
    }
    with tempfile.TemporaryDirectory(prefix="waypost-worst-") as directory, Zone(records) as zone:
        settings, output = Path(directory, "waypost.toml"), Path(directory, "watched.jsonl")
        settings.write_text(SETTINGS.format(sink=f"smtp://127.0.0.1:{sink.server_address[1]}"))
        output.touch()
        dns = f"{zone.address[0]}:{zone.address[1]}"
        options = ["--config", str(settings), "--authentication", "enforce", "--dns", dns, "--trusted-networks", ""]
        server = process.Server(Path(directory, "data"), *options, "--smtp-messages-each", "1000")
        process.subprocess = _Watching(output)
        server.start()
        try:
            yield _WatchedServer(server, output, sink.senders)
        finally:
            server.stop()
            sink.shutdown()


class _Watching:
    """Replaces `subprocess` in the module that starts servers, so that it starts `watched.py` instead."""

    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

    def __init__(self, output: Path) -> None:
        self._output = output

    def Popen(self, command: list[str], *, env: dict[str, str], **options: object) -> subprocess.Popen:  # noqa: N802
        command = [sys.executable, watched.__file__, *command[command.index("serve") :]]
        return subprocess.Popen(command, env={**env, watched.FILE: str(self._output)}, **options)


def _until(condition: object) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the first message was not sent on, or the test of the DNS did not succeed")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
