"""Find the mail hosts of a domain (RFC 5321 section 5.1).

The duration of a lookup and the number of hosts are limited.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.resolver

MAX_HOSTS = 20
"""The maximum number of hosts that are returned for one domain. The limit is needed because a domain can list any
number of hosts.
"""

TRY_LIMIT = 2.0
"""Seconds after which an unanswered query is repeated, or sent to the next name server."""

ANSWER_LIMIT = 8 * 1024
"""The maximum size of a DNS answer in bytes. An answer that contains twenty hosts with their addresses is only about a
quarter of this size.
"""

CACHED = 1_000
"""The maximum number of cached answers. Answers are cached because mail for one domain often arrives in bursts. Each
answer is cached for its TTL.
"""


class NullMx(Exception):
    """The domain has a null MX, so it accepts no mail (RFC 7505)."""


class NoSuchDomain(Exception):
    """The domain does not exist, or it has neither a mail server nor an address."""


class DnsFailed(Exception):
    """The DNS gave no usable answer. The query should be repeated later."""


class Resolver:
    """Queries the given name servers, or the system's name servers (`/etc/resolv.conf`)."""

    def __init__(
        self, nameservers: Sequence[tuple[str, int]] = (), *, seconds: float = 15.0, shuffler: random.Random
    ) -> None:
        """`seconds` is the time limit for all queries about one domain. `shuffler` randomizes the order of hosts with
        equal preference.
        """
        self._nameservers = nameservers
        self._seconds = seconds
        self._shuffler = shuffler
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._cache: dns.resolver.LRUCache | None = None

    async def mail_hosts(self, domain: str) -> list[str]:
        """Return the names of a domain's mail hosts, most preferred first.

        If a domain has no MX record but has an address, the domain itself is the host (implicit MX). Raises `NullMx`,
        `NoSuchDomain` or `DnsFailed`.
        """
        try:
            async with asyncio.timeout(self._seconds):
                records = await self._ask(domain, "MX")
                if not records:
                    return [await self._with_address(domain)]
        except (TimeoutError, DnsFailed) as error:
            self._resolver = None  # the system's name servers may have changed, so they are read again
            raise DnsFailed(str(error) or f"the DNS did not answer in time (mail servers of {domain})") from None
        return self._in_order(domain, records)

    def _in_order(self, domain: str, records: Sequence[Any]) -> list[str]:
        preferences: dict[str, int] = {}
        for record in records:
            name = record.exchange.to_text(omit_final_dot=True).lower()
            if name not in {"", "."}:
                preferences[name] = min(record.preference, preferences.get(name, record.preference))
        if not preferences:
            raise NullMx(f"{domain} accepts no mail, because it has a null MX")
        names = sorted(preferences)
        self._shuffler.shuffle(names)
        return sorted(names, key=preferences.__getitem__)[:MAX_HOSTS]

    async def _with_address(self, domain: str) -> str:
        failed = None
        for kind in ("A", "AAAA"):
            try:
                if await self._ask(domain, kind):
                    return domain
            except DnsFailed as error:
                failed = error
        raise failed or NoSuchDomain(f"{domain} has neither a mail server nor an address")

    async def _ask(self, name: str, kind: str) -> tuple[Any, ...]:
        """Return a name's DNS records of one type. The result is empty if the name has only records of other types."""
        import dns.exception  # noqa: PLC0415 - it takes memory, and few routes need it
        import dns.resolver  # noqa: PLC0415

        resolver = self._configured()
        try:
            absolute = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            raise NoSuchDomain(f"{name!r} is not a valid DNS name") from None
        try:
            answer = await resolver.resolve(
                absolute, kind, lifetime=self._seconds, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            raise NoSuchDomain(f"the domain {name} does not exist") from None
        except dns.exception.Timeout:
            raise DnsFailed(f"the DNS did not answer in time ({kind} records of {name})") from None
        except (dns.exception.DNSException, OSError) as error:
            raise DnsFailed(f"the DNS query for the {kind} records of {name} failed: {type(error).__name__}") from None
        return tuple(answer.rrset or ())

    def _configured(self) -> "dns.asyncresolver.Resolver":
        if self._resolver:
            return self._resolver
        import dns.asyncresolver  # noqa: PLC0415 - as above
        import dns.exception  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        from waypost.net import dns_answers  # noqa: PLC0415 - it imports dns

        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
        except (dns.exception.DNSException, OSError):
            raise DnsFailed("no DNS server is known") from None
        dns_answers.bound(resolver, self._nameservers, limit=ANSWER_LIMIT)
        self._cache = self._cache or dns.resolver.LRUCache(CACHED)
        resolver.cache = self._cache
        resolver.timeout = TRY_LIMIT
        resolver.use_edns(0, 0, 1232)
        self._resolver = resolver
        return resolver
