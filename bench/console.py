"""Measures the console with much mail in one account: the list, filters, older pages, search, and opening a message.

The script starts a server, sends the messages by SMTP, half of them to an alias, and then requests each page many times
over one connection. It prints the median, the 95th percentile and the maximum of the times, in milliseconds, and the
size of the page. The goal is 200 ms at the 95th percentile.
"""

import argparse
import http.client
import random
import re
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie

import boto3

from waypost import testing

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

    def __init__(self, server: testing.Server) -> None:
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

    def _send(self, method: str, path: str, body: str | None) -> str:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        for field in response.headers.get_all("set-cookie") or []:
            self._cookies |= {name: morsel.value for name, morsel in SimpleCookie(field).items()}
        found = response.read().decode()
        if response.status not in (200, 303):
            raise SystemExit(f"{path}: {response.status} {found}")
        return found


def measured(get: Callable[[str], str], paths: Iterator[str], count: int) -> str:
    """Return the times of some requests, in milliseconds, and the size of the largest page, as one line."""
    times, size = [], 0
    for _, path in zip(range(count), paths, strict=False):
        began = time.perf_counter()
        page = get(path)
        times.append((time.perf_counter() - began) * 1000)
        size = max(size, len(page.encode()))
    times.sort()
    return f"{times[len(times) // 2]:8.1f} {times[int(len(times) * 0.95)]:8.1f} {times[-1]:8.1f} {size / 1000:8.1f}"


def repeated(path: str) -> Iterator[str]:
    """Yield a path again and again."""
    while True:
        yield path


def pages_after(get: Callable[[str], str], path: str) -> Iterator[str]:
    """Yield the path of a list, and then the paths of its older pages."""
    while True:
        yield path
        found = re.search(r'href="([^"]+)" rel="next"', get(path))
        path = found[1].replace("&amp;", "&") if found else "/console/mail"


def main() -> None:
    """Fill a server, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=200, help="how often each page is requested")
    arguments = parser.parse_args()
    count, requests = arguments.messages, arguments.requests
    with testing.server("--hostname", "mail.example") as server:
        connect = boto3.client("connect", **server.client_arguments)
        instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
        alias, primary = "help@example.com", "support@example.com"
        made = {
            one: connect.create_email_address(InstanceId=instance, EmailAddress=one)["EmailAddressId"]
            for one in (alias, primary)
        }
        connect.associate_email_address_alias(
            InstanceId=instance, EmailAddressId=made[primary], AliasConfiguration={"EmailAddressId": made[alias]}
        )
        began = time.monotonic()
        send(server.smtp, [alias, primary], count)
        print(f"{count} messages in {time.monotonic() - began:.0f} s", flush=True)
        browser = Browser(server)
        get = browser.get
        ids = re.findall(r'id="m-([0-9a-f-]{36})"', get("/console/mail"))
        an_id = ids[len(ids) // 2]
        print(f"{'':24}{'median':>8} {'95 %':>8} {'max':>8} {'KB':>8}")
        for name, paths in {
            "list": repeated("/console/mail"),
            "older pages": pages_after(get, "/console/mail"),
            "forwarded": repeated("/console/mail?is=forwarded"),
            "notices (none)": repeated("/console/mail?is=notice"),
            "dead letters (none)": repeated("/console/mail?is=dead"),
            "one address": repeated(f"/console/mail?address={urllib.parse.quote(primary)}"),
            "search: address": repeated(f"/console/mail?q={urllib.parse.quote(primary)}"),
            "search: message id": repeated(f"/console/mail?q={an_id}"),
            "search: words": (f"/console/mail?q={first}+{second}" for first in WORDS * 20 for second in WORDS),
            "open": (f"/console/mail/{one}" for one in ids * (requests // len(ids) + 1)),
            "open HTML": (f"/console/mail/{one}?view=html" for one in ids * (requests // len(ids) + 1)),
            "frame": (f"/console/mail/{one}/html" for one in ids * (requests // len(ids) + 1)),
        }.items():
            print(f"{name:24}{measured(get, paths, requests)}", flush=True)


if __name__ == "__main__":
    main()
