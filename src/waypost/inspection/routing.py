"""The pages that list, add and remove routes. Only the server's owner may use them, because routes name the email
addresses of every account.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import routes
from waypost.domain import errors
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls, checked, without_secret
from waypost.inspection import guard, requests

MEMBERS = (
    "match",
    "to",
    "keep",
    "tls",
    "user",
    "secret",
    "rewrite_sender",
    "allow_private",
    "connections",
    "line_ends",
    "fault",
)
"""The members of a route in a request: the keys of `[[route]]` in the settings file, with the secret itself."""

_BECAUSE = "routes apply to the mail of every account"

_Choice = TypeVar("_Choice", bound=StrEnum)


class RoutePages:
    """The pages for routes.

    Each page is a method with two arguments: the request, and the account of its access key.
    """

    def __init__(self, store: ports.Store, deployment: Deployment) -> None:
        self._store = store
        self._deployment = deployment

    async def routes(self, _: Request, account: str) -> Response:
        """Respond with all routes, in the order in which they are matched."""
        guard.refuse_others(self._deployment.owner, account, "read the routes", _BECAUSE)
        stored = await guard.long_read(
            self._store, routes.list_routes, account=account, what="the routes", instead=guard.AGAIN
        )
        found = [_listed(route, None) for route in self._deployment.routes]
        found += [_listed(route, number) for number, route in enumerate(stored, 1)]
        return JSONResponse(schema.Routes(routes=found))

    async def add_route(self, request: Request, account: str) -> Response:
        """Add a route for mail that arrives from now on. The server does not check that its target can be reached."""
        guard.refuse_others(self._deployment.owner, account, "add routes", _BECAUSE)
        body = await requests.json_body(request, members=(*MEMBERS, "before"))
        before = requests.number(body, "before")
        route = checked(_route(body))
        add = partial(routes.add_route, route=route, before=before, file_routes=self._deployment.routes)
        # The response does not read the list again, because other requests may have changed it already.
        return JSONResponse(_listed(route, await self._store.write(add)))

    async def remove_route(self, request: Request, account: str) -> Response:
        """Remove a route. The numbers of all later routes decrease by one."""
        guard.refuse_others(self._deployment.owner, account, "remove routes", _BECAUSE)
        number = requests.part_number(request.path_params["number"], "the number of a route")
        expected = requests.text(request.query_params, "name") or ""
        removed = await self._store.write(partial(routes.remove_route, number=number, expected=expected))
        return JSONResponse(_listed(removed, number))


def _listed(route: Route, number: int | None) -> schema.ListedRoute:
    return {"number": number, **without_secret(route)}  # type: ignore[typeddict-item]


def _route(body: Mapping[str, Any]) -> Route:
    """Return the route in a request. Raises `errors.Invalid`."""
    given: dict[str, Any] = {name: requests.text(body, name) for name in ("match", "to", "user", "secret")}
    given |= {name: requests.flag(body, name) for name in ("keep", "rewrite_sender", "allow_private") if name in body}
    given["connections"] = requests.number(body, "connections")
    given["tls"] = _choice(Tls, body, "tls")
    given["line_ends"] = _choice(LineEnds, body, "line_ends")
    given["fault"] = _choice(Fault, body, "fault")
    given = {name: value for name, value in given.items() if value is not None}
    for name in ("match", "to"):
        if name not in given:
            raise errors.Invalid(f"The member `{name}` is required, as in a route of the settings file.")
    return Route(**given)


def _choice(choices: type[_Choice], body: Mapping[str, Any], name: str) -> _Choice | None:
    """Return the member of an enumeration; None if it is missing. Hyphens may replace the spaces in a value."""
    found = requests.text(body, name)
    if found is None:
        return None
    known = {choice.replace(" ", "-"): choice for choice in choices}
    try:
        return known[found.replace(" ", "-")]
    except KeyError as error:
        raise errors.Invalid(f"`{name}` must be {' or '.join(known)}, not {found!r}.") from error
