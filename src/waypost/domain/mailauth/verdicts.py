"""The results of SPF, DKIM and DMARC, the rules of DMARC, and the header field that reports the results.

This module does not query the DNS. `decide` is a generator that yields the names whose TXT records it needs, and the
caller sends an `Answer` for each name.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain.mailauth.from_header import Authors, Naming

LISTED_LIMIT = 2_000
"""The maximum length of the DKIM results in one `Authentication-Results` field, in characters.

The length is limited because the sender chooses the names in the field, and every recipient's copy contains them.
"""

MAX_LISTED = 10
"""The maximum number of DKIM signatures in one `Authentication-Results` field."""

MAX_FOREIGN = 50
"""The maximum number of `Authentication-Results` fields to examine in a received header."""

MAX_STEPS = 8
"""The maximum number of names that one DMARC tree walk looks up (RFC 9989 section 4.10)."""

_ID_OCTETS = 300
"""The server name in an `Authentication-Results` field must end within this number of bytes.

The number is small because these bytes are examined one by one, in every such field of a message, during a store
transaction.
"""
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
    """The result of a check (RFC 8601 section 2.7)."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Claim(Struct, frozen=True):
    """The input of an SPF check: the client's IP address and HELO name, and the sender (empty for the null sender)."""

    peer: str
    helo: str
    sender: str


class Spf(Struct, frozen=True):
    """The SPF result: whether the client may send for a domain (RFC 7208). `identity` is `mailfrom` or `helo`."""

    outcome: Outcome
    domain: str
    identity: str
    reason: str = ""


class Dkim(Struct, frozen=True):
    """The result of one DKIM signature (RFC 6376), with its `d=`, `s=` and `i=` values."""

    outcome: Outcome
    domain: str
    selector: str
    identity: str
    reason: str = ""


class Dmarc(Struct, frozen=True):
    """The DMARC result: whether SPF or DKIM authenticates the domain in From (RFC 9989).

    `policy` is the domain owner's policy for mail that fails DMARC. `naming` shows how clearly From names the domain.
    """

    outcome: Outcome
    domain: str
    policy: str = ""
    reason: str = ""
    naming: Naming = Naming.ONE


class Verdicts(Struct, frozen=True):
    """The results of all checks of one message."""

    spf: Spf
    dkim: tuple[Dkim, ...]
    dmarc: Dmarc


# The field that reports the verdicts, and the fields from other servers.


def authentication_results(verdicts: Verdicts, authserv_id: str) -> list[str]:
    """Return the lines of the folded `Authentication-Results` field (RFC 8601 section 2.2), without CRLF.

    Characters that are not allowed in names, or that have a special meaning in quoted strings, are replaced, so that
    hostile values cannot break the syntax of the field.
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
    """Return the lines of the `Authentication-Results` field for an unchecked message, with the reason in a comment.

    RFC 8601 section 2.2 defines the syntax (`no-result`). This field is added so that the first
    `Authentication-Results` field with this server's name is never a forged one.
    """
    return f"Authentication-Results: {_name(authserv_id)}; none", f"\t({_NOT_IN_COMMENT.sub('?', reason[:120])})"


def in_words(verdicts: Verdicts) -> dict[str, str]:
    """Return a short description of each check's result, keyed by the name of the check.

    The descriptions are safe to show on a terminal.
    """
    signatures = [_summary(dkim.outcome, dkim.domain) for dkim in verdicts.dkim[:MAX_LISTED]]
    return {
        "spf": _summary(verdicts.spf.outcome, verdicts.spf.domain),
        "dkim": ", ".join(signatures) or "none",
        "dmarc": _summary(verdicts.dmarc.outcome, verdicts.dmarc.domain),
    }


def _summary(outcome: Outcome, domain: str) -> str:
    return f"{outcome.value} ({_name(domain)})" if domain else outcome.value


def _method(name: str, outcome: Outcome, reason: str, properties: list[tuple[str, str]]) -> str:
    given = f' reason="{_NOT_IN_REASON.sub("?", reason[:120])}"' if reason else ""
    return f"{name}={outcome.value}{given}" + "".join(f" {key}={_name(value)}" for key, value in properties if value)


def _name(value: str) -> str:
    """Return the last 255 characters of a domain or an address. Characters that could end the name are replaced."""
    local_part, at, domain = value[-255:].rpartition("@")
    return _NOT_IN_LOCAL_PART.sub("_", local_part) + at + _NOT_IN_NAME.sub("_", domain)


def trusted_results(header: bytes, authserv_id: str) -> tuple[str, ...]:
    """Return the unfolded values of the trustworthy `Authentication-Results` fields in a received header.

    A field with this server's name is forged, because only this server may add such a field (RFC 8601 section 5). A
    field whose server name cannot be read is not trusted either. The function accepts arbitrary bytes, and never
    raises an exception.
    """
    return tuple(value for value, forged in _foreign_results(header, authserv_id, _FIELD_OCTETS) if forged is False)


def count_forged(header: bytes, authserv_id: str) -> int:
    """Return the number of `Authentication-Results` fields in a received header that have this server's name."""
    if b"authentication-results" not in header.lower():  # usually true, and faster than the regular expression
        return 0
    return sum(1 for _, forged in _foreign_results(header, authserv_id, _ID_OCTETS) if forged)


