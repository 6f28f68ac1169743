"""Make DNS queries, with limits on the time for each query, the total time for a message, and the size of the cache."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dns.exception
import dns.name
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver
from msgspec import Struct

from waypost.domain.limits import shares
from waypost.domain.mailauth.verdicts import Answer
from waypost.mailauth.places import AT_ONCE, Ledger
from waypost.net import dns_answers

TRY_LIMIT = 1.0
"""The time, in seconds, after which an unanswered query is repeated."""

TRIES = 3

SILENCE = 10.0
"""How long, in seconds, a domain is marked as unresponsive after a query for it has remained unanswered for
`TRY_LIMIT`.
"""

KNOWN_SILENT = 10_000
"""The maximum number of domains that are marked as unresponsive. If there are more, the oldest mark is removed."""

PAUSE = 0.1
"""The time, in seconds, for which the DNS library pauses if no server has answered. The library pauses even after the
last try.
"""

ANSWER_LIMIT = 16 * 1024
"""The maximum size of an answer, in bytes. The answer for a domain with dozens of verification records is a few
thousand bytes long.
"""

CACHED = 10_000
"""The maximum number of answers in the cache. Each answer is cached for its TTL."""


_TOO_MANY = "too many queries for this domain are unanswered"


class NotAnswered(Exception):
    """Raised for a query that currently has no answer.

    `silent` is true if no DNS server responded. `is_ours` is true if this program itself refused or stopped the query,
    because of its own limits.
    """

    def __init__(self, reason: str, *, silent: bool = False, is_ours: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent
        self.is_ours = is_ours


class Found(Struct, frozen=True):
    """The DNS answer for a name: its records, and whether the name exists."""

    records: tuple[Any, ...]
    exists: bool


class Unanswered:
    """Counts, for each domain, the queries that no server has answered within `TRY_LIMIT`.

    Each unanswered query occupies a thread. A domain whose servers do not respond may occupy only a limited share of
    the threads. When the share is used up, further queries for the domain fail immediately, so that the other threads
    stay free even if many messages name the domain. After an unanswered query, the domain gets only one query at a time
    for `SILENCE` seconds, to test whether its servers respond again.
    """

    def __init__(self, threads: int = AT_ONCE) -> None:
        self._ledger = Ledger(threads)
        self._silent_until: dict[str, float] = {}
        self._testing: set[str] = set()
        """The unresponsive domains that a query is currently testing."""
        self._lock = threading.Lock()

    @contextmanager
    def asking(self, name: str) -> Iterator[None]:
        """Allow or refuse a query for a name. The query must run while the context is open.

        Raises `NotAnswered` if the name must not be queried now.
        """
        owner = shares.owner_of(name)
        with self._lock:
            is_silent = self._silent_until.get(owner, 0) > time.monotonic()
            if (is_silent and owner in self._testing) or not self._ledger.allows(shares.of_domain(name)):
                raise NotAnswered(_TOO_MANY, silent=True, is_ours=True)
            if is_silent:
                self._testing.add(owner)
        try:
            yield
        finally:
            if is_silent:
                with self._lock:
                    self._testing.discard(owner)

    @contextmanager
    def counting(self, name: str) -> Iterator[None]:
        """Until the context exits, count a query as unanswered. The caller has already waited `TRY_LIMIT` for the
        answer.

        Raises `NotAnswered` if the domain has too many unanswered queries.
        """
        holders = shares.of_domain(name)
        with self._lock:
            owner = shares.owner_of(name)
            self._silent_until.pop(owner, None)  # so that the newest mark is the last to be removed
            self._silent_until[owner] = time.monotonic() + SILENCE
            if len(self._silent_until) > KNOWN_SILENT:
                del self._silent_until[next(iter(self._silent_until))]
            if not self._ledger.allows(holders):
                raise NotAnswered(_TOO_MANY, silent=True, is_ours=True)
            self._ledger.take(holders)
        try:
            yield
        finally:
            with self._lock:
                self._ledger.give_back(holders)

    def answered(self, name: str) -> None:
        """Record that a server has answered a query for a name."""
        if self._silent_until:
            with self._lock:
                self._silent_until.pop(shares.owner_of(name), None)


class Resolver:
    """A resolver that queries the given DNS servers, or the servers in `/etc/resolv.conf`. It is thread-safe."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._servers = servers
        self._cache = dns.resolver.LRUCache(CACHED)
        self._resolver = self._configured(self._cache)
        self._unanswered = Unanswered()

    def works(self, seconds: float) -> bool:
        """Return whether a DNS server answers a query for the root zone. Read the system's list of DNS servers again
        before the query.
        """
        self._resolver = self._configured(self._cache)
        try:
            _ask(self._configured(None), dns.name.root, "NS", seconds, Unanswered())
        except NotAnswered:
            return False
        return True

    def ask(self, name: str, kind: str, seconds: float) -> Found:
        """Return the records of one type, such as `TXT`, for a name.

        Raises `NotAnswered` if there is no answer in time. Raises `NotAnswered` immediately if the answer is not in the
        cache and too many queries for the domain are unanswered.
        """
        try:
            absolute = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return Found((), exists=False)  # a malformed name has no records
        if self._is_known(absolute, kind):
            return _ask(self._resolver, absolute, kind, seconds, self._unanswered)
        with self._unanswered.asking(name):
            found = _ask(self._resolver, absolute, kind, seconds, self._unanswered)
        self._unanswered.answered(name)
        return found

    def _is_known(self, name: dns.name.Name, kind: str) -> bool:
        # If a name does not exist, the cache stores the answer under the type ANY.
        kinds = (dns.rdatatype.from_text(kind), dns.rdatatype.ANY)
        return any(self._cache.get((name, each, dns.rdataclass.IN)) for each in kinds)

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


