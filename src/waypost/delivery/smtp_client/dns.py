"""Finds the mail hosts of a domain (RFC 5321 section 5.1), within limits of time and number."""

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.resolver

MAX_HOSTS = 20
"""The most hosts of one domain. A domain with more would make the server connect to all of them, each time."""

TRY_LIMIT = 2.0
"""Seconds until a query is repeated, or sent to the next server."""

ANSWER_LIMIT = 8 * 1024
"""Octets of an answer: twenty hosts, each with its addresses, have a quarter of that."""

CACHED = 1_000
"""Answers that are kept, for as long as their TTL says: mail for one domain often comes in crowds."""


class NullMx(Exception):
    """The domain says that it takes no mail (RFC 7505)."""


class NoSuchDomain(Exception):
    """The DNS says that there is no such domain, or neither a mail server nor an address of it."""


class DnsFailed(Exception):
    """Nobody can say now."""


class Resolver:
    """Asks these servers, or those of the system (`/etc/resolv.conf`)."""

    def __init__(
        self, nameservers: Sequence[tuple[str, int]] = (), *, seconds: float = 15.0, shuffler: random.Random
    ) -> None:
        """`seconds` is for all queries about one domain; `shuffler` orders hosts of the same preference."""
        self._nameservers = nameservers
        self._seconds = seconds
        self._shuffler = shuffler
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._cache: dns.resolver.LRUCache | None = None

    async def mail_hosts(self, domain: str) -> list[str]:
        """Names of hosts, the best first. Raises `NullMx`, `NoSuchDomain` or `DnsFailed`.

        Without an MX, a domain with an address is its own host: the implicit MX.
        """
        try:
            async with asyncio.timeout(self._seconds):
                records = await self._ask(domain, "MX")
                if not records:
                    return [await self._with_address(domain)]
        except (TimeoutError, DnsFailed) as error:
            self._resolver = None  # which servers the system has may have changed: it is read anew
            raise DnsFailed(str(error) or f"the DNS did not answer in time about {domain}") from None
        return self._in_order(domain, records)

    def _in_order(self, domain: str, records: Sequence[Any]) -> list[str]:
        preferences: dict[str, int] = {}
        for record in records:
            name = record.exchange.to_text(omit_final_dot=True).lower()
            if name not in {"", "."}:
                preferences[name] = min(record.preference, preferences.get(name, record.preference))
        if not preferences:
            raise NullMx(f"{domain} takes no mail: it has a null MX")
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
        """The records of this kind of a name; none if it has only others."""
        import dns.exception  # noqa: PLC0415 - it takes memory, and few routes need it
        import dns.resolver  # noqa: PLC0415

        resolver = self._configured()
        try:
            absolute = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            raise NoSuchDomain(f"{name!r} is no name that the DNS could know") from None
        try:
            answer = await resolver.resolve(
                absolute, kind, lifetime=self._seconds, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            raise NoSuchDomain(f"there is no domain {name}") from None
        except dns.exception.Timeout:
            raise DnsFailed(f"the DNS did not answer in time about {kind} of {name}") from None
        except (dns.exception.DNSException, OSError) as error:
            raise DnsFailed(f"the DNS could not say {kind} of {name}: {type(error).__name__}") from None
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
