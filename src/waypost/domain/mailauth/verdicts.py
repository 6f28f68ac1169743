"""Who really sent a message: what SPF, DKIM and DMARC found, the rules of DMARC, and the header field that tells it.

Nothing here asks the DNS. `decide` is a generator: it yields the names whose TXT records it wants to know, and is sent
an `Answer` for each.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import islice

from waypost.domain.mailauth.from_header import Authors, Naming

LISTED_LIMIT = 2_000
"""Characters for the signatures in our field: each recipient's copy has the field, and the names are the sender's."""

MAX_LISTED = 10
"""DKIM signatures that are listed in one `Authentication-Results` field."""

MAX_FOREIGN = 50
"""`Authentication-Results` fields of a message that are looked at."""

MAX_STEPS = 8
"""Names that one tree walk asks for (RFC 9989 section 4.10)."""

_ID_OCTETS = 300
"""Octets of a field in which the name of who wrote it must end: each is looked at by itself, in all these fields of one
message, while others wait for the store."""
_FIELD_OCTETS = 10_000
_POLICIES = ("none", "quarantine", "reject")

_FIELD = re.compile(rb"\nauthentication-results[ \t]*:", re.IGNORECASE)
_LINE_END = re.compile(rb"\r?\n(?![ \t])")
_FOLD = re.compile(r"[\r\n\t ]+")
_NOT_IN_REASON = re.compile(r"[^A-Za-z0-9 .,:;_/@=+%()'-]")
_NOT_IN_COMMENT = re.compile(r"[^A-Za-z0-9 .,:;_/@=+%'-]")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")
_NOT_IN_LOCAL_PART = re.compile(r"[^A-Za-z0-9.!#$%&'*+_-]")
_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG_NAME = re.compile(r"[A-Za-z]+\Z")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-Z\[\]_a-z~]+\Z")


class Outcome(StrEnum):
    """What a check came to (RFC 8601 section 2.7)."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the client said: its IP address, its HELO name and its MAIL FROM, empty for the null sender."""

    peer: str
    helo: str
    sender: str


@dataclass(frozen=True, slots=True)
class Spf:
    """May this client send for this domain (RFC 7208)? `identity` is `mailfrom` or `helo`."""

    outcome: Outcome
    domain: str
    identity: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dkim:
    """One signature (RFC 6376): `d=`, `s=` and `i=` as it has them."""

    outcome: Outcome
    domain: str
    selector: str
    identity: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dmarc:
    """Does SPF or DKIM speak for the domain in From (RFC 9989)? `policy` is what its owner asks for, if it does not.

    `naming` is how From names that domain.
    """

    outcome: Outcome
    domain: str
    policy: str = ""
    reason: str = ""
    naming: Naming = Naming.ONE


@dataclass(frozen=True, slots=True)
class Verdicts:
    """All that was found out about one message."""

    spf: Spf
    dkim: tuple[Dkim, ...]
    dmarc: Dmarc


# The field that tells the verdicts, and the fields that others wrote.


def authentication_results(verdicts: Verdicts, authserv_id: str) -> list[str]:
    """The `Authentication-Results` field (RFC 8601 section 2.2), folded: its lines, without CRLF.

    Whatever hostile values the verdicts have, they stay inside of their places: a name keeps only the characters of
    names, a reason only those that mean nothing in a quoted string.
    """
    spf, dmarc = verdicts.spf, verdicts.dmarc
    methods = [_method("spf", spf.outcome, spf.reason, [(f"smtp.{spf.identity}", spf.domain)])]
    room = LISTED_LIMIT
    for dkim in verdicts.dkim[:MAX_LISTED]:
        properties = [("header.d", dkim.domain), ("header.s", dkim.selector), ("header.i", dkim.identity)]
        method = _method("dkim", dkim.outcome, dkim.reason, properties)
        room -= len(method)
        if room < 0:
            break
        methods.append(method)
    if not verdicts.dkim:
        methods.append("dkim=none")
    properties = [("header.from", dmarc.domain), ("policy.dmarc", dmarc.policy)]
    methods.append(_method("dmarc", dmarc.outcome, dmarc.reason, properties))
    lines = [f"Authentication-Results: {_name(authserv_id)}", *(f"\t{method}" for method in methods)]
    return [f"{line};" for line in lines[:-1]] + lines[-1:]


