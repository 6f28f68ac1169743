"""The routes that were set by command: where mail is delivered."""

from collections.abc import Sequence
from typing import Protocol

from waypost.domain.mail.routes import Route


class ReadRoutes(Protocol):
    """Routes, as they are read."""

    def routes_revision(self) -> str:
        """Which routes hold now."""
        ...

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        """The routes that were set by command, in their order: of this revision, or of now if it holds no more."""
        ...


class WriteRoutes(Protocol):
    """Changes to routes."""

    def put_routes(self, routes: Sequence[Route], *, revision: str) -> None:
        """Replace all routes that were set by command, and their revision. Their secrets are sealed."""
        ...
