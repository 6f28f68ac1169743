"""Measures the console with much mail in one account: the list, filters, older pages, search, and opening a message.

The script starts a server, sends the messages by SMTP, half of them to an alias, waits until all of them are indexed,
and then requests each page many times over one connection. It prints the median, the 95th percentile and the maximum of
the times, the processor time of all processes of the server and of PostgreSQL for a request, and the size of the page.
The goal is 200 ms at the 95th percentile.

All mail arrives within minutes, which is the hardest case for searches by time. No message is a notice or a dead
letter, which is the hardest case for lists of these.
"""

import argparse
import base64
import http.client
import json
import random
import re
import socket
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any

import boto3
import figures
from groups import Group
from peers import postgresql

from waypost.testing.process import Server

ALIAS, PRIMARY = "help@example.com", "support@example.com"

TOGETHER = 50
"""How many messages are sent without waiting for replies."""

EACH = 200
"""How many messages are sent over one connection, because a session may have only so many commands."""

WORDS = (
    *("order", "invoice", "delivery", "return", "question", "reminder"),
    *("payment", "address", "update", "offer", "ticket", "meeting"),
)


def message(number: int) -> bytes:
    """Return the message with a number: the same number always gives the same message."""
    chance = random.Random(number)
    subject = " ".join(chance.sample(WORDS, 4))
    text = " ".join(chance.choice(WORDS) for _ in range(80))
    return (
        f"From: Ann {number} <ann{number}@shop.example>\r\nTo: support@example.com\r\nSubject: {subject} {number}\r\n"
        f"Message-ID: <{number}@shop.example>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n"
        f"--b\r\nContent-Type: text/html\r\n\r\n<p>{text}</p>\r\n--b--\r\n"
    ).encode()


def send(address: tuple[str, int], recipients: list[str], count: int) -> None:
    """Send messages with BDAT (RFC 3030), to one recipient after the other in turn."""
    for first in range(0, count, EACH):
        _send(address, recipients, range(first, min(first + EACH, count)))


def _send(address: tuple[str, int], recipients: list[str], all_numbers: range) -> None:
    with socket.create_connection(address) as client, client.makefile("rb") as replies:
        _expect(replies.readline(), b"220")
        client.sendall(b"EHLO client.example\r\n")
        while (line := replies.readline())[3:4] == b"-":
            pass
        _expect(line, b"250")
        for first in range(0, len(all_numbers), TOGETHER):
            numbers = all_numbers[first : first + TOGETHER]
            sent = b""
            for number in numbers:
                raw, to = message(number), recipients[number % len(recipients)]
                sent += f"MAIL FROM:<ann{number}@shop.example>\r\nRCPT TO:<{to}>\r\nBDAT {len(raw)} LAST\r\n".encode()
                sent += raw
            client.sendall(sent)
            for _ in range(3 * len(numbers)):
                _expect(replies.readline(), b"250")


def _expect(line: bytes, code: bytes) -> None:
    if not line.startswith(code):
        raise SystemExit(f"The server replied {line!r}.")


class Browser:
    """A browser that has signed in."""

    def __init__(self, server: Server) -> None:
        url = urllib.parse.urlsplit(server.url)
        self._connection = http.client.HTTPConnection(str(url.hostname), url.port)
        self._cookies: dict[str, str] = {}
        form = self.get("/console/sign-in")
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', form)
        key = server.profile.key
        fields = {"csrf": found[1] if found else "", "id": key.id, "secret": key.secret}
        self._send("POST", "/console/sign-in", urllib.parse.urlencode(fields))

    def get(self, path: str) -> str:
        """Return a page."""
        return self._send("GET", path, None)

    @property
    def cookie(self) -> str:
        """The value of the Cookie field."""
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    def _send(self, method: str, path: str, body: str | None) -> str:
        headers = {"Cookie": self.cookie}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        for field in response.headers.get_all("set-cookie") or []:
            self._cookies |= {name: morsel.value for name, morsel in SimpleCookie(field).items()}
        found = response.read().decode(errors="replace")
        if response.status not in (200, 303):
            raise SystemExit(f"{path}: {response.status} {found}")
        return found