@lru_cache(maxsize=64)
def no_results(authserv_id: str, reason: str) -> tuple[str, ...]:
    """The field for a message that was not checked (RFC 8601 section 2.2, `no-result`), with the reason as a comment.

    It is there so that no field of that name that somebody else has written is the first.
    """
    return f"Authentication-Results: {_name(authserv_id)}; none", f"\t({_NOT_IN_COMMENT.sub('?', reason[:120])})"


def in_words(verdicts: Verdicts) -> dict[str, str]:
    """What each check came to, in a few words without anything in them that could harm a terminal."""
    signatures = [_told(dkim.outcome, dkim.domain) for dkim in verdicts.dkim[:MAX_LISTED]]
    return {
        "spf": _told(verdicts.spf.outcome, verdicts.spf.domain),
        "dkim": ", ".join(signatures) or "none",
        "dmarc": _told(verdicts.dmarc.outcome, verdicts.dmarc.domain),
    }


def _told(outcome: Outcome, domain: str) -> str:
    return f"{outcome.value} ({_name(domain)})" if domain else outcome.value


def _method(name: str, outcome: Outcome, reason: str, properties: list[tuple[str, str]]) -> str:
    told = f' reason="{_NOT_IN_REASON.sub("?", reason[:120])}"' if reason else ""
    return f"{name}={outcome.value}{told}" + "".join(f" {key}={_name(value)}" for key, value in properties if value)


def _name(value: str) -> str:
    """A domain name, or local part and domain, with nothing in it that could end it; of a long one, the end."""
    local_part, at, domain = value[-255:].rpartition("@")
    return _NOT_IN_LOCAL_PART.sub("_", local_part) + at + _NOT_IN_NAME.sub("_", domain)


def trusted_results(header: bytes, authserv_id: str) -> tuple[str, ...]:
    """The `Authentication-Results` fields of a received header that may be believed, unfolded, without their name.

    Those with our own name are forged: they were there before the message reached us (RFC 8601 section 5). Those
    whose name cannot be read are not believed either. Never fails: a header may be any bytes.
    """
    return tuple(value for value, forged in _foreign_results(header, authserv_id, _FIELD_OCTETS) if forged is False)


def count_forged(header: bytes, authserv_id: str) -> int:
    """How many `Authentication-Results` fields of a received header claim to be ours."""
    if b"authentication-results" not in header.lower():  # as in nearly all mail; a look for it is quicker than a search
        return 0
    return sum(1 for _, forged in _foreign_results(header, authserv_id, _ID_OCTETS) if forged)


def _foreign_results(header: bytes, authserv_id: str, limit: int) -> Iterator[tuple[str, bool | None]]:
    """So many octets of each field, and whether it claims to be ours; None if nobody can say."""
    ours = authserv_id.rstrip(".").lower()
    lines = b"\n" + header  # an expression that begins with an octet is found four times as quickly
    for field in islice(_FIELD.finditer(lines), MAX_FOREIGN):
        octets = _LINE_END.split(lines[field.end() : field.end() + limit], maxsplit=1)[0]
        value = _FOLD.sub(" ", octets.decode("utf-8", "replace")).strip()
        claimed = _authserv_id(value[:_ID_OCTETS])
        yield value, claimed.rstrip(".").lower() == ours if claimed else None


def _authserv_id(value: str) -> str:
    """The first word of a field: comments before it are passed over, quotes around it do not count."""
    word, depth, quoted, characters = "", 0, False, iter(value)
    for character in characters:
        if character == "\\" and (depth or quoted):
            character = next(characters, "")  # noqa: PLW2901 - a backslash speaks of the next one
            word += "" if depth else character
        elif depth:
            depth += {"(": 1, ")": -1}.get(character, 0)
        elif character == '"':
            quoted = not quoted
        elif quoted:
            word += character
        elif character == "(":
            depth = 1
        elif character in "; ":
            if word:
                return word
        else:
            word += character
    return "" if depth or quoted else word


