"""The page that checks the server, as `waypost doctor` does. It makes connections only after a form was sent."""

from collections.abc import Sequence
from datetime import datetime

from starlette.responses import Response

from waypost.app.inspection_schema import Finding
from waypost.console.visits import Visit

_LEVELS = ("problem", "warning", "ok")
"""The levels of findings, in the order in which the page shows them."""


async def show(visit: Visit) -> Response:
    """Show a form that starts the checks."""
    return visit.page("doctor.html", findings=None)


async def check(visit: Visit) -> Response:
    """Run the checks, and show what they found.

    The page comes at once and not by a redirect, because another process, without the results, could get the next
    request.
    """
    found = await visit.parts.check_server()
    return visit.page(
        "doctor.html",
        findings=in_order(found["findings"]),
        checked_at=datetime.fromisoformat(found["checked_at"]),
        counts={level: sum(one["level"] == level for one in found["findings"]) for level in _LEVELS},
    )


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with the most serious first, and otherwise in the order of the checks."""
    return sorted(findings, key=lambda one: _LEVELS.index(one["level"]))
