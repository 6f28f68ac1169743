"""The checks of a running server by the server itself, for the console and the inspection API.

The checks take some seconds and make connections. So only one run takes place at a time in each process, and its
results are kept for a short time: requests cannot make more load than that.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from waypost.app import inspection_schema as schema
from waypost.app.mail.routes import list_routes
from waypost.config.settings import Settings
from waypost.domain import errors
from waypost.domain.mail.routes import Route
from waypost.host.clock import now
from waypost.host.directory_files import DataDirectoryError
from waypost.server.assembly.common import Common
from waypost.server.doctor.report import report

if TYPE_CHECKING:
    from waypost.server.doctor.facts import CheckedServer

KEPT = 10.0
"""How many seconds after the end of a run its results answer further requests."""


class OwnChecks:
    """Checks the server that this process belongs to, with the settings in use."""

    def __init__(self, common: Common, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = common.store
        self._settings = common.settings
        self._monotonic = monotonic
        self._one_at_a_time = asyncio.Lock()
        self._kept: schema.Diagnosis | None = None
        self._kept_until = float("-inf")
        common.when_reloaded(self._use)

    def _use(self, settings: Settings) -> None:
        self._settings = settings
        self._kept = None

    async def run(self) -> schema.Diagnosis:
        """Run the checks, or return the results of a run that has just ended. Raises `errors.Conflict` if the server is
        not ready to be checked.
        """
        async with self._one_at_a_time:
            if self._kept is None or self._monotonic() >= self._kept_until:
                found = await self._run()
                self._kept, self._kept_until = found, self._monotonic() + KEPT
            return self._kept

    async def _run(self) -> schema.Diagnosis:
        try:
            checked = await asyncio.to_thread(self._checked_server)
        except DataDirectoryError as error:
            raise errors.Conflict(str(error)) from error
        if checked.run is None:
            raise errors.Conflict("The server is starting or stopping, so it cannot be checked. Try again.")
        from waypost.server.doctor.facts import examine  # noqa: PLC0415 - most servers never check themselves

        return report(await examine(checked), now=now())

    def _checked_server(self) -> "CheckedServer":
        from waypost.server.doctor.facts import CheckedServer  # noqa: PLC0415 - as above

        return CheckedServer.of(self._settings, self._stored_routes)

    async def _stored_routes(self) -> Sequence[Route]:
        return await self._store.long_read(list_routes, what="the routes")
