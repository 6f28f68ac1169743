"""Decodes public Subjects, and compares the results with the results of other decoders (`make corpora`).

The mail comes from the tests of other projects (PyPI, npm). Its Subjects are compared with the results of the two
decoders in Python's `email` package. The fields in the tests of rfc2047 (npm) are compared with the expectations of
these tests. The script fails if a difference is not explained here.
"""

import ast
import email.errors
import email.header
import email.policy
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.corpora import _mail
from scripts.corpora._fetched import Sdist
from scripts.corpora._fetched_npm import Package
from waypost.domain.mail import messages

SDISTS = (
    *_mail.SDISTS,
    Sdist("roundup", "2.6.0", "12fd8fb806047415f22131f965c6ab4026a28dc63f7054e055c8f891950591d4"),
    Sdist("mailbits", "0.2.3", "13140be94825d440986dee0a6e653d81d3b4df4b0059fbdb6d78ba8ccb0c4ec0"),
)
RFC2047 = Package(
    "rfc2047", "4.0.1", "x5zHBAZtSSZDuBNAqGEAVpsQFV+YUluIkMWVaYRMEeGoLPxNVMmg67TxRnXwmRmCB7QaneyrkWXeKqbjfcK6RA=="
)
FEWEST = 200
"""The minimum number of different Subjects."""

_FIELD = re.compile(rb"^subject[ \t]*:((?:[^\n]|\n(?=[ \t]))*)", re.IGNORECASE | re.MULTILINE)
_NO_MAIL = {".gz", ".html", ".js", ".json", ".md", ".po", ".rst"}
_CODE = re.compile(rb"[{}\\]|%[(sd]")
"""Characters that show that a line with `Subject:` in a Python file is code, not mail."""

_STRING = r"'((?:[^'\\\n]|\\.)*)'"
_EXPECTATION = re.compile(rf"{_STRING},\s*'(to decode to|to encode back and forth to)',\s*{_STRING}")

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_WINDOWS = {octet: bytes((octet,)).decode("cp1252", "replace") for octet in range(0x80, 0xA0)}
_OF_JIS = str.maketrans("〜‖−¢£¬", "～∥－￠￡￢")

EXPLAINED: dict[str, Callable[[bytes, str, str], bool]] = {
    "neither UTF-8 nor encoded: Waypost reads windows-1252, and Python returns U+FFFD": lambda raw, ours, theirs: (
        "\ufffd" in theirs and not is_utf_8(raw) and ours == raw.decode("cp1252", "replace")
    ),
    "Python adds spaces around encoded words": lambda _, ours, theirs: "".join(ours.split()) == "".join(theirs.split()),
    "iso-8859-1 means windows-1252 (WHATWG)": lambda _, ours, theirs: ours == theirs.translate(_WINDOWS),
    "a control character becomes U+FFFD": lambda _, ours, theirs: ours == _CONTROL.sub("\ufffd", theirs),
    "gb2312 means GBK (WHATWG): Python fails, or omits characters": lambda raw, ours, theirs: (
        b"=?gb2312?" in raw.lower() and "\ufffd" not in ours and (not theirs or "\ufffd" in theirs)
    ),
    "Python fails at bytes that are invalid in their charset": lambda _, ours, theirs: not theirs and "\ufffd" in ours,
    "an incomplete character becomes U+FFFD; rfc2047 does not decode its word": lambda _, ours, theirs: (
        "\ufffd" in ours and "=?" in theirs
    ),
    "the minus sign of JIS X 0208 is U+FF0D (WHATWG)": lambda _, ours, theirs: ours == theirs.translate(_OF_JIS),
}
"""The reasons for differences. Each has a condition on the bytes, Waypost's result and the other result (empty if the
other decoder fails)."""


def main() -> None:
    """Compare the results, and exit with 1 if a difference is not explained."""
    mail = sorted(set(subjects()))
    readers = {"make_header": by_make_header, "headerregistry": by_header_registry}
    comparisons = [(raw, name, reader(raw)) for raw in mail for name, reader in readers.items()]
    comparisons += [(raw, "rfc2047", theirs) for raw, theirs in expectations()]
    tally: Counter[str] = Counter()
    for raw, name, theirs in comparisons:
        ours = messages.read_header(b"Subject: " + raw + b"\r\n\r\n").subject
        what = "the same" if ours == theirs else explanation(raw, ours, theirs)
        tally[what] += 1
        if ours != theirs:
            print(f"{raw!r}\n    Waypost: {ours!r}\n    {name}: {theirs!r}\n    {what or 'NOT EXPLAINED'}")
    print(
        f"\n{len(mail)} Subjects of mail, {sum(b'=?' in raw for raw in mail)} of them encoded; "
        f"{len(comparisons)} comparisons"
    )
    for what, number in tally.most_common():
        print(f"{number:5}  {what or 'NOT EXPLAINED'}")
    if tally[""] or len(mail) < FEWEST:
        sys.exit(f"{tally['']} differences are not explained; at least {FEWEST} Subjects are required")


def explanation(raw: bytes, ours: str, theirs: str) -> str:
    """Return the reason for a difference; empty if no reason is known."""
    return next((why for why, is_it in EXPLAINED.items() if is_it(raw, ours, theirs)), "")


def subjects() -> Iterator[bytes]:
    """Yield the values of all Subject fields, folded with CRLF, as SMTP transfers them."""
    folders = [*(sdist.fetched() for sdist in SDISTS), _mail.PYTHON]
    for path in sorted(path for folder in folders for path in folder.rglob("*") if is_mail(path)):
        for found in _FIELD.finditer(path.read_bytes().replace(b"\r\n", b"\n")):
            value = found[1].strip().replace(b"\n", b"\r\n")
            if value and not (path.suffix == ".py" and _CODE.search(value)):
                yield value


def is_mail(path: Path) -> bool:
    """Return whether a file of a package may contain mail."""
    return path.is_file() and path.suffix not in _NO_MAIL and "test" in str(path)


def is_utf_8(octets: bytes) -> bool:
    """Return whether the bytes are valid UTF-8."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def by_make_header(raw: bytes) -> str:
    """Return the result of Python's old decoder; empty if it fails."""
    try:
        field = email.message_from_bytes(b"Subject: " + raw + b"\r\n\r\n", policy=email.policy.compat32)["subject"]
        return unfolded(str(email.header.make_header(email.header.decode_header(field))))
    except (email.errors.MessageError, LookupError, ValueError):
        return ""


def by_header_registry(raw: bytes) -> str:
    """Return the result of Python's decoder with the newer policies."""
    return unfolded(
        str(email.message_from_bytes(b"Subject: " + raw + b"\r\n\r\n", policy=email.policy.default)["subject"])
    )


def unfolded(text: str) -> str:
    """Return the text without the line ends that Python leaves in it."""
    return re.sub(r"\r?\n(?=[ \t])", "", text).strip()


def expectations() -> Iterator[tuple[bytes, str]]:
    """Yield the fields in the tests of rfc2047, with the expected results."""
    folder = RFC2047.fetched()
    if folder is None:
        return
    for found in _EXPECTATION.finditer((folder / "package" / "test" / "rfc2047.js").read_text(encoding="utf-8")):
        first, second = (ast.literal_eval(f"'{text}'") for text in (found[1], found[3]))
        field, text = (first, second) if found[2] == "to decode to" else (second, first)
        if field == field.strip():
            yield field.encode(), text


if __name__ == "__main__":
    main()