# The rules of DMARC.


@dataclass(frozen=True, slots=True)
class Record:
    """A DMARC policy record, and the domain it was found at (RFC 9989 section 4.7)."""

    domain: str
    policy: str = "none"
    """What `p` asks for; empty if the record asks for nothing that can be understood (section 4.10.1)."""
    subdomain_policy: str = ""
    nonexistent_policy: str = ""
    strict_spf: bool = False
    strict_dkim: bool = False
    psd: str = "u"
    testing: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS says of a name: its TXT records, and whether there is such a name at all (RFC 8020)."""

    texts: tuple[str, ...]
    exists: bool = True


def parse_record(domain: str, texts: Sequence[str]) -> Record | None:
    """The DMARC record among the TXT records at `_dmarc.domain`; None if there is none, or several (RFC 9989 4.10).

    A record is one that begins with `v=DMARC1`, spelled so (section 4.8). Where `p` is missing, or `p`, `sp` or `np` is
    not understood, the policy is `none` if `rua` has a URI, and otherwise there is no policy (section 4.10.1). Other
    tags that are not understood have their default. Unknown tags are passed over; so is `pct`, which is historic, but
    for `pct=0`, which has always been meant as `t=y`.
    """
    records = [text for text in texts if _VERSION.match(text)]
    if len(records) != 1:
        return None
    tags = _tags(records[0])
    policies = {tag: tags[tag] for tag in ("p", "sp", "np") if tag in tags}
    if "p" not in policies or not set(policies.values()) <= set(_POLICIES):
        has_reports = any(_URI.match(uri.strip(" \t")) for uri in tags.get("rua", "").split(","))
        policies = {"p": "none" if has_reports else ""}
    psd = tags.get("psd", "")
    return Record(
        domain,
        policies["p"],
        policies.get("sp", ""),
        policies.get("np", ""),
        strict_spf=tags.get("aspf") == "s",
        strict_dkim=tags.get("adkim") == "s",
        psd=psd if psd in {"y", "n"} else "u",
        testing=tags.get("t", "y" if tags.get("pct") == "0" else "n") == "y",
    )


def _tags(record: str) -> dict[str, str]:
    """The tags of a record, names and values in lower case: neither matters (RFC 5234 section 2.3).

    A tag that occurs twice has no value that is valid (RFC 6376 section 3.2).
    """
    tags: dict[str, str] = {}
    for part in record.split(";"):
        name, equals, value = part.strip(" \t").partition("=")
        name = name.rstrip(" \t").lower()
        if equals and _TAG_NAME.match(name):
            tags[name] = "" if name in tags else value.strip(" \t").lower()
    return tags


def walk(domain: str) -> Generator[str, Answer, tuple[Record, ...]]:
    """The records found on the way from a domain to the top of the tree (RFC 9989 section 4.10), the nearest first.

    From a name of eight labels or more, the first step leads to its last seven.
    """
    records: list[Record] = []
    labels = domain.split(".")
    while labels:
        name = ".".join(labels)
        answer = yield f"_dmarc.{name}"
        if record := parse_record(name, answer.texts):
            records.append(record)
            if record.psd != "u":
                break
        labels = labels[max(1, len(labels) - MAX_STEPS + 1) :]
    return tuple(records)


def organisational_domain(domain: str, records: Sequence[Record]) -> str:
    """The domain that answers for this one, by what its walk has found (RFC 9989 section 4.10.2)."""
    if not records:
        return domain
    last = records[-1]
    if last.psd == "y" and last.domain != domain:
        below = domain.removesuffix(last.domain).rstrip(".").rpartition(".")[2]
        return f"{below}.{last.domain}"
    return last.domain


def align(
    identifier: str, author: str, *, strict: bool, identifier_organisation: str, author_organisation: str
) -> bool:
    """Does a domain that SPF or DKIM has authenticated speak for the domain in From (RFC 9989 section 4.4)?"""
    return identifier == author if strict else identifier_organisation == author_organisation


def conclude(authors: Authors, verdicts: Sequence[Dmarc]) -> Dmarc:
    """DMARC for a message, of the verdicts on each domain that its From fields name, in their order.

    Where From is clear, there is one verdict, and it counts. Otherwise nothing passes (RFC 9989 section 5.3.1), and the
    message fails if it fails for one of the domains whose owner wants it refused (section 11.5).
    """
    if authors.naming is Naming.ONE:
        return verdicts[0]
    found = [verdict for verdict in verdicts if verdict.outcome is Outcome.FAIL and verdict.policy == "reject"]
    unknown = [verdict for verdict in verdicts if verdict.outcome is Outcome.TEMPERROR]
    # First those whose owner may want the message refused: what the others say does not matter then.
    found += sorted(unknown, key=lambda verdict: verdict.policy not in {"", "reject"})
    if found:
        return replace(found[0], naming=authors.naming)
    domain = authors.domains[0] if authors.domains else ""
    return Dmarc(Outcome.PERMERROR, domain, "", _MALFORMED[authors.naming], authors.naming)


_MALFORMED = {
    Naming.NONE: "no domain in From",
    Naming.UNCLEAR: "several domains in From, or several From fields",
    Naming.TOO_MANY: "too many domains in From, or too long a From or header",
}


def decide(authors: Sequence[str], spf: Spf, dkim: Sequence[Dkim]) -> Generator[str, Answer, Dmarc]:
    """DMARC for one domain that From names, an A-label: the one element of `authors`.

    If a check could not be finished that might have spoken for the domain, the outcome is `temperror`, never `fail`.
    """
    (author,) = authors
    records = yield from walk(author)
    organisation = organisational_domain(author, records)
    record = _applied(author, organisation, records)
    if record is None or not record.policy:
        return Dmarc(Outcome.NONE, author, "", "no policy")
    policy = yield from _policy(author, record)

    checked = [(spf.outcome, spf.domain, record.strict_spf)]
    checked += [(signature.outcome, signature.domain, record.strict_dkim) for signature in dkim]
    # The order matters for the DNS alone: who speaks for the domain itself needs no walk.
    checked.sort(key=lambda check: _folded(check[1]) != author)
    in_doubt = False
    for outcome, domain, strict in checked:
        if outcome in {Outcome.PASS, Outcome.TEMPERROR} and (
            yield from _speaks_for(_folded(domain), author, organisation, strict=strict)
        ):
            if outcome is Outcome.PASS:
                return Dmarc(Outcome.PASS, author, policy)
            in_doubt = True
    if in_doubt:
        return Dmarc(Outcome.TEMPERROR, author, policy, "SPF or DKIM could not be finished")
    return Dmarc(Outcome.FAIL, author, policy, "neither SPF nor DKIM speaks for this domain")


def _folded(domain: str) -> str:
    return domain.rstrip(".").lower()


def _applied(author: str, organisation: str, records: Sequence[Record]) -> Record | None:
    """The record whose policy counts: the domain's own, its organisation's, or its public suffix's (section 4.10.1)."""
    by_domain = {record.domain: record for record in records}
    suffix = records[-1] if records and records[-1].psd == "y" else None
    return by_domain.get(author) or by_domain.get(organisation) or suffix


def _policy(author: str, record: Record) -> Generator[str, Answer, str]:
    """What the record asks for mail of this domain (RFC 9989 section 4.7: `p`, `sp`, `np`, `t`)."""
    policy = record.policy
    if record.domain != author:
        policy = record.subdomain_policy or policy
        if record.nonexistent_policy not in {"", policy}:
            answer = yield author
            policy = policy if answer.exists else record.nonexistent_policy
    if record.testing:
        return _POLICIES[max(0, _POLICIES.index(policy) - 1)]
    return policy


def _speaks_for(identifier: str, author: str, organisation: str, *, strict: bool) -> Generator[str, Answer, bool]:
    if identifier == author:
        return True
    # Whose organisation is another for certain needs no walk: a stranger cannot make us ask for many names.
    if strict or not f".{identifier}".endswith(f".{organisation}"):
        return False
    theirs = organisational_domain(identifier, (yield from walk(identifier)))
    return align(identifier, author, strict=strict, identifier_organisation=theirs, author_organisation=organisation)
