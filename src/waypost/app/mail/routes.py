"""List, add, move and remove the routes that are managed with commands or in the console, as opposed to the routes in
the settings file. Routes are numbered from 1.
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
    _refuse_useless(found)
    _put(tx, found)
    return place + 1


def remove_route(tx: ports.WriteTx, number: int, *, expected: str = "") -> Route:
    """Remove a route, and return it. The numbers of all later routes decrease by one. Raises `errors.NotFound`.

    `expected` is the log name of the route that the caller means. If the route with this number is another one by now,
    the function raises `errors.Conflict`. If `expected` is empty, this is not checked.
    """
    found = _held(tx, number, expected)
    removed = found.pop(number - 1)
    _put(tx, found)
    return removed


def move_route(tx: ports.WriteTx, number: int, *, to: int, expected: str = "") -> Route:
    """Give a route the number `to`, and return the route. The routes in between move by one place.

    `expected` has the same meaning as in `remove_route`. Raises `errors.NotFound` if there is no route with one of the
    two numbers, and `errors.Conflict` if a route would then never be used.
    """
    found = _held(tx, number, expected)
    place = _place(found, to)
    moved = found.pop(number - 1)
    found.insert(place, moved)
    _refuse_useless(found)
    _put(tx, found)
    return moved


def _held(tx: ports.WriteTx, number: int, expected: str) -> list[Route]:
    """Return all routes, which no other transaction changes until this one ends. Raises `errors.NotFound`, or
    `errors.Conflict` if the route with a given number is not the `expected` one.
    """
    tx.hold("routes")
    found = list(list_routes(tx))
    held = found[_place(found, number)]
    if expected and held.log_name != expected:
        raise errors.Conflict("The routes have changed in the meantime. Look at the list, and try again.")
    return found


def _refuse_useless(found: Sequence[Route]) -> None:
    """Raise `errors.Conflict` if one of the routes would never be used."""
    useless = routes.never_used(found)
    if useless:
        never, because = useless
        raise errors.Conflict(
            f"Route {never + 1}, for {found[never].match}, would be unused. Route {because + 1}, for "
            f"{found[because].match}, comes first. The earlier route matches all mail that the later route "
            "matches. Choose a position with --before, or remove one of the two routes."
        )


def _place(found: Sequence[Route], number: int) -> int:
    """Return the list index of the route with a given number. Raises `errors.NotFound` if there is no such route."""
    if not 1 <= number <= len(found):
        raise errors.NotFound(f"There is no route {number}. Commands have set {_how_many(len(found))}.")
    return number - 1


def _how_many(count: int) -> str:
    return f"{count or 'no'} {'route' if count == 1 else 'routes'}"


def _put(tx: ports.WriteTx, found: Sequence[Route]) -> None:
    tx.put_routes(found, revision=routes.revision(found) if found else "")
