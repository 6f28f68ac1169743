"""Asking the DNS, within limits: a time for each question and for all of a message, and a cache of bounded size."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.name
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from waypost.domain.limits import shares
from waypost.domain.mailauth.verdicts import Answer
from waypost.mailauth.places import AT_ONCE, Ledger
from waypost.net import dns_answers

TRY_LIMIT = 1.0
"""Seconds until a question is repeated."""

TRIES = 3

SILENCE = 10.0
"""Seconds for which a domain is known to be silent after a question was not answered for `TRY_LIMIT`."""

KNOWN_SILENT = 10_000
"""Domains that are known to be silent, at most; the one whose silence is the oldest is forgotten first."""

PAUSE = 0.1
"""Seconds that the library pauses when no server has answered, also at the end."""

ANSWER_LIMIT = 16 * 1024
"""Octets of an answer. Domains with dozens of verification records beside their SPF record have some thousand."""

CACHED = 10_000
"""Answers that are kept, for as long as their TTL says."""


_TOO_MANY = "too many questions about this domain are unanswered"


class NotAnswered(Exception):
    """Nobody can say now. `silent` if no server said anything at all; `is_ours` if we did not ask to the end."""

    def __init__(self, reason: str, *, silent: bool = False, is_ours: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent
        self.is_ours = is_ours


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a name, and whether there is such a name at all."""

    records: tuple[Any, ...]
    exists: bool


class Unanswered:
    """The questions that nobody has answered for `TRY_LIMIT`, by domain. Each of them holds up a thread.

    A domain whose servers are silent may hold up a share of the threads. What is over that is given up at once, so that
    the threads are there for others, however many messages name that domain. For a while after it was silent, it is
    asked one question at a time, which finds out whether it answers again.
    """

    def __init__(self, threads: int = AT_ONCE) -> None:
        self._ledger = Ledger(threads)
        self._silent_until: dict[str, float] = {}
        self._looking: set[str] = set()
        """Silent domains of which somebody finds out whether they answer again."""
        self._lock = threading.Lock()

    @contextmanager
    def asking(self, name: str) -> Iterator[None]:
        """Ask a question about a name. Raises `NotAnswered` if it is not to be asked now."""
        owner = shares.owner_of(name)
        with self._lock:
            is_silent = self._silent_until.get(owner, 0) > time.monotonic()
            if (is_silent and owner in self._looking) or not self._ledger.allows(shares.of_domain(name)):
                raise NotAnswered(_TOO_MANY, silent=True, is_ours=True)
            if is_silent:
                self._looking.add(owner)
        try:
            yield
        finally:
            if is_silent:
                with self._lock:
                    self._looking.discard(owner)

    @contextmanager
    def counting(self, name: str) -> Iterator[None]:
        """Count a question that was not answered for so long. Raises `NotAnswered` if there are too many."""
        holders = shares.of_domain(name)
        with self._lock:
            owner = shares.owner_of(name)
            self._silent_until.pop(owner, None)  # the domain that was silent last is the last to be forgotten
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
        """Somebody has said something about a name."""
        if self._silent_until:
            with self._lock:
                self._silent_until.pop(shares.owner_of(name), None)


class Resolver:
    """Asks these servers, or those of the system (`/etc/resolv.conf`). Used by many threads at once."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._servers = servers
        self._cache = dns.resolver.LRUCache(CACHED)
        self._resolver = self._configured(self._cache)
        self._unanswered = Unanswered()

    def works(self, seconds: float) -> bool:
        """Does anybody answer for the root? Which servers the system has is read anew."""
        self._resolver = self._configured(self._cache)
        try:
            _ask(self._configured(None), dns.name.root, "NS", seconds, Unanswered())
        except NotAnswered:
            return False
        return True

    def ask(self, name: str, kind: str, seconds: float) -> Found:
        """The records of this kind that a name has. Raises `NotAnswered`.

        It does so at once where too many questions about the same domain are unanswered, if the answer is not known.
        """
        try:
            absolute = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return Found((), exists=False)  # what cannot be a name has no records
        if self._is_known(absolute, kind):
            return _ask(self._resolver, absolute, kind, seconds, self._unanswered)
        with self._unanswered.asking(name):
            found = _ask(self._resolver, absolute, kind, seconds, self._unanswered)
        self._unanswered.answered(name)
        return found

    def _is_known(self, name: dns.name.Name, kind: str) -> bool:
        kinds = (dns.rdatatype.from_text(kind), dns.rdatatype.ANY)  # of a name that does not exist, the latter is known
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
    """Ask once; None if no server answers in time. Raises `NotAnswered` if it is of no use to ask again."""
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
        """The TXT records of a name, each in one piece."""
        return [b"".join(record.strings) for record in self.ask(name, "TXT").records]

    def answer(self, name: str) -> Answer:
        """The TXT records of a name, as the rules of DMARC want them."""
        found = self.ask(name, "TXT")
        texts = tuple(b"".join(record.strings).decode("ascii", "replace") for record in found.records)
        return Answer(texts, found.exists)