def _foreign_results(header: bytes, authserv_id: str, limit: int) -> Iterator[tuple[str, bool | None]]:
    """Yield the beginning of each `Authentication-Results` field, and whether the field has this server's name.

    The second value is None if the server name in the field cannot be read.
    """
    ours = authserv_id.rstrip(".").lower()
    lines = b"\n" + header  # a regular expression that begins with a literal byte is four times as fast
    for field in islice(_FIELD.finditer(lines), MAX_FOREIGN):
        octets = _LINE_END.split(lines[field.end() : field.end() + limit], maxsplit=1)[0]
        value = _FOLD.sub(" ", octets.decode("utf-8", "replace")).strip()
        claimed = _authserv_id(value[:_ID_OCTETS])
        yield value, claimed.rstrip(".").lower() == ours if claimed else None


def _authserv_id(value: str) -> str:
    """Return the first word of a field, without comments before it or quotes around it."""
    word, depth, quoted, characters = "", 0, False, iter(value)
    for character in characters:
        if character == "\\" and (depth or quoted):
            character = next(characters, "")  # noqa: PLW2901 - a backslash quotes the next character
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


class Record(Struct, frozen=True):
    """A DMARC policy record, and the domain at which it was found (RFC 9989 section 4.7)."""

    domain: str
    policy: str = "none"
    """The value of the `p` tag; empty if the record has no valid policy (RFC 9989 section 4.10.1)."""
    subdomain_policy: str = ""
    nonexistent_policy: str = ""
    strict_spf: bool = False
    strict_dkim: bool = False
    psd: str = "u"
    testing: bool = False


class Answer(Struct, frozen=True):
    """The DNS answer for a name: its TXT records, and whether the name exists (RFC 8020)."""

    texts: tuple[str, ...]
    exists: bool = True


def parse_record(domain: str, texts: Sequence[str]) -> Record | None:
    """Return the DMARC record among the TXT records at `_dmarc.DOMAIN`; None if there is not exactly one DMARC record.

    A DMARC record begins with `v=DMARC1`, which is case-sensitive (RFC 9989 section 4.8). If `p` is missing, or if `p`,
    `sp` or `np` is invalid, the policy depends on `rua`: the policy is `none` if `rua` has a URI, and otherwise the
    record has no policy (section 4.10.1). If the value of another tag is invalid, the tag's default applies. Unknown
    tags and the historic `pct` are ignored, except that `pct=0` means `t=y`.
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
    """Return the tags of a record.

    Tag names and values are returned in lower case, because they are not case-sensitive (RFC 5234 section 2.3).

    A tag that occurs twice gets an empty value, which is invalid (RFC 6376 section 3.2).
    """
    tags: dict[str, str] = {}
    for part in record.split(";"):
        name, equals, value = part.strip(" \t").partition("=")
        name = name.rstrip(" \t").lower()
        if equals and _TAG_NAME.match(name):
            tags[name] = "" if name in tags else value.strip(" \t").lower()
    return tags


def walk(domain: str) -> Generator[str, Answer, tuple[Record, ...]]:
    """Walk up the DNS tree from a domain, and return the DMARC records found, starting with the nearest one.

    The walk yields the names to look up (RFC 9989 section 4.10). If the domain has eight or more labels, the second
    lookup is for its last seven labels.
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
    """Return a domain's organizational domain, given the records that the tree walk found (RFC 9989 section 4.10.2)."""
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
    """Return whether a domain that SPF or DKIM authenticated is aligned with the domain in From.

    RFC 9989 section 4.4 defines alignment. Strict alignment requires equal domains, and relaxed alignment requires
    equal organizational domains.
    """
    return identifier == author if strict else identifier_organisation == author_organisation


