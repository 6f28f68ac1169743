"""The stored routes, which operators manage with commands."""

from collections.abc import Sequence
from typing import Protocol

from waypost.domain.mail.routes import Route


class ReadRoutes(Protocol):
    """Methods that read routes."""

    def routes_revision(self) -> str:
        """Return the revision of the current routes, or an empty string if no route has ever been added."""
        ...

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        """Return the routes that were added with commands, in order of precedence.

        `revision` is the revision that the caller needs. If the requested revision is outdated, the returned routes may
        be newer.
        """
        ...


class WriteRoutes(Protocol):
    """The method that changes routes."""

    def put_routes(self, routes: Sequence[Route], *, revision: str) -> None:
        """Replace all routes that were added with commands, and store the revision of the new routes.

        The store encrypts the routes' secrets.
        """
        ...
