"""Parses public bounces, and compares the results with the expectations of the bounces' own projects (`make corpora`).

The bounces come from the tests of flufl.bounce (PyPI), which Mailman uses, and of baunsu (npm). The script fails if a
difference is not explained here, or if an explained difference no longer exists.
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

FREE_TEXT = "text for people, without a machine-readable part: Waypost ignores it intentionally"
NO_RECIPIENT = "its machine-readable part names no recipient; the other parser finds them in the text for people"
ORIGINAL = "the other parser returns the Original-Recipient; Waypost returns the Final-Recipient"
NOT_ASKED = "the other project tests a different detector, which is expected to find nothing"

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
"""The reason for each known difference, by file. `FREE_TEXT` is not listed, because the script detects that case."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """A message, and the result that its own project expects."""

    name: str
    octets: bytes
    """The message with CRLF as line end, as SMTP transfers it."""
    expected: str
    """`failed`, `delayed`, or empty if the project expects no result."""
    recipients: frozenset[str] | None
    """The recipients that failed or are delayed; None if the project has no expectation."""


def main() -> None:
    """Compare the results, and exit with 1 if a difference is not explained."""
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
        sys.exit(f"Not explained: {unexplained}. Explained, but no longer different: {sorted(unused)}")


def agree(report: reports.Report | None, bounce: Bounce) -> bool:
    """Return whether Waypost's result is the expected result."""
    ours = report.action if report and report.action in {Action.FAILED, Action.DELAYED} else ""
    if ours != bounce.expected:
        return False
    return report is None or bounce.recipients is None or report.final_recipient.lower() in bounce.recipients


def explanation(report: reports.Report | None, bounce: Bounce) -> str:
    """Return the reason for a difference; empty if no reason is known."""
    is_for_programs = re.search(rb"\ncontent-type:\s*message/delivery-status", bounce.octets, re.IGNORECASE)
    return FREE_TEXT if report is None and not is_for_programs else EXPLAINED.get(bounce.name, "")


def flufl() -> Iterator[Bounce]:
    """Yield the bounces of flufl.bounce, with the expectations from the table in its tests."""
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
            failed_or_delayed = {recipient.decode().lower() for recipient in recipients}
            expected[name] = ("delayed" if is_temporary else "failed", failed_or_delayed)
    for path in sorted((folder / "data").glob("*.txt")):
        action, failed_or_delayed = expected.get(path.name, ("", set()))
        yield Bounce(path.name, with_crlf(path.read_bytes()), action, frozenset(failed_or_delayed))


def baunsu() -> Iterator[Bounce]:
    """Yield the messages of baunsu, whose tests expect that each `bounce_*` is a permanent failure."""
    folder = BAUNSU.fetched()
    for path in sorted(folder.glob("package/tests/emails/*.txt")) if folder else ():
        action = "failed" if path.name.startswith("bounce_") else ""
        yield Bounce(path.name, with_crlf(path.read_bytes()), action, None)


def with_crlf(octets: bytes) -> bytes:
    """Return the message with CRLF as line end."""
    return re.sub(rb"\r?\n", b"\r\n", octets)


if __name__ == "__main__":
    main()
