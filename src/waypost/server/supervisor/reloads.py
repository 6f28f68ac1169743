"""Reloads of a server with several worker processes, as its supervisor sees them."""

from collections.abc import Callable

from waypost.config import changes
from waypost.config.settings import Settings
from waypost.host import systemd
from waypost.observe import logs
from waypost.server.reloading import Reread
from waypost.server.supervisor.worker import Worker


class Reloads:
    """Passes SIGHUP on to the worker processes, and waits until they have finished.

    Each worker process reads the settings itself. The supervisor uses new settings only when a worker process has
    reported that it could use them, so that a worker process that is started later can use them too.
    """

    def __init__(
        self, settings: Settings, *, log: logs.Log | None, reread: Reread | None, used: Callable[[Settings], None]
    ) -> None:
        """`log` is the log of the supervisor; None if it has none that can be opened again. `reread` reads the settings
        again; None if they cannot change. The object calls `used` when the server uses new settings.
        """
        self.settings = settings
        """The settings for worker processes that are started now."""
        self._log = log
        self._reread = reread
        self._used = used
        self._new: Settings | None = None
        """The settings that the worker processes are reading; None if there is no reload, or if they have a mistake."""
        self._waiting: set[int] = set()
        """The process ids of the worker processes that have not finished the reload."""

    def begin(self, workers: list[Worker]) -> None:
        """Let all worker processes reload, and open the supervisor's own log file again."""
        systemd.notify(systemd.reloading())
        try:
            self._new = self._reread() if self._reread else None
        except Exception:  # noqa: BLE001 - the worker processes log the mistake, or the bug, and the server continues
            self._new = None
        if self._log:
            self._log.reopen(self.settings.log)
        for worker in workers:
            self._tell(worker)
        self._end_if_finished()

    def started(self, worker: Worker) -> None:
        """Handle a new worker process, which has the old settings if a reload is in progress."""
        if self._waiting:
            self._tell(worker)

    def ended(self, worker: Worker) -> None:
        """Handle the end of a worker process."""
        if worker.pid in self._waiting:
            self._waiting.discard(worker.pid)
            self._end_if_finished()

    def received(self, worker: Worker) -> None:
        """Handle the reports of a worker process about finished reloads."""
        reports, worker.reloads = worker.reloads, []
        if not reports:
            return
        if reports[-1] and self._new:
            self._use(changes.reloaded(self.settings, self._new))
        self.ended(worker)

    def _tell(self, worker: Worker) -> None:
        worker.reload()
        self._waiting.add(worker.pid)

    def _use(self, settings: Settings) -> None:
        if settings == self.settings:
            return
        is_of_log = settings.log != self.settings.log
        self.settings = settings
        if self._log and is_of_log:
            self._log.reopen(settings.log)
        self._used(settings)

    def _end_if_finished(self) -> None:
        if not self._waiting:
            self._new = None
            systemd.notify(systemd.READY)
