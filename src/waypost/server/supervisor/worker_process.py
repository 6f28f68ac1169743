"""What one worker process of a server gets from the supervisor."""

import socket
from collections.abc import Mapping, Sequence

from msgspec import Struct

from waypost.app import ports
from waypost.host.data_directory import DataDirectory


class WorkerProcess(Struct, frozen=True, kw_only=True):
    """One of the worker processes of a server, and the resources that the supervisor has prepared for it."""

    number: int
    """The number of the worker process, from 1. A worker process that replaces another has the same number."""
    is_first: bool
    """Whether no other worker process has been started yet, so that no other process of this server uses the
    database."""
    count: int
    """The number of worker processes that the server has."""
    directory: DataDirectory
    """The data directory, which the supervisor has locked."""
    sockets: Mapping[tuple[str, int], Sequence[socket.socket]]
    """The bound sockets for each endpoint. The keys are the name of the setting that contains the endpoint, and the
    endpoint's place in the setting."""
    limit_state: ports.LimitState
    """The tables for the limits on clients, which all worker processes share."""

    @property
    def does_upkeep(self) -> bool:
        """Whether this worker process runs the periodic maintenance, because one process is enough for it."""
        return self.number == 1
