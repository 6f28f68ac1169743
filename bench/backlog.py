"""Measures mail while 100,000 deliveries wait for a dead destination (`make backlog`, a few minutes).

The benchmark sends mail for another destination before the backlog exists, and again while it exists. It prints the
rates, and the memory of the server.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from contextlib import ExitStack, closing
from pathlib import Path

import boto3
import mail
import process

from waypost.testing.process import Server

SETTINGS = """
[[route]]
match = "dead@bench.example"
to = "smtp://127.0.0.1:{dead}"

[[route]]
match = "alive@bench.example"
to = "smtp://127.0.0.1:{alive}"
"""

SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")


AT_ONCE = 20_000
"""The number of messages that one run of the generator sends."""


def main() -> None:
    options = _options()
    if SINK is None:
        sys.exit("This needs Postfix's smtp-sink, which Debian has in the package postfix.")
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="waypost-backlog-")))
        closed = opened.enter_context(closing(socket.socket()))
        closed.bind(("127.0.0.1", 0))  # the socket never listens, so connections are refused
        alive = _sink(opened)
        settings = directory / "waypost.toml"
        settings.write_text(SETTINGS.format(dead=closed.getsockname()[1], alive=alive))
        arguments = ["--config", str(settings), "--hostname", "mx.bench.example"]
        if options.database:
            arguments += ["--database", options.database]
        server = Server(directory / "data", *arguments)
        server.start()
        server.alive = f"smtp://127.0.0.1:{alive}"
        opened.callback(server.stop)
        _make_addresses(server, "dead@bench.example", "alive@bench.example")
        _sent_on(server, options.messages // 4)  # warm up
        print(f"idle: {_memory(server):.0f} MB")
        before = [_sent_on(server, options.messages) for _ in range(3)]
        _show("with an empty queue", before, server)
        began = time.perf_counter()
        _send_all(server, "dead@bench.example", options.backlog)
        print(f"{options.backlog:,} deliveries queued in {time.perf_counter() - began:.0f} s; {_memory(server):.0f} MB")
        beside = [_sent_on(server, options.messages) for _ in range(3)]
        _show(f"with {options.backlog:,} deliveries for a dead destination", beside, server)
        print(f"that is {sorted(beside)[1] / sorted(before)[1]:.2f} times the rate with an empty queue")


def _sent_on(server: Server, count: int) -> float:
    """Return the rate, in messages per second, at which messages are received and sent on at the same time."""
    began = time.perf_counter()
    _send_all(server, "alive@bench.example", count)
    while _is_waited_for(server, server.alive):
        time.sleep(0.02)
    return count / (time.perf_counter() - began)


def _send_all(server: Server, recipient: str, count: int) -> None:
    for sent in range(0, count, AT_ONCE):
        mail.send(server.smtp[1], recipient, min(AT_ONCE, count - sent), keep_connections=True)


def _is_waited_for(server: Server, destination: str) -> bool:
    """Return whether deliveries wait for a destination."""
    key = server.profile.key
    shown = b64encode(f"{key.id}:{key.secret}".encode()).decode()
    query = urllib.parse.urlencode({"destination": destination, "limit": 1})
    url = f"{server.url}/_waypost/queue?{query}"
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {shown}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bool(json.load(answer)["deliveries"])


def _make_addresses(server: Server, *addresses: str) -> None:
    connect = boto3.client("connect", **server.client_arguments)
    instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
    for address in addresses:
        connect.create_email_address(InstanceId=instance, EmailAddress=address)


def _sink(opened: ExitStack) -> int:
    """Run Postfix's smtp-sink, which accepts and discards all mail, and yield its port."""
    assert SINK
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    sink = subprocess.Popen([SINK, "-u", "nobody", f"127.0.0.1:{port}", "100"])
    opened.callback(sink.wait)
    opened.callback(sink.kill)
    while True:
        with closing(socket.socket()) as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return port
        time.sleep(0.01)


def _memory(server: Server) -> float:
    return process.rss(server.run.pid)


def _show(what: str, rates: list[float], server: Server) -> None:
    shown = " ".join(f"{rate:,.0f}" for rate in sorted(rates))
    print(f"{what}: {shown} messages per second received and sent on; {_memory(server):.0f} MB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=100_000, help="number of waiting deliveries")
    parser.add_argument("--messages", type=int, default=4_000, help="messages in a round, for the other destination")
    parser.add_argument("--database", default="", help="postgresql://… URL, to use PostgreSQL instead of SQLite")
    return parser.parse_args()


if __name__ == "__main__":
    main()
