"""The page with the settings in force. Secret values are hidden."""

from starlette.responses import Response

from waypost.console.visits import Visit

READ_SETTINGS = "waypost:ReadSettings"
"""The IAM action for reading the server's settings. The access key must also belong to the server owner's account."""


async def show(visit: Visit) -> Response:
    """Show the settings in force."""
    return visit.page("settings.html", settings=visit.parts.settings)