def _ask(
    resolver: dns.resolver.Resolver | None, name: dns.name.Name, kind: str, seconds: float, unanswered: Unanswered
) -> Found:
    if resolver is None:
        raise NotAnswered("no DNS server is known", silent=True)
    until = time.monotonic() + seconds
    if seconds <= PAUSE:
        raise NotAnswered("no time was left", is_ours=True)
    if (found := _try(resolver, name, kind, until)) is not None:
        return found
    with unanswered.counting(name.to_text(omit_final_dot=True)):
        for _ in range(TRIES - 1):
            if (found := _try(resolver, name, kind, until)) is not None:
                return found
    raise NotAnswered("DNS did not answer", silent=True)


def _try(resolver: dns.resolver.Resolver, name: dns.name.Name, kind: str, until: float) -> Found | None:
    """Send a query once.

    Return None if no server answers in time. Raises `NotAnswered` if another try would be useless.
    """
    limit = min(TRY_LIMIT, until - time.monotonic() - PAUSE)
    if limit <= 0:
        return None
    try:
        answer = resolver.resolve(name, kind, lifetime=limit, search=False, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return Found((), exists=False)
    except dns.exception.Timeout:
        return None
    except dns.exception.DNSException as error:
        raise NotAnswered(f"DNS failed: {type(error).__name__}") from None
    except OSError:
        raise NotAnswered("DNS cannot be reached", silent=True) from None
    return Found(tuple(answer.rrset or ()), exists=True)


class Questions:
    """The DNS queries for one message, which share one time limit."""

    def __init__(self, resolver: Resolver, seconds: float) -> None:
        self._resolver = resolver
        self._begun = time.monotonic()
        self._limit = seconds
        self._until = seconds
        self._answered = self._silent = 0

    @property
    def silent(self) -> bool:
        """Whether queries were sent, but no query was answered."""
        return self._silent > 0 and not self._answered

    def use(self, share: float) -> None:
        """Allow queries until this fraction of the message's time limit has passed."""
        self._until = self._limit * share

    def ask(self, name: str, kind: str) -> Found:
        """Return the records of one type, such as `TXT`, for a name.

        Raises `NotAnswered` if there is no answer in time.
        """
        left = self._begun + self._until - time.monotonic()
        if left <= 0:
            raise NotAnswered("no time left", is_ours=True)
        try:
            found = self._resolver.ask(name, kind, left)
        except NotAnswered as error:
            self._silent += error.silent
            self._answered += not error.silent
            raise
        self._answered += 1
        return found

    def texts(self, name: str) -> list[bytes]:
        """Return the TXT records of a name, each as one string of bytes."""
        return [b"".join(record.strings) for record in self.ask(name, "TXT").records]

    def answer(self, name: str) -> Answer:
        """Return the TXT records of a name in the form that `verdicts.decide` needs."""
        found = self.ask(name, "TXT")
        texts = tuple(b"".join(record.strings).decode("ascii", "replace") for record in found.records)
        return Answer(texts, found.exists)
