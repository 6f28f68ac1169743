"""SPF (RFC 7208): the library evaluates records, with this program's resolver and limits."""

from typing import Any

import idna
import spf

from waypost.domain.mailauth.verdicts import Claim, Outcome, Spf
from waypost.mailauth.resolver import NotAnswered, Questions

RECORD_LIMIT = 4_096
"""Octets of a record that is evaluated; those in use have some hundred (RFC 7208 section 3.4)."""

MACROS_LIMIT = 50
"""Percent signs in a record that is evaluated (RFC 7208 section 7); those in use have a handful. The library takes a
tenth of a millisecond for one with many delimiters, and ten records may be evaluated for one message."""

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def check(claim: Claim, questions: Questions) -> Spf:
    """Whether this client may send for the domain in MAIL FROM, or, with the null sender, in HELO (section 2.4)."""
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
        raise  # it is our memory, so it says nothing of the message
    except Exception as error:  # noqa: BLE001 - whoever finds a record that breaks the library breaks SPF alone
        return Spf(Outcome.PERMERROR, domain, identity, f"cannot be evaluated: {type(error).__name__}")
    # What the library says on success is for people, and an `exp=` text is for its author; errors are worth telling.
    reason = str(query.prob) if outcome in {"temperror", "permerror"} else ""
    return Spf(_OUTCOMES[outcome], domain, identity, reason)


class _Query(spf.query):  # type: ignore[misc]
    """One evaluation. The library counts the look-ups (section 4.6.4); they are made here."""

    def __init__(self, claim: Claim, local_part: str, domain: str, questions: Questions) -> None:
        super().__init__(i=claim.peer, s=f"{local_part}@{domain}", h=claim.helo)
        # The library would take all after the first "@" for the domain.
        self.l, self.o, self.d = local_part, domain, domain
        self._questions = questions
        self._known: dict[tuple[str, str], list[Any]] = {}
        self._gave_up = False
        """Whether this server stopped the look-ups: that is not a DNS error, on which `ptr` would not match."""

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:  # noqa: ARG002
        """The records of a name, in the library's form; aliases have been followed."""
        key = (str(name).rstrip(".").lower(), qtype)
        if key not in self._known:
            self._known[key] = self._look_up(*key)
            if not self._known[key] and not ignore_void:
                self._count_void()
        return self._known[key]

    def validated_ptrs(self) -> list[str]:
        """The validated names of the client; names that cannot be looked up are skipped (section 5.5)."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            if self._gave_up:
                raise
            return []
        return [name for name in names if self._has_client(name)]

    def _has_client(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            if self._gave_up:
                raise
            return False

    def get_explanation(self, spec: str) -> None:
        """The explanation of a failure is not used, so it is not looked up."""

    def _look_up(self, name: str, kind: str) -> list[Any]:
        try:
            records = self._questions.ask(name, kind).records
        except NotAnswered as error:
            self._gave_up |= error.is_ours
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
                raise spf.PermError(f"record of more than {RECORD_LIMIT} octets")
            if record.count(b"%") > MACROS_LIMIT:
                raise spf.PermError(f"record with more than {MACROS_LIMIT} macros")
        return strings

    def _count_void(self) -> None:
        self.void_lookups += 1
        if self.void_lookups > spf.MAX_VOID_LOOKUPS:
            raise spf.PermError(f"more than {spf.MAX_VOID_LOOKUPS} void lookups")
