"""The page with the settings in force. Secret values are hidden."""

from starlette.responses import Response

from waypost.console.visits import Visit


async def show(visit: Visit) -> Response:
    """Show the settings in force."""
    return visit.page("settings.html", settings=visit.parts.settings())
