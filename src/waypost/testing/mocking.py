"""`mock_connect_email` lets unchanged code that uses boto3 call a Waypost server instead of Amazon Connect."""

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from waypost.testing.kit import Waypost
from waypost.testing.shared import SERVERS

T = TypeVar("T", bound=Callable[..., Any])

_OF_TESTS = "test"
"""How the names of the methods begin that the mock of a class is for."""


class ConnectEmailMock:
    """A mock of Amazon Connect's email operations, as a context manager, and as a decorator of functions and of classes
    with tests.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._open: list[tuple[Waypost, ExitStack]] = []

    @property
    def waypost(self) -> Waypost:
        """The kit of the server, as in `mock.waypost.inbox(…)`. Raises `RuntimeError` if the mock is off."""
        if not self._open:
            raise RuntimeError("The mock is off. Use it as a context manager or as a decorator.")
        return self._open[-1][0]

    def start(self) -> Waypost:
        """Turn the mock on: start a server or reset it, and point boto3 at it by the environment. Return its kit."""
        with ExitStack() as stack:
            kit = stack.enter_context(SERVERS.used(self._settings))
            stack.enter_context(kit.environment())
            self._open.append((kit, stack.pop_all()))
        return kit

    def stop(self) -> None:
        """Turn the mock off, and restore the environment. The server keeps running for other tests."""
        _, stack = self._open.pop()
        stack.close()

    def __enter__(self) -> Waypost:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __call__(self, decorated: T) -> T:
        """Turn the mock on during each call of a function, or of each method of a class whose name begins with
        `test`.
        """
        if isinstance(decorated, type):
            for name, member in vars(decorated).copy().items():
                if name.startswith(_OF_TESTS) and inspect.isfunction(member):
                    setattr(decorated, name, self(member))
            return decorated
        function: Any = decorated
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asynchronous(*arguments: Any, **options: Any) -> Any:
                with self:
                    return await function(*arguments, **options)

            return cast("T", asynchronous)

        @functools.wraps(function)
        def synchronous(*arguments: Any, **options: Any) -> Any:
            with self:
                return function(*arguments, **options)

        return cast("T", synchronous)


@overload
def mock_connect_email(decorated: T, /) -> T: ...
@overload
def mock_connect_email(**settings: Any) -> ConnectEmailMock: ...
def mock_connect_email(decorated: Any = None, /, **settings: Any) -> Any:
    """Mock Amazon Connect's email operations for boto3, with a Waypost server that starts empty.

    Use it as a decorator, with or without parentheses, or as a context manager that yields the kit (`Waypost`). The
    arguments are those of `Waypost`. Only clients that are made while the mock is on use the server: it sets
    `AWS_ENDPOINT_URL_CONNECT`, an access key and a region in the environment, and restores them at the end. A mock
    inside another one with the same settings uses the same server, and does not empty it. moto's mocks of other
    services work in the same test, in either order.
    """
    mock = ConnectEmailMock(**settings)
    return mock if decorated is None else mock(decorated)
