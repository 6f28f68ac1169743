"""The first page after the sign-in."""

from starlette.responses import Response

from waypost.console.visits import Visit


async def show(visit: Visit) -> Response:
    """Send the person to the first page that there is."""
    return visit.redirect("/keys")
