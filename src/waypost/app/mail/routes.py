"""List, add and remove the routes that are managed with commands, as opposed to the routes in the settings file. Routes
are numbered from 1.
"""

from collections.abc import Sequence

from waypost.app import ports
from waypost.domain import errors
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Route


def list_routes(tx: ports.ReadTx) -> tuple[Route, ...]:
    """Return the routes that were added with commands, in order of precedence."""
    revision = tx.routes_revision()
    return tx.stored_routes(revision) if revision else ()


def add_route(tx: ports.WriteTx, route: Route, *, before: int | None, file_routes: Sequence[Route] = ()) -> int:
    """Add a route before the route with the number `before`, or after all routes if `before` is None. Returns the new
    route's number.

    `file_routes` are the routes from the settings file, which take precedence over all routes that were added with
    commands. Raises `errors.Invalid` for an invalid route, `errors.NotFound` if there is no route with the number
    `before`, and `errors.Conflict` if the new route or an existing route would never be used.
    """
    route = routes.checked(route)
    taker = next((each for each in file_routes if routes.never_used((each, route))), None)
    if taker:
        raise errors.Conflict(
            f"The route for {route.match} would be unused. The settings file has a route for {taker.match}. The "
            "route in the settings file comes first, and matches all mail that the new route would match."
        )
    tx.hold("routes")
    found = list(list_routes(tx))
    place = len(found) if before is None else _place(found, before)
    found.insert(place, route)
    useless = routes.never_used(found)
    if useless:
        never, because = useless
        raise errors.Conflict(
            f"Route {never + 1}, for {found[never].match}, would be unused. Route {because + 1}, for "
            f"{found[because].match}, comes first. The earlier route matches all mail that the later route "
            "matches. Choose a position with --before, or remove one of the two routes."
        )
    _put(tx, found)
    return place + 1


def remove_route(tx: ports.WriteTx, number: int) -> Route:
    """Remove a route, and return it. The numbers of all later routes decrease by one. Raises `errors.NotFound`."""
    tx.hold("routes")
    found = list(list_routes(tx))
    removed = found.pop(_place(found, number))
    _put(tx, found)
    return removed


def _place(found: Sequence[Route], number: int) -> int:
    """Return the list index of the route with a given number. Raises `errors.NotFound` if there is no such route."""
    if not 1 <= number <= len(found):
        raise errors.NotFound(f"There is no route {number}. Commands have set {_how_many(len(found))}.")
    return number - 1


def _how_many(count: int) -> str:
    return f"{count or 'no'} {'route' if count == 1 else 'routes'}"


def _put(tx: ports.WriteTx, found: Sequence[Route]) -> None:
    tx.put_routes(found, revision=routes.revision(found) if found else "")
