"""A transaction's queries for the routes that operators manage with commands. The routes' secrets are stored
encrypted.
"""

from collections.abc import Sequence

from waypost.domain.mail.routes import Route
from waypost.store.common import rows
from waypost.store.common.statements import Seal
from waypost.store.common.transaction.seals import SealQueries

_ROUTES_REVISION = "routes revision"


class RouteQueries(SealQueries):
    """The part of `Transaction` that handles routes. The methods are documented in `app/ports/routes.py`."""

    def __init__(self, seal: Seal) -> None:
        super().__init__(seal)
        # Every message needs the routes, but they rarely change, so the transaction caches them.
        self._routes: tuple[str, tuple[Route, ...]] = ("", ())
        """The revision of the cached routes, and the routes themselves."""

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
        self._run("put_mark", _ROUTES_REVISION, revision.encode())  # locks the routes
        self._run("remove_routes")
        self._run_each("add_route", [rows.of_route(n, route, self._sealed) for n, route in enumerate(routes)])

    def reseal_routes(self) -> int:
        revision = self.routes_revision()
        if not revision:
            return 0
        self._run("put_mark", _ROUTES_REVISION, revision.encode())  # locks the routes, in the order of `put_routes`
        found = [row[1:] for row in self._all("routes") if row[1]]
        changed = [
            (n, self._sealed(route.secret, rows.context_of_route(route)))
            for n, (row, route) in enumerate((row, rows.route(row, self._seal.unseal)) for row in found)
            if self._is_old(rows.sealed_of_route(row))
        ]
        self._run_each("reseal_route", changed)
        return len(changed)
