"""The pages that say whether the server works, for load balancers and supervisors. They need no credentials."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import waypost
from waypost.app import inspection_schema as schema
from waypost.app import ports

READY_SECONDS = 2.0
"""The maximum time, in seconds, that the store may take to answer a readiness check."""


class HealthPages:
    """The pages `health` and `ready`."""

    def __init__(self, store: ports.Store) -> None:
        self._store = store

    async def health(self, _: Request) -> Response:
        """Respond with 200 as long as the server process is running, even if the store is unavailable."""
        return JSONResponse(schema.Health(status="ok", version=waypost.__version__))

    async def ready(self, _: Request) -> Response:
        """Respond with 200 if the store takes writes. A load balancer can use this page to find out whether the server
        can accept calls and mail. The write changes nothing.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._store.write(lambda tx: tx.has_instance_alias(""))
        except TimeoutError as error:
            raise ports.StoreUnavailable(f"the store did not answer in {READY_SECONDS:g} s") from error
        return JSONResponse(schema.Ready(status="ready"))