def conclude(authors: Authors, verdicts: Sequence[Dmarc]) -> Dmarc:
    """Return the DMARC result of a message. `verdicts` are the DMARC results for `authors.domains`, in the same order.

    If From clearly names one domain, the verdict on that domain is the result. If From is unclear, the result cannot be
    `pass` (RFC 9989 section 5.3.1). The result is `fail` if at least one domain has the policy `reject` and the verdict
    `fail` (section 11.5).
    """
    if authors.naming is Naming.ONE:
        return verdicts[0]
    found = [verdict for verdict in verdicts if verdict.outcome is Outcome.FAIL and verdict.policy == "reject"]
    unknown = [verdict for verdict in verdicts if verdict.outcome is Outcome.TEMPERROR]
    # Domains whose policy may be `reject` come first, because the other verdicts then do not matter.
    found += sorted(unknown, key=lambda verdict: verdict.policy not in {"", "reject"})
    if found:
        return replace(found[0], naming=authors.naming)
    domain = authors.domains[0] if authors.domains else ""
    return Dmarc(Outcome.PERMERROR, domain, "", _MALFORMED[authors.naming], authors.naming)


_MALFORMED = {
    Naming.NONE: "no domain in From",
    Naming.UNCLEAR: "several domains in From, or several From fields",
    Naming.TOO_MANY: "too many domains in From, or a From or header that is too long",
}


def decide(authors: Sequence[str], spf: Spf, dkim: Sequence[Dkim]) -> Generator[str, Answer, Dmarc]:
    """Decide the DMARC result for one domain in From.

    The domain must be the only element of `authors`, and be spelled as A-labels.

    If a check that might have passed for the domain could not be completed, the result is `temperror`, never `fail`.
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
    # The order only saves DNS queries: a result for the domain itself needs no tree walk.
    checked.sort(key=lambda check: _folded(check[1]) != author)
    is_incomplete = False
    for outcome, domain, strict in checked:
        if outcome in {Outcome.PASS, Outcome.TEMPERROR} and (
            yield from _is_aligned(_folded(domain), author, organisation, strict=strict)
        ):
            if outcome is Outcome.PASS:
                return Dmarc(Outcome.PASS, author, policy)
            is_incomplete = True
    if is_incomplete:
        return Dmarc(Outcome.TEMPERROR, author, policy, "SPF or DKIM could not be completed")
    return Dmarc(Outcome.FAIL, author, policy, "neither SPF nor DKIM is aligned with this domain")


def _folded(domain: str) -> str:
    return domain.rstrip(".").lower()


def _applied(author: str, organisation: str, records: Sequence[Record]) -> Record | None:
    """Return the DMARC record whose policy applies (RFC 9989 section 4.10.1).

    The record of the domain itself takes precedence over the record of its organizational domain, which takes
    precedence over the record of its public suffix.
    """
    by_domain = {record.domain: record for record in records}
    suffix = records[-1] if records and records[-1].psd == "y" else None
    return by_domain.get(author) or by_domain.get(organisation) or suffix


def _policy(author: str, record: Record) -> Generator[str, Answer, str]:
    """Return the policy for a domain's mail, based on the `p`, `sp`, `np` and `t` tags (RFC 9989 section 4.7)."""
    policy = record.policy
    if record.domain != author:
        policy = record.subdomain_policy or policy
        if record.nonexistent_policy not in {"", policy}:
            answer = yield author
            policy = policy if answer.exists else record.nonexistent_policy
    if record.testing:
        return _POLICIES[max(0, _POLICIES.index(policy) - 1)]
    return policy


def _is_aligned(identifier: str, author: str, organisation: str, *, strict: bool) -> Generator[str, Answer, bool]:
    if identifier == author:
        return True
    # A domain outside the author's organization needs no walk, so a sender cannot cause many queries with such domains.
    if strict or not f".{identifier}".endswith(f".{organisation}"):
        return False
    theirs = organisational_domain(identifier, (yield from walk(identifier)))
    return align(identifier, author, strict=strict, identifier_organisation=theirs, author_organisation=organisation)
