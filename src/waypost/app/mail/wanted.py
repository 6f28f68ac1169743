"""Let the jobs that note and index mail (`noting`, `indexing`) run only while a client uses their results, because they
need processor time for each message.

The worker processes of a server share the time of the last use in memory. So a process can wake the jobs in another
process, and idle jobs need not read the store. Each server runs the jobs for its own clients, and notes the mail that
all servers on its database have accepted.
"""

from datetime import timedelta

from waypost.app import ports

WANTED_FOR = timedelta(minutes=15)
"""How long the jobs run after their results were used."""

_NOTES, _STREAMS, _SEARCHES = "notes", "streams", "searches"


class NotesWanted:
    """Remembers what clients of this server use: pages with lists and counts, streams of all changes, and searches."""

    def __init__(self, state: ports.LimitState, clock: ports.Clock) -> None:
        """`clock` is the real clock."""
        self._until = state.times("notes wanted")
        self._clock = clock

    def renew(self) -> None:
        """Record that a client uses the notes now."""
        self._put(_NOTES)

    def renew_streams(self) -> None:
        """Record that a client follows all changes now, which uses the notes too."""
        self._put(_NOTES)
        self._put(_STREAMS)

    def renew_searches(self) -> None:
        """Record that a client searches mail now, which uses the notes too."""
        self._put(_NOTES)
        self._put(_SEARCHES)

    def are_wanted(self) -> bool:
        """Return whether a client has used the notes in the last `WANTED_FOR`."""
        return self._is_now(_NOTES)

    def are_streams_wanted(self) -> bool:
        """Return whether a client has followed all changes in the last `WANTED_FOR`."""
        return self._is_now(_STREAMS)

    def are_searches_wanted(self) -> bool:
        """Return whether a client has searched mail in the last `WANTED_FOR`."""
        return self._is_now(_SEARCHES)

    def _put(self, use: str) -> None:
        now = self._clock()
        with self._until.locked():
            self._until.put(use, (now + WANTED_FOR).timestamp(), now=now.timestamp())

    def _is_now(self, use: str) -> bool:
        now = self._clock()
        return now.timestamp() < self._until.get(use) <= (now + WANTED_FOR).timestamp()
