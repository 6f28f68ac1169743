"""The routes that were set by command in a transaction, their secrets sealed."""

from collections.abc import Sequence

from waypost.domain.mail.routes import Route
from waypost.store.common import rows
from waypost.store.common.statements import Seal, Statements

_ROUTES_REVISION = "routes revision"


class RouteQueries(Statements):
    """A part of `Transaction`, which is described in `app/ports/` like the rest of it."""

    def __init__(self, seal: Seal) -> None:
        super().__init__(seal)
        # All mail is delivered by the routes, which nearly never change.
        self._routes: tuple[str, tuple[Route, ...]] = ("", ())
        """The routes that were read last, with their revision."""

    def routes_revision(self) -> str:
        row = self._one("mark", _ROUTES_REVISION)
        return rows.revision(row[0]) if row else ""

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        if revision != self._routes[0]:
            found = self._all("routes")
            routes = tuple(rows.route(row[1:], self._seal.unseal) for row in found if row[1])
            self._routes = (rows.revision(found[0][0]) if found else "", routes)
        return self._routes[1]

    def put_routes(self, routes: Sequence[Route], *, revision: str) -> None:
        self._run("put_mark", _ROUTES_REVISION, revision.encode())  # held: others replace the routes after this
        self._run("remove_routes")
        self._run_each("add_route", [rows.of_route(n, route, self._seal.seal) for n, route in enumerate(routes)])
