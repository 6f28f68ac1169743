"""The page with which a test makes its server forget everything."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app.deployment import Deployment
from waypost.domain import errors
from waypost.inspection import guard, requests

Reset = Callable[[], Awaitable[str]]
"""Forgets everything, and returns the id of the instance that is left."""


class ResettingPage:
    """The page that forgets everything."""

    def __init__(self, deployment: Deployment, reset: Reset | None) -> None:
        """`reset` is None if the server is not for tests."""
        self._deployment = deployment
        self._reset = reset

    async def reset(self, request: Request, account: str) -> Response:
        """Forget everything that was made since the first start, and respond with the instance that is left."""
        guard.refuse_others(
            self._deployment.owner, account, "reset the server", "everything of every account is deleted"
        )
        await requests.json_body(request, members=())
        if self._reset is None:
            raise errors.Conflict("This server is not for tests. Only a server that has --testing yes can be reset.")
        return JSONResponse(schema.WasReset(instance=await self._reset()))
