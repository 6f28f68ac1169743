"""Parses the From fields of public test mail, and compares the domains with the domains that Python's `email` finds.

`python -m scripts.corpora.authors` prints each difference and the counts. It fails if a difference is not explained,
or if it finds fewer fields than `FEWEST`. The mail is downloaded, and is not part of the repository.
"""

import email
import email.policy
import email.utils
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scripts.corpora import _mail
from scripts.corpora._fetched import Sdist
from waypost.domain.mailauth import from_header
from waypost.domain.mailauth.from_header import Authors, Naming

SDISTS = (
    *_mail.SDISTS,
    Sdist("authheaders", "0.16.3", "118edc6d3cb1ad18ffab3d788ccc562fca2854cd645faab08fc47033c648148a"),
    Sdist("pymap", "0.36.7", "73743598e4a1cfbbde0f216a92e4d33cdf417bf9b7ac8854c037214444e54ad7"),
)

NO_MAIL = {".py", ".pyc", ".rst", ".md", ".html", ".js", ".css"}

FEWEST = 200
"""The minimum number of different From fields."""

EXPLAINED = (
    (r"@\d+\.\d+\.\d+\.\d+>?\Z", "an IP address without brackets is not a domain, and has no records"),
    (r"\{\{", "a template, which contains no domain"),
    (r"\\@", "malformed, and Python finds no address; Waypost looks up each possible domain"),
    (r"\A[^\s\"<>]+@[^\s\"<>]+ <", "a name with an @ and without quotes; Waypost looks up each domain in the field"),
    (r"\A\. <", "Python's parser fails at a name that is a dot"),
    (r"&lt;", "HTML instead of an address; Waypost looks up each domain that a reader may see"),
    (r"\[mailto:", "a link after the address; Python treats the bracket as a part of the domain"),
)
"""Regular expressions for the fields that are read differently, each with the reason."""


def main() -> int:
    """Read and compare the fields, and return the exit status."""
    fields: dict[str, str] = {}
    count = Counter[str]()
    for place in [*(sdist.fetched() for sdist in SDISTS), _mail.PYTHON]:
        if not place.exists():
            print(f"{place} is not installed, and is skipped")
        for field in _from_fields(place):
            count["found"] += 1
            fields.setdefault(field, place.name)
    for field, source in fields.items():
        found = from_header.read([field])
        count[found.naming.value] += 1
        theirs = _by_python(field)
        if all(domains == set(found.domains) for domains in theirs):
            count["as Python"] += 1
            continue
        why = next((why for pattern, why in EXPLAINED if re.search(pattern, field)), "")
        count["different, explained" if why else "different"] += 1
        print(f"{source}: {field!r}: {_described(found)}; Python: {theirs}. {why or 'NOT EXPLAINED'}")
    print(f"{count['found']} From fields, {len(fields)} of them different from each other:", end=" ")
    print(", ".join(f"{count[naming]} {naming.value}" for naming in Naming), end="; ")
    print(f"{count['as Python']} as Python, {count['different, explained']} explained, {count['different']} not")
    return 1 if count["different"] or len(fields) < FEWEST else 0


def _from_fields(place: Path) -> Iterator[str]:
    """Yield the values of all From fields, including fields in attached messages, with CRLF as line end."""
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.suffix not in NO_MAIL:
            for value in re.findall(rb"(?im)^From[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", path.read_bytes()):
                yield re.sub(r"\r?\n", "\r\n", value.strip().decode("utf-8", "replace"))


def _by_python(field: str) -> list[set[str]]:
    """Return the domains that `email.utils` finds, and the domains that `email.headerregistry` finds."""
    lenient = [address for _, address in email.utils.getaddresses([field])]
    octets = f"From: {field}\r\n\r\n".encode()
    try:
        header = email.message_from_bytes(octets, policy=email.policy.default)["From"]
        strict = [address.addr_spec for address in header.addresses]
    except (AttributeError, IndexError, ValueError, TypeError):
        strict = []
    return [_domains(lenient), _domains(strict)]


def _domains(addresses: list[str]) -> set[str]:
    return {address.rpartition("@")[2].rstrip(".").lower() for address in addresses if "@" in address}


def _described(found: Authors) -> str:
    return f"{found.naming.value} {', '.join(found.domains)}".strip()


if __name__ == "__main__":
    sys.exit(main())
