"""A proxy before PostgreSQL that behaves like a bad network: it delays, cuts one or both ways, and resets connections.

It can also cut a connection in the middle of a COMMIT: before PostgreSQL gets it, or after PostgreSQL has carried it
out. Its target can change, as after a failover.
"""

import re

from tests.kit.stores.counting_proxy import CountingProxy

COMMIT = b"COMMIT\0"
PREPARED_COMMIT = re.compile(rb"P.{4}(\w+)\0COMMIT\0", re.DOTALL)
"""A message of PostgreSQL's protocol that gives a prepared COMMIT its name, which the client uses from then on."""


class Proxy(CountingProxy):
    """The proxy. `drops` names the ways in which bytes disappear: a set of "to server" and "to client"."""

    def __init__(self, target):
        super().__init__(target)
        self.drops = set()
        self._cuts_at_commit = None
        self.commits_cut = 0

    def lead_to(self, target):
        """Relay new connections to another server, and cut the others."""
        self._target = target
        self.cut()

    def cut_next_commit(self, when):
        """Cut a connection at its next COMMIT: "before" PostgreSQL gets it, or "after" it was carried out."""
        with self._changed:
            self._cuts_at_commit = when

    def _passed(self, connection, octets, *, to_server):
        is_lost = ("to server" if to_server else "to client") in self.drops
        if self._cuts(connection, octets, to_server=to_server):
            return None
        return b"" if is_lost else octets

    def _cuts(self, connection, octets, *, to_server):
        if getattr(connection, "is_committing", False) and not to_server:
            self.commits_cut += 1
            return True  # PostgreSQL has answered, and nobody gets the answer
        if to_server and (prepared := PREPARED_COMMIT.search(octets)):
            connection.commit = b"\0" + prepared[1] + b"\0"
        is_commit = COMMIT in octets or getattr(connection, "commit", COMMIT) in octets
        if self._cuts_at_commit and to_server and is_commit:
            when, self._cuts_at_commit = self._cuts_at_commit, None
            if when == "after":
                connection.is_committing = True
                return False
            self.commits_cut += 1
            return True
        return False
