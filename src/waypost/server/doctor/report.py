"""The results of the checks of a server, as JSON has them."""

from collections.abc import Sequence
from datetime import datetime

from waypost.app import inspection_schema as schema
from waypost.domain import moments
from waypost.server.doctor.checks import Finding, Level


def report(findings: Sequence[Finding], *, now: datetime) -> schema.Diagnosis:
    """Return the findings of checks that ended at `now`, for `waypost doctor --json` and the inspection API."""
    return schema.Diagnosis(
        is_healthy=not any(one.level is Level.PROBLEM for one in findings),
        checked_at=moments.iso8601(now),
        findings=[schema.Finding(check=one.check, level=one.level, text=one.text) for one in findings],
    )