@dataclass(frozen=True, slots=True)
class Times:
    """The times of some requests, in milliseconds, and the size of the largest page, in bytes."""

    median: float
    p95: float
    longest: float
    processor: float
    """The mean of the processor time, in milliseconds."""
    size: int


def measured(get: Callable[[str], str], paths: Iterator[str], count: int, processor: Callable[[], float]) -> Times:
    """Request some paths, and return the times. `processor` returns the processor time so far, in seconds."""
    times, size, used = [], 0, processor()
    for path in islice(paths, count):
        began = time.perf_counter()
        page = get(path)
        times.append((time.perf_counter() - began) * 1000)
        size = max(size, len(page.encode()))
    used = (processor() - used) / len(times) * 1000
    return Times(figures.median(times), figures.percentile(times, 95), max(times), used, size)


def pages_after(get: Callable[[str], str], path: str) -> Iterator[str]:
    """Yield the path of a list, and then the paths of its older pages."""
    while True:
        yield path
        found = re.search(r'href="([^"]+)" rel="next"', get(path))
        path = found[1].replace("&amp;", "&") if found else "/console/mail"


def searches(*queries: str) -> Iterator[str]:
    """Yield the paths of searches again and again."""
    return cycle([f"/console/mail?q={urllib.parse.quote(query)}" for query in queries])


