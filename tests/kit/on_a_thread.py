"""An event loop on a thread of its own, for a peer that runs beside a test."""

import asyncio
import threading

from tests.kit.patience import PATIENCE


class OnAThread:
    """The base class of such a peer: a context manager that calls `_begin` and `_close` on the event loop."""

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__)
        self._thread.start()
        self._on_loop(self._begin())
        return self

    def __exit__(self, *_):
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _begin(self):
        raise NotImplementedError

    async def _close(self):
        raise NotImplementedError
