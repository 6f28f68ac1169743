"""`mock_connect_email` lets unchanged code that uses boto3 call a Waypost server instead of Amazon Connect."""

import functools
import inspect
import unittest
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from waypost.testing import settings as settings_of_servers
from waypost.testing.kit import Waypost
from waypost.testing.shared import SERVERS

T = TypeVar("T", bound=Callable[..., Any])


class ConnectEmailMock:
    """A mock of Amazon Connect's email operations, as a context manager, and as a decorator of functions and of classes
    with tests.
    """

    def __init__(self, **settings: Any) -> None:
        settings_of_servers.given(settings)  # a mistake is an error where it is, not only in the first test
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
        """Turn the mock on during each call of a function or, for a class, during each test, from before its `setUp` or
        `setup_method` until after its `tearDown` or `teardown_method`.

        Raises `TypeError` for a generator function.
        """
        if isinstance(decorated, type):
            if issubclass(decorated, unittest.TestCase):
                self._decorate_case(decorated)
            else:
                self._decorate_class(decorated)
            return decorated
        function: Any = decorated
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"The mock cannot decorate the generator function {function.__name__}, whose body runs after the call. "
                "Write `with mock_connect_email():` into the function."
            )
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

    def _decorate_case(self, case: Any) -> None:
        set_up = case.setUp

        @functools.wraps(set_up)
        def with_mock(test: unittest.TestCase) -> None:
            test.enterContext(self)  # `unittest` leaves it after `tearDown`, and also if `setUp` fails
            set_up(test)

        case.setUp = with_mock

    def _decorate_class(self, tests: Any) -> None:
        """Decorate a class whose methods are tests of pytest."""
        set_up, tear_down = (inspect.getattr_static(tests, name, None) for name in ("setup_method", "teardown_method"))

        def setup_method(test: Any, method: Any) -> None:
            with ExitStack() as stack:
                stack.enter_context(self)
                _call(set_up, test, method)
                stack.pop_all()

        def teardown_method(test: Any, method: Any) -> None:
            try:
                _call(tear_down, test, method)
            finally:
                self.stop()

        tests.setup_method, tests.teardown_method = setup_method, teardown_method


def _call(found: Any, test: Any, method: Any) -> None:
    """Call `setup_method` or `teardown_method`, if the class has it. Its argument `method` is optional."""
    if found:
        bound = found.__get__(test, type(test))
        bound(*[method][: len(inspect.signature(bound).parameters)])


@overload
def mock_connect_email(decorated: T, /) -> T: ...
@overload
def mock_connect_email(**settings: Any) -> ConnectEmailMock: ...
def mock_connect_email(decorated: Any = None, /, **settings: Any) -> Any:
    """Mock Amazon Connect's email operations for boto3, with a Waypost server that starts empty.

    Use it as a decorator of a function or of a class with tests, with or without parentheses, or as a context manager
    that yields the kit (`Waypost`). The arguments are settings, as those of `Waypost`. Only clients that are made while
    the mock is on use the server: it sets `AWS_ENDPOINT_URL_CONNECT`, an access key and a region in the environment,
    and restores them at the end. A mock inside another one with the same settings uses the same server, and does not
    empty it. moto's mocks of other services work in the same test, in either order.
    """
    mock = ConnectEmailMock(**settings)
    return mock if decorated is None else mock(decorated)
