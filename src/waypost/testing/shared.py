"""The servers that the tests of one process share: one for each set of settings, which is reset before each test."""

import atexit
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waypost.client.http import NoServer, ServerRefused
from waypost.testing import settings
from waypost.testing.kit import Waypost

MOST = 4
"""The maximum number of servers, unless more are in use at the same time. A server needs about 80 MB of memory."""


class _Shared:
    """A server, and what uses it."""

    def __init__(self, kit: Waypost) -> None:
        self.kit = kit
        self.users = 0
        """The number of `with` blocks that use the server."""
        self.is_kept = False
        """Whether a fixture uses the server until the tests end."""
        self.is_fresh = True
        """Whether nothing has used the server since its start."""

    def restart(self) -> None:
        """Start another server, with the same kit, because a fixture may have the kit."""
        self.kit.discard()
        self.kit.start()
        self.is_fresh = True


class Servers:
    """The servers of one process."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._servers: OrderedDict[str, _Shared] = OrderedDict()
        """The servers by their settings; the one that was used last is last."""
        self.log: Path | None = None
        """The file for the logs of servers that are started from now on; None for a temporary file for each."""
        self.last_used: Waypost | None = None
        """The server that was used last, for the report of a failed test. The pytest plugin resets it before each
        test.
        """

    @contextmanager
    def used(self, given: Mapping[str, Any]) -> Iterator[Waypost]:
        """Yield an empty server with these settings. In a `with` block inside another one with the same settings, yield
        the same server with everything that the outer block has made.
        """
        shared = self._shared(given)
        if shared.users == 0 and not shared.is_fresh:
            try:
                shared.kit.reset()
            except (NoServer, ServerRefused):  # otherwise, each of the following tests would fail too
                shared.restart()
        shared.is_fresh = False
        shared.users += 1
        try:
            yield shared.kit
        finally:
            shared.users -= 1

    def running(self, given: Mapping[str, Any]) -> Waypost:
        """Return the server with these settings, with everything that tests have made. It runs until `stop`."""
        shared = self._shared(given)
        shared.is_kept, shared.is_fresh = True, False
        return shared.kit

    def _shared(self, given: Mapping[str, Any]) -> _Shared:
        """Return the server with these settings. Start it if there is none, or if it has ended unexpectedly."""
        if self._process != os.getpid():  # the servers belong to the process that has forked this one
            self._process, self._servers = os.getpid(), OrderedDict()
        key = settings.key(settings.given(given))
        if key not in self._servers:
            self._make_room()
            self._servers[key] = _Shared(Waypost(log=self.log, **given).start())
        self._servers.move_to_end(key)
        shared = self._servers[key]
        if shared.users == 0 and not shared.kit.is_running:
            shared.restart()
        self.last_used = shared.kit
        return shared

    def _make_room(self) -> None:
        """Stop the servers that were not used for the longest time, if there are too many."""
        idle = [key for key, shared in self._servers.items() if shared.users == 0 and not shared.is_kept]
        for key in idle[: max(0, len(self._servers) - MOST + 1)]:
            self._servers.pop(key).kit.stop()

    def stop(self) -> None:
        """Stop all servers. A server that a test needs later is started again."""
        if self._process == os.getpid():
            while self._servers:
                self._servers.popitem()[1].kit.stop()


SERVERS = Servers()
"""The servers of this process."""

atexit.register(SERVERS.stop)
