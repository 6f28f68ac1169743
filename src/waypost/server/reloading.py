"""Reads the settings again, and decides which changes a running server can use."""

from collections.abc import Callable

from msgspec.structs import replace

from waypost.config import changes
from waypost.config.settings import Settings
from waypost.config.types import BadSetting
from waypost.domain.mail import routes
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError
from waypost.host.run_file import Run
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.server import routes_check
from waypost.server.assembly.common import routes_of_settings
from waypost.server.opening import Refused

Reread = Callable[[], Settings]
"""Reads the settings again from all of their sources. Raises `BadSetting`."""


async def new_settings(
    before: Settings, reread: Reread, server: routes_check.OurServer, emit: events.Emit
) -> Settings | None:
    """Return the settings that a running server must use from now on; None if there is a mistake in the new settings.

    The result differs from `before` only where a setting can be reloaded. The function logs the changes, the changes
    that need a restart, and the place of a mistake. `server` is the running server, to which no route may lead.
    """
    try:
        after = reread()
        await routes_check.refuse_loops(routes_of_settings(after), server)
    except BadSetting as error:
        emit(events.SettingsRefused(where=error.where))
        return None
    except Refused:
        emit(events.SettingsRefused(where=f"{after.config}: a route leads back to this server"))
        return None
    found = changes.between(before, after)
    if found.reloadable:
        emit(events.SettingsReloaded(settings=", ".join(found.reloadable)))
    if found.need_restart:
        emit(events.RestartNeeded(settings=", ".join(found.need_restart)))
    return changes.reloaded(before, after)


def announce(directory: DataDirectory, run: Run, emit: events.Emit) -> None:
    """Write `run.json` again. If this fails, log the error, because the server can continue."""
    try:
        directory.announce(run)
    except DataDirectoryError as error:
        Incidents(emit, of_store=()).report(error, where="reload")


def run_with(run: Run, settings: Settings) -> Run:
    """Return the description of a running server that now uses these settings."""
    return replace(
        run,
        routes=[routes.without_secret(route) for route in settings.routes],
        settings=dict(changes.digests(settings)),
    )