def pages(get: Callable[[str], str], primary: str) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the name of each kind of page, and the paths to request."""
    ids = re.findall(r'id="m-([0-9a-f-]{36})"', get("/console/mail"))
    middle = messages_time(ids[0]) - timedelta(seconds=30)
    pairs = [f"{first} {second}" for first in WORDS for second in WORDS]
    yield "list", repeat("/console/mail")
    yield "older pages", pages_after(get, "/console/mail")
    for kind in ("direct", "forwarded", "notice", "waiting", "dead", "refused"):
        yield f"is={kind}", repeat(f"/console/mail?is={kind}")
    yield "one address", repeat(f"/console/mail?address={urllib.parse.quote(primary)}")
    yield "one address, is=notice", repeat(f"/console/mail?is=notice&address={urllib.parse.quote(primary)}")
    yield "search: two frequent words", searches(*pairs)
    yield "search: a phrase", searches(*(f'"{pair}"' for pair in pairs))
    yield "search: a rare word", searches(*map(str, range(1_000, 90_000, 431)))
    yield "search: a prefix", searches(*(f"{word[:3]}*" for word in WORDS))
    yield "search: no such word", searches("nothing order", "order nothing")
    yield (
        "search: from:, to:, subject:",
        searches(
            "from:ann431@shop.example", "from:shop.example", f"to:{primary}", *(f"subject:{word}" for word in WORDS)
        ),
    )
    yield "search: an address", searches(primary)
    yield "search: id:", searches(*(f"id:{one}" for one in ids), *(f"id:<{one}@shop.example>" for one in range(100)))
    for kind in ("forwarded", "notice", "waiting", "dead"):
        yield f"search: a word, is:{kind}", searches(*(f"{word} is:{kind}" for word in WORDS))
        yield f"search: is:{kind}", searches(f"is:{kind}")
    yield "search: is:refused", searches("is:refused", "is:refused from:ann")
    yield "search: before: or after: a time", searches(f"before:{middle:%FT%TZ}", f"after:{middle:%FT%TZ}")
    yield "search: a day without mail", searches("after:2020-01-01 before:2020-01-02", "after:2040-01-01")
    yield (
        "search: is:notice, by time",
        searches(f"is:notice before:{middle:%FT%TZ}", f"is:notice after:{middle:%FT%TZ}"),
    )
    yield "search: a word, by time", searches(f"order before:{middle:%FT%TZ}", f"order after:{middle:%FT%TZ}")
    yield "open", cycle(f"/console/mail/{one}" for one in ids)
    yield "open HTML", cycle(f"/console/mail/{one}?view=html" for one in ids)
    yield "frame with HTML", cycle(f"/console/mail/{one}/html" for one in ids)
    yield "download", cycle(f"/console/mail/{one}/raw" for one in ids)


def messages_time(message_id: str) -> datetime:
    """Return the time in the id of a message."""
    return datetime.fromtimestamp(int(message_id.replace("-", "")[:12], 16) / 1000, UTC)


def prepare(server: Server, count: int) -> None:
    """Make an alias and a primary, and send messages to them, unless the server has mail already."""
    connect = boto3.client("connect", **server.client_arguments)
    instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
    with suppress(connect.exceptions.DuplicateResourceException):
        made = {
            one: connect.create_email_address(InstanceId=instance, EmailAddress=one)["EmailAddressId"]
            for one in (ALIAS, PRIMARY)
        }
        connect.associate_email_address_alias(
            InstanceId=instance, EmailAddressId=made[PRIMARY], AliasConfiguration={"EmailAddressId": made[ALIAS]}
        )
        began = time.monotonic()
        send(server.smtp, [ALIAS, PRIMARY], count)
        print(f"{count} messages in {time.monotonic() - began:.0f} s", flush=True)


def wait_for_index(server: Server) -> None:
    """Wait until the text index has all mail."""
    began = time.monotonic()
    while inspected(server, "search?q=nothing")["indexed_until"]:
        time.sleep(1)
    print(f"indexed after {time.monotonic() - began:.0f} s", flush=True)


def inspected(server: Server, page: str) -> dict[str, Any]:
    """Return the response of the inspection API."""
    key = server.profile.key
    encoded = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    request = urllib.request.Request(f"{server.url}/_waypost/{page}", headers={"Authorization": f"Basic {encoded}"})
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@dataclass(frozen=True, slots=True)
class Running:
    """A server, and the processes of the server and its database."""

    server: Server
    groups: list[Group]

    def processor_seconds(self) -> float:
        """Return the processor time of all processes so far, in seconds."""
        return sum(group.cpu_seconds() for group in self.groups)


@contextmanager
def running(options: argparse.Namespace, *more: str) -> Iterator[Running]:
    """Run a server on the database that the options name."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="waypost-console-")))
        url, group = options.database, Group("waypost")
        opened.callback(group.remove)
        groups = [group]
        if options.postgresql:
            directory.chmod(0o755)  # PostgreSQL runs as another user
            database = opened.enter_context(postgresql.running(directory / "database")).new_database()
            url, groups = database.url, [group, database.group]
        elif options.database_pid:
            groups.append(Group("database"))
            groups[-1].add(options.database_pid)
        arguments = ("--hostname", "mail.example", *(("--database", url) if url else ()), *more)
        server = Server(options.data or directory / "data", *arguments)
        with group.starting():
            server.start()
        group.add(server.run.pid)
        opened.callback(server.stop)
        yield Running(server, groups)


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options, with those that all measurements of the console have."""
    parser.add_argument("--messages", type=int, default=100_000, help="how many messages are sent before")
    parser.add_argument("--postgresql", action="store_true", help="use PostgreSQL, from the wheel of the tests")
    parser.add_argument("--database", default="", help="postgresql://… URL of a database")
    parser.add_argument("--database-pid", type=int, help="the first process of this database")
    parser.add_argument("--data", type=Path, help="keep the data here; mail that is there is not sent again")
    return parser.parse_args()


def main() -> None:
    """Fill a server, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="how often each page is requested")
    parser.add_argument("--only", default="", help="only the pages whose names contain this text")
    options = options_of(parser)
    with running(options) as found:
        prepare(found.server, options.messages)
        wait_for_index(found.server)
        get = Browser(found.server).get
        print("| page | median, ms | 95 %, ms | longest, ms | processor, ms | size, KB |\n|---|---|---|---|---|---|")
        for name, paths in pages(get, PRIMARY):
            if options.only in name:
                times = measured(get, paths, options.requests, found.processor_seconds)
                cells = (times.median, times.p95, times.longest, times.processor, times.size / 1000)
                print(f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
