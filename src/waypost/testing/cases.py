"""A mixin for test cases of `unittest`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from waypost.testing.kit import Waypost
from waypost.testing.shared import SERVERS

if TYPE_CHECKING:
    from unittest import TestCase as _Base
else:
    _Base = object


class WaypostMixin(_Base):
    """Gives each test of a `unittest.TestCase` an empty server, as `self.waypost`. Name it before `TestCase`.

    All tests of a process share the server, so tests in different processes do not affect each other. A class whose
    `setUp` does something else must call `super().setUp()`.
    """

    waypost: Waypost
    """The kit of the server."""

    waypost_settings: ClassVar[Mapping[str, Any]] = {}
    """The settings of the server, as the arguments of `Waypost`."""

    waypost_environment: ClassVar[bool] = False
    """Whether the environment variables point boto3 at the server during each test."""

    def setUp(self) -> None:
        """Empty the server."""
        self.waypost = self.enterContext(SERVERS.used(self.waypost_settings))
        if self.waypost_environment:
            self.enterContext(self.waypost.environment())
        super().setUp()
