"""The page with the metrics, and the small application that serves it on a listener of its own (`--metrics`)."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from waypost.inspection import guard
from waypost.inspection.guard import Guard
from waypost.inspection.health import HealthPages

Rendered = Callable[[str], Awaitable[tuple[bytes, str]]]
"""A function that returns the metrics as text, and their media type, for the Accept field of a request."""


class MetricsPage:
    """The page with the metrics of the whole server."""

    def __init__(self, rendered: Rendered, *, owner: str) -> None:
        """`owner` is the account that owns the server."""
        self._rendered = rendered
        self._owner = owner

    async def metrics(self, request: Request, account: str) -> Response:
        """Respond with all metrics. `account` must be the owner's, because the metrics count the mail of all
        accounts.
        """
        guard.refuse_others(self._owner, account, "read the metrics", "they count the mail of all accounts")
        body, media_type = await self._rendered(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})


def application(keeper: Guard, health: HealthPages, page: MetricsPage, *, owner: str, prefix: str) -> Starlette:
    """Return the application for a listener that only monitoring programs can reach. It has the metrics and the pages
    on the server's health below `prefix`, and needs no credentials.
    """

    async def metrics(request: Request) -> Response:
        keeper.refuse_other_origins(request)
        return await page.metrics(request, owner)

    pages = {"/health": health.health, "/ready": health.ready, "/metrics": metrics}
    routes = [Route(f"{prefix}{path}", keeper.open(answer)) for path, answer in pages.items()]
    routes.append(Route("/metrics", keeper.open(metrics)))  # the path that Prometheus uses by default
    handlers: dict[Any, Any] = {HTTPException: guard.http_error}
    listed = ", ".join(route.path for route in routes)
    router = Router(routes=routes, redirect_slashes=False, default=guard.refusal(404, f"The paths are {listed}."))
    return Starlette(routes=[Mount("", app=router)], exception_handlers=handlers)
