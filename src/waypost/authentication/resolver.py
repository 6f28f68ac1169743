"""Asking the DNS, within limits: a time for each question and for all of a message, and a cache of bounded size."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.name
import dns.resolver

from waypost import dns_answers
from waypost.domain.authentication import Answer

TRY_LIMIT = 1.0
"""Seconds until a question is repeated."""

TRIES = 3

PAUSE = 0.1
"""Seconds that the library pauses when no server has answered, also at the end."""

ANSWER_LIMIT = 16 * 1024
"""Octets of an answer. Domains with dozens of verification records beside their SPF record have some thousand."""

CACHED = 10_000
"""Answers that are kept, for as long as their TTL says."""


class NotAnswered(Exception):
    """Nobody can say now. `silent` if no server said anything at all."""

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a name, and whether there is such a name at all."""

    records: tuple[Any, ...]
    exists: bool


class Resolver:
    """Asks these servers, or those of the system (`/etc/resolv.conf`). Used by many threads at once."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._servers = servers
        self._cache = dns.resolver.LRUCache(CACHED)
        self._resolver = self._configured(self._cache)

    def works(self, seconds: float) -> bool:
        """Does anybody answer for the root? Which servers the system has is read anew."""
        self._resolver = self._configured(self._cache)
        try:
            _ask(self._configured(None), dns.name.root, "NS", seconds)
        except NotAnswered:
            return False
        return True

    def ask(self, name: str, kind: str, seconds: float) -> Found:
        """The records of this kind that a name has. Raises `NotAnswered`."""
        try:
            absolute = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return Found((), exists=False)  # what cannot be a name has no records
        return _ask(self._resolver, absolute, kind, seconds)

    def _configured(self, cache: dns.resolver.LRUCache | None) -> dns.resolver.Resolver | None:
        try:
            resolver = dns.resolver.Resolver(configure=not self._servers)
        except (dns.exception.DNSException, OSError):
            return None
        dns_answers.bound(resolver, self._servers, limit=ANSWER_LIMIT)
        resolver.cache = cache
        resolver.timeout = TRY_LIMIT / max(1, len(resolver.nameservers))
        resolver.use_edns(0, 0, 1232)
        return resolver


def _ask(resolver: dns.resolver.Resolver | None, name: dns.name.Name, kind: str, seconds: float) -> Found:
    if resolver is None:
        raise NotAnswered("no DNS server is known", silent=True)
    until = time.monotonic() + seconds
    was_asked = False
    for _ in range(TRIES):
        limit = min(TRY_LIMIT, until - time.monotonic() - PAUSE)
        if limit <= 0:
            break
        was_asked = True
        try:
            answer = resolver.resolve(name, kind, lifetime=limit, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Found((), exists=False)
        except dns.exception.Timeout:
            continue
        except dns.exception.DNSException as error:
            raise NotAnswered(f"DNS failed: {type(error).__name__}") from None
        except OSError:
            raise NotAnswered("DNS cannot be reached", silent=True) from None
        return Found(tuple(answer.rrset or ()), exists=True)
    raise NotAnswered("DNS did not answer" if was_asked else "no time was left", silent=was_asked)


class Questions:
    """All that is asked for one message."""

    def __init__(self, resolver: Resolver, seconds: float) -> None:
        self._resolver = resolver
        self._begun = time.monotonic()
        self._limit = seconds
        self._until = seconds
        self._answered = self._silent = 0

    @property
    def silent(self) -> bool:
        """Something was asked, and nobody said anything."""
        return self._silent > 0 and not self._answered

    def use(self, share: float) -> None:
        """From now on, and until told otherwise, this share of the whole time may be used up."""
        self._until = self._limit * share

    def ask(self, name: str, kind: str) -> Found:
        """The records of this kind that a name has. Raises `NotAnswered`."""
        left = self._begun + self._until - time.monotonic()
        if left <= 0:
            raise NotAnswered("no time left")
        try:
            found = self._resolver.ask(name, kind, left)
        except NotAnswered as error:
            self._silent += error.silent
            self._answered += not error.silent
            raise
        self._answered += 1
        return found

    def texts(self, name: str) -> list[bytes]:
        """The TXT records of a name, each in one piece."""
        return [b"".join(record.strings) for record in self.ask(name, "TXT").records]

    def answer(self, name: str) -> Answer:
        """The TXT records of a name, as the rules of DMARC want them."""
        found = self.ask(name, "TXT")
        texts = tuple(b"".join(record.strings).decode("ascii", "replace") for record in found.records)
        return Answer(texts, found.exists)
