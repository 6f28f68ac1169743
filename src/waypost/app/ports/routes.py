"""The routes that commands manage."""

from collections.abc import Sequence
from typing import Protocol

from waypost.domain.mail.routes import Route


class ReadRoutes(Protocol):
    """Reads routes."""

    def routes_revision(self) -> str:
        """Which routes hold now."""
        ...

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        """The routes that were added by commands, in their order: of this revision, or the present ones if it is
        outdated.
        """
        ...


class WriteRoutes(Protocol):
    """Changes to routes."""

    def put_routes(self, routes: Sequence[Route], *, revision: str) -> None:
        """Replace all routes that were added by commands, and their revision. Their secrets are sealed."""
        ...
