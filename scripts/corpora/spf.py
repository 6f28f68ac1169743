"""Runs the SPF test suites of RFC 7208 and RFC 4408, from pyspf's source distribution, against Waypost's SPF check.

`python -m scripts.corpora.spf` prints each case that differs and the counts. It fails if a difference is not explained.
The suites are by Stuart D. Gathman, Julian Mehnle and Scott Kitterman. They are downloaded, and are not part of the
repository.
"""

import contextlib
import socket
import socketserver
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import yaml  # type: ignore[import-untyped]  # it comes with awscli, without types

from scripts.corpora._fetched import Sdist
from waypost.domain.mailauth.verdicts import Claim
from waypost.mailauth import spf_check
from waypost.mailauth.resolver import Questions, Resolver

PYSPF = Sdist("pyspf", "2.0.14", "57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186")
SUITES = ("rfc7208-tests.yml", "rfc4408-tests.yml")

SECONDS = 2.0
"""The time limit for one case. Only cases with servers that do not answer take this long."""

EXPLAINED: dict[tuple[str, str], str] = {}
"""The reasons why Waypost's outcome differs from the expected outcome, by suite and case."""

Zone = dict[str, list[Any]]


def main() -> int:
    """Run the suites, and return the exit status."""
    place = PYSPF.fetched()
    failures = 0
    for suite in SUITES:
        (path,) = place.glob(f"*/test/{suite}")
        with ThreadPoolExecutor(8) as threads:
            cases = [case for found in threads.map(_scenario, _scenarios(path)) for case in found]
        count = Counter[str]()
        for name, expected, found in cases:
            if found in expected:
                count["as expected"] += 1
                continue
            why = EXPLAINED.get((suite, name), "")
            count["different, explained" if why else "different"] += 1
            print(f"{suite} {name}: {found}, not {' or '.join(expected)}. {why or 'NOT EXPLAINED'}")
        failures += count["different"]
        print(f"{suite}: {len(cases)} cases; " + ", ".join(f"{number} {what}" for what, number in count.items()))
    return 1 if failures else 0


def _scenarios(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        return [scenario for scenario in yaml.safe_load_all(stream) if scenario]


def _scenario(scenario: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    """Return the name, the allowed outcomes, and Waypost's outcome, for each case."""
    cases = []
    with _serving(scenario["zonedata"]) as address:
        for name, case in scenario["tests"].items():
            claim = Claim(case["host"], case["helo"], case["mailfrom"])
            found = spf_check.check(claim, Questions(Resolver([address]), SECONDS))
            allowed = case["result"] if isinstance(case["result"], list) else [case["result"]]
            cases.append((name, allowed, found.outcome.value))
    return cases


@contextlib.contextmanager
def _serving(records: Zone) -> Iterator[tuple[str, int]]:
    """Run a DNS server on loopback that serves these records, and yield its address."""
    zone = {name.lower(): values for name, values in records.items()}

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            octets, server = self.request
            reply = _reply(zone, dns.message.from_wire(octets))
            if reply:
                server.sendto(reply.to_wire(max_size=65_535), self.client_address)

    with socketserver.UDPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        host, port = server.server_address[:2]
        yield str(host), port
        server.shutdown()


def _reply(zone: Zone, query: dns.message.Message) -> dns.message.Message | None:
    """Return the response of a server with a suite's zone; None if the server does not answer in time."""
    question = query.question[0]
    reply = dns.message.make_response(query, recursion_available=True)
    name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
    for _ in range(10):  # follow at most this many aliases
        key = b".".join(name.labels[:-1]).decode("utf-8", "replace").lower()
        if key not in zone:
            reply.set_rcode(dns.rcode.SERVFAIL if key.startswith("error.") else dns.rcode.NXDOMAIN)
            return reply
        values, is_silent = _records(zone[key], kind)
        if is_silent:
            return None
        aliases = _records(zone[key], "CNAME")[0]
        if values or not aliases:
            if values:
                texts = [_as_text(kind, value) for value in values]
                reply.answer.append(dns.rrset.from_text_list(name, 300, "IN", kind, texts))
            return reply
        reply.answer.append(dns.rrset.from_text(name, 300, "IN", "CNAME", dns.name.from_text(aliases[0]).to_text()))
        name = dns.name.from_text(aliases[0])
    return reply


def _records(found: list[Any], kind: str) -> tuple[list[Any], bool]:
    """Return the records of a kind, and whether the server does not answer a query for it.

    The suites define two rules. If a name has no TXT records, its SPF records are also served as TXT. `TIMEOUT` applies
    to all kinds that are not listed.
    """
    named = [next(iter(record.items())) for record in found if isinstance(record, dict)]
    if kind == "TXT" and not any(each == "TXT" for each, _ in named):
        named = [("TXT" if each == "SPF" else each, value) for each, value in named]
    values = [value for each, value in named if each == kind and value != "NONE"]
    return values, "TIMEOUT" in (values or found)


def _as_text(kind: str, value: Any) -> str:
    match kind:
        case "TXT" | "SPF":
            return " ".join(_quoted(piece) for piece in (value if isinstance(value, list) else [value])) or '""'
        case "MX":
            return f"{value[0]} {dns.name.from_text(value[1]).to_text()}"
        case "PTR":
            return dns.name.from_text(value).to_text()
        case "AAAA":
            return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, value))
    return str(value)


def _quoted(text: str) -> str:
    octets = text.encode()
    pieces = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{octet:03d}" for octet in piece) + '"' for piece in pieces)


if __name__ == "__main__":
    sys.exit(main())
