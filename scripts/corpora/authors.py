"""Read the From fields of public test mail, and compare the domains with what Python's `email` finds in them.

`python -m scripts.corpora.authors` prints each field that differs and the counts. It fails if a difference is not
explained, or if there are fewer fields than there should be. The mail is fetched and not kept here.
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
"""Fields, each counted once however often it occurs."""

EXPLAINED = (
    (r"@\d+\.\d+\.\d+\.\d+>?\Z", "an IP address without brackets is no domain, and has no records"),
    (r"\{\{", "a template, with no domain in it"),
    (r"\\@", "malformed, and Python finds no address; each domain that may be meant is asked for"),
    (r"\A[^\s\"<>]+@[^\s\"<>]+ <", "a name that has an @ in it and no quotes: each domain that is named is asked for"),
    (r"\A\. <", "Python's parser fails at a name that is a dot"),
    (r"&lt;", "HTML in place of an address: what a reader may take for the address is asked for"),
    (r"\[mailto:", "a link after the address; Python takes the bracket for a part of the domain"),
)
"""Fields that differ, by a regular expression, and why."""


def main() -> int:
    """Read and compare the fields; returns the exit status."""
    fields: dict[str, str] = {}
    count = Counter[str]()
    for place in [*(sdist.fetched() for sdist in SDISTS), _mail.PYTHON]:
        if not place.exists():
            print(f"{place} is not installed, and not looked at")
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
        print(f"{source}: {field!r}: {_told(found)}; Python: {theirs}. {why or 'NOT EXPLAINED'}")
    print(f"{count['found']} From fields, {len(fields)} of them different from each other:", end=" ")
    print(", ".join(f"{count[naming]} {naming.value}" for naming in Naming), end="; ")
    print(f"{count['as Python']} as Python, {count['different, explained']} explained, {count['different']} not")
    return 1 if count["different"] or len(fields) < FEWEST else 0


def _from_fields(place: Path) -> Iterator[str]:
    """The values of all From fields, also in messages in messages, with line ends as SMTP has them."""
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.suffix not in NO_MAIL:
            for value in re.findall(rb"(?im)^From[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", path.read_bytes()):
                yield re.sub(r"\r?\n", "\r\n", value.strip().decode("utf-8", "replace"))


def _by_python(field: str) -> list[set[str]]:
    """The domains that `email.utils` and `email.headerregistry` find."""
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


def _told(found: Authors) -> str:
    return f"{found.naming.value} {', '.join(found.domains)}".strip()


if __name__ == "__main__":
    sys.exit(main())
