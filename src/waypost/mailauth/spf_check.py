"""Check SPF (RFC 7208). The library pyspf evaluates SPF records with this program's resolver and limits."""

from typing import Any

import idna
import spf

from waypost.domain.mailauth.verdicts import Claim, Outcome, Spf
from waypost.mailauth.resolver import NotAnswered, Questions

RECORD_LIMIT = 4_096
"""The maximum size of an SPF record, in bytes. Typical SPF records are a few hundred bytes long (RFC 7208 section 3.4).
"""

MACROS_LIMIT = 50
"""The maximum number of percent signs in an SPF record (RFC 7208 section 7).

Typical SPF records have only a few percent signs. The limit is needed because the library takes a tenth of a
millisecond for a macro with many delimiters, and may evaluate ten records for a message.
"""

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def check(claim: Claim, questions: Questions) -> Spf:
    """Check whether a client may send mail for the domain in MAIL FROM.

    If the sender is the null sender, the domain in HELO is checked instead (RFC 7208 section 2.4).
    """
    identity = "mailfrom" if claim.sender else "helo"
    local_part, _, domain = claim.sender.rpartition("@") if claim.sender else ("postmaster", "", claim.helo)
    try:
        domain = idna.encode(domain, uts46=True).decode("ascii") if not domain.isascii() else domain
    except (idna.IDNAError, UnicodeError):
        return Spf(Outcome.NONE, domain, identity, "not a domain name")
    if "." not in domain or domain.startswith("["):
        return Spf(Outcome.NONE, domain, identity, "not a domain name")
    try:
        query = _Query(claim, local_part or "postmaster", domain, questions)
        outcome, _, _ = query.check()
    except MemoryError:
        raise  # the worker itself has too little memory, which says nothing about the message
    except Exception as error:  # noqa: BLE001 - a record that breaks the library must affect only the SPF result
        return Spf(Outcome.PERMERROR, domain, identity, f"cannot be evaluated: {type(error).__name__}")
    # Only errors are reported, because a success needs no text, and the domain's owner writes the `exp=` text.
    reason = str(query.prob) if outcome in {"temperror", "permerror"} else ""
    return Spf(_OUTCOMES[outcome], domain, identity, reason)


class _Query(spf.query):  # type: ignore[misc]
    """One SPF evaluation.

    The library counts the DNS lookups (RFC 7208 section 4.6.4), but this class makes them.
    """

    def __init__(self, claim: Claim, local_part: str, domain: str, questions: Questions) -> None:
        super().__init__(i=claim.peer, s=f"{local_part}@{domain}", h=claim.helo)
        # The library would use all the text after the first "@" as the domain.
        self.l, self.o, self.d = local_part, domain, domain
        self._questions = questions
        self._known: dict[tuple[str, str], list[Any]] = {}
        self._has_stopped = False
        """Whether this program itself stopped the lookups. A `ptr` mechanism must not treat such a stop as a DNS error.
        """

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:  # noqa: ARG002
        """Return a name's records in the SPF library's format. The DNS library has already resolved aliases (CNAME)."""
        key = (str(name).rstrip(".").lower(), qtype)
        if key not in self._known:
            self._known[key] = self._look_up(*key)
            if not self._known[key] and not ignore_void:
                self._count_void()
        return self._known[key]

    def validated_ptrs(self) -> list[str]:
        """Return the validated host names of the client. Skip names whose lookup fails (RFC 7208 section 5.5)."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            if self._has_stopped:
                raise
            return []
        return [name for name in names if self._has_client(name)]

    def _has_client(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            if self._has_stopped:
                raise
            return False

    def get_explanation(self, spec: str) -> None:
        """Do nothing: the explanation of a failure is not used, so it is not looked up."""

    def _look_up(self, name: str, kind: str) -> list[Any]:
        try:
            records = self._questions.ask(name, kind).records
        except NotAnswered as error:
            self._has_stopped |= error.is_ours
            raise spf.TempError(str(error)) from None
        match kind:
            case "A" | "AAAA":
                return [record.address for record in records]
            case "MX":
                return [(record.preference, record.exchange.to_text(omit_final_dot=True)) for record in records]
            case "PTR":
                return [record.target.to_text(omit_final_dot=True) for record in records]
        return [self._bounded(record.strings) for record in records]

    @staticmethod
    def _bounded(strings: tuple[bytes, ...]) -> tuple[bytes, ...]:
        record = b"".join(strings)
        if record[:6].lower() == b"v=spf1":
            if len(record) > RECORD_LIMIT:
                raise spf.PermError(f"record of more than {RECORD_LIMIT} bytes")
            if record.count(b"%") > MACROS_LIMIT:
                raise spf.PermError(f"record with more than {MACROS_LIMIT} macros")
        return strings

    def _count_void(self) -> None:
        self.void_lookups += 1
        if self.void_lookups > spf.MAX_VOID_LOOKUPS:
            raise spf.PermError(f"more than {spf.MAX_VOID_LOOKUPS} void lookups")
