"""The outcome of a use case that runs elsewhere than its caller: in the writer thread, or in a group."""

from typing import Any

from msgspec import Struct


class Outcome(Struct, eq=False, kw_only=True):
    """The result of a use case, or the exception that it raised."""

    result: Any = None
    error: BaseException | None = None

    def take(self) -> Any:
        """Return the result, or raise the exception. The outcome no longer refers to the exception afterwards, so this
        method is called only once.

        The traceback of an exception refers to everything that the use case had, and also to this object. If this
        object still referred to the exception, all of that would stay in memory until the garbage collector runs, which
        is rare (`runtime.collect_less_garbage`). For the same reason, no local variable of a frame in the traceback may
        refer to the exception, or to a future that has it.
        """
        if self.error is not None:
            raise self._take_error(self.error)
        return self.result

    def _take_error(self, error: BaseException) -> BaseException:
        self.error = None
        return error
