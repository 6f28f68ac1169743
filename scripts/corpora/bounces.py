"""Reads public bounces, and compares what is read of them with what their own projects expect (`make corpora`).

The bounces are those of the tests of flufl.bounce (PyPI), which Mailman uses, and of baunsu (npm). A difference that is
not explained here fails, and so does an explanation of a difference that is no more.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.corpora._fetched_npm import Package
from scripts.corpora._mail import FLUFL
from waypost.domain.dsn import reports
from waypost.domain.dsn.notices import Action

BAUNSU = Package(
    "baunsu", "0.2.3", "GAfhGakOVMIeBaPH70Iu3MZycb/7aWWruJXMw+54HVlVi0hiYY2qMQrsui8Q1UiYIHw/SiDhaZ839ghhoJGAtQ=="
)

FREE_TEXT = "a text for people, with no part for programs: nothing is concluded from it, on purpose"
NO_RECIPIENT = "its part for programs names no recipient; the other takes them from the text for people"
ORIGINAL = "the other tells the Original-Recipient; we tell the Final-Recipient, whom the report is about"
NOT_ASKED = "the other's test asks another detector than the one for reports, and expects it to find nothing"

EXPLAINED = {
    "caiwireless_01.txt": NO_RECIPIENT,
    "dsn_01.txt": ORIGINAL,
    "dsn_02.txt": ORIGINAL,
    "dsn_04.txt": ORIGINAL,
    "dsn_09.txt": ORIGINAL,
    "dsn_17.txt": ORIGINAL,
    "netscape_01.txt": NO_RECIPIENT,
    "simple_13.txt": NO_RECIPIENT,
    "simple_31.txt": NO_RECIPIENT,
    "simple_42.txt": NOT_ASKED,
}
"""Why we and the other differ about a bounce. `FREE_TEXT` is not listed: that no part is for programs is looked up."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """A message, and what its own project expects to be read of it."""

    name: str
    octets: bytes
    """With CRLF, as SMTP brings it."""
    expected: str
    """`failed`, `delayed`, or empty where nothing is expected."""
    recipients: frozenset[str] | None
    """Those that failed or are delayed; None where the project does not say."""


def main() -> None:
    """Compare, and end with 1 if a difference is not explained."""
    tally: Counter[str] = Counter()
    unexplained, unused = [], set(EXPLAINED)
    for bounce in [*flufl(), *baunsu()]:
        report = reports.read_report(bounce.octets)
        ours = f"{report.action or 'unknown'} {report.status} {report.final_recipient}" if report else "nothing"
        theirs = f"{bounce.expected or 'nothing'} {' '.join(sorted(bounce.recipients or ()))}"
        what = "the same" if agree(report, bounce) else explanation(report, bounce)
        print(f"{bounce.name:24} {ours:60} | {theirs}  ({what or 'NOT EXPLAINED'})")
        tally[what] += 1
        unused -= {bounce.name} if what == EXPLAINED.get(bounce.name) else set()
        unexplained += [] if what else [bounce.name]
    print(f"\n{tally.total()} messages")
    for sentence, number in tally.most_common():
        print(f"{number:5}  {sentence or 'NOT EXPLAINED'}")
    if unexplained or unused:
        sys.exit(f"Not explained: {unexplained}. Explained, but no different: {sorted(unused)}")


def agree(report: reports.Report | None, bounce: Bounce) -> bool:
    """Whether we read what is expected."""
    ours = report.action if report and report.action in {Action.FAILED, Action.DELAYED} else ""
    if ours != bounce.expected:
        return False
    return report is None or bounce.recipients is None or report.final_recipient.lower() in bounce.recipients


def explanation(report: reports.Report | None, bounce: Bounce) -> str:
    """Why there is a difference; empty where nothing explains it."""
    is_for_programs = re.search(rb"\ncontent-type:\s*message/delivery-status", bounce.octets, re.IGNORECASE)
    return FREE_TEXT if report is None and not is_for_programs else EXPLAINED.get(bounce.name, "")


def flufl() -> Iterator[Bounce]:
    """The bounces of flufl.bounce, with the table of its tests."""
    (folder,) = FLUFL.fetched().glob("*/tests")
    expected: dict[str, tuple[str, set[str]]] = {}
    tests = ast.parse((folder / "test_detectors.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tests.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["DETECTORS"]
    )
    for _, name, recipients, is_temporary in ast.literal_eval(table):
        if recipients:
            told = {recipient.decode().lower() for recipient in recipients}
            expected[name] = ("delayed" if is_temporary else "failed", told)
    for path in sorted((folder / "data").glob("*.txt")):
        action, told = expected.get(path.name, ("", set()))
        yield Bounce(path.name, with_crlf(path.read_bytes()), action, frozenset(told))


def baunsu() -> Iterator[Bounce]:
    """The messages of baunsu, whose tests expect of each `bounce_*` that it failed for good."""
    folder = BAUNSU.fetched()
    for path in sorted(folder.glob("package/tests/emails/*.txt")) if folder else ():
        action = "failed" if path.name.startswith("bounce_") else ""
        yield Bounce(path.name, with_crlf(path.read_bytes()), action, None)


def with_crlf(octets: bytes) -> bytes:
    """The octets with the line ends of SMTP."""
    return re.sub(rb"\r?\n", b"\r\n", octets)


if __name__ == "__main__":
    main()
