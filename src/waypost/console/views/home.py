"""The first page after the sign-in."""

from starlette.responses import Response

from waypost.console.visits import Visit
from waypost.domain.iam.actions import INSPECT


async def show(visit: Visit) -> Response:
    """Send the person to the mail or, if the policy of the key does not allow that, to the keys."""
    return visit.redirect("/mail" if visit.allows(INSPECT) else "/keys")
