"""The pytest plugin, which is active if Waypost is installed. Each fixture imports what it needs when it is used."""

import os
import sys
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from waypost.testing import Waypost

MARKER = (
    "waypost(**settings): the settings of the server that the fixture `waypost` gives this test, such as limits='aws'."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option."""
    parser.getgroup("waypost").addoption(
        "--waypost-log",
        metavar="FILE",
        help="Add the logs of the Waypost servers of this run to FILE. With pytest-xdist, the name of the file also "
        "contains the name of the worker.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin's marker, and use its option."""
    config.addinivalue_line("markers", MARKER)
    if file := config.getoption("--waypost-log"):
        from waypost.testing.shared import SERVERS  # noqa: PLC0415 - few runs use the option

        SERVERS.log = log_file(Path(file).absolute(), os.environ.get("PYTEST_XDIST_WORKER"))


def log_file(file: Path, worker: str | None) -> Path:
    """Return the file for the logs of a worker of pytest-xdist; None stands for a run without workers."""
    return file.with_name(f"{file.stem}-{worker}{file.suffix}") if worker else file


@pytest.fixture(scope="session")
def waypost_settings() -> Mapping[str, Any]:
    """The settings of all servers, as the arguments of `waypost.testing.Waypost`. Override this fixture to set some."""
    return {}


@pytest.fixture(scope="session")
def _waypost_servers() -> Iterator[Any]:
    from waypost.testing.shared import SERVERS  # noqa: PLC0415 - pytest loads this module in every run

    yield SERVERS
    SERVERS.stop()


@pytest.fixture(scope="session")
def waypost_server(_waypost_servers: Any, waypost_settings: Mapping[str, Any]) -> "Waypost":
    """The server that all tests of this process share, as a `waypost.testing.Waypost`, as the previous test left it.
    Each test that uses `waypost` empties it.
    """
    return _waypost_servers.running(waypost_settings)  # type: ignore[no-any-return]


@pytest.fixture
def waypost(
    request: pytest.FixtureRequest, _waypost_servers: Any, waypost_settings: Mapping[str, Any]
) -> Iterator["Waypost"]:
    """An empty server for this test, as a `waypost.testing.Waypost`. The marker `waypost` gives it other settings."""
    settings = dict(waypost_settings)
    for marker in reversed([*request.node.iter_markers("waypost")]):  # the marker of the test itself is first
        if marker.args:
            given = ", ".join(map(repr, marker.args))
            raise pytest.UsageError(f"The marker `waypost` takes settings by name, such as limits='aws', not {given}.")
        settings |= marker.kwargs
    with _waypost_servers.used(settings) as kit:
        yield kit


@pytest.fixture
def waypost_client(waypost: "Waypost") -> Any:
    """A boto3 client for Amazon Connect that uses the server of the fixture `waypost`."""
    return waypost.client("connect")


@pytest.fixture
def waypost_environment(waypost: "Waypost") -> Iterator["Waypost"]:
    """The same as the fixture `waypost`. During the test, the environment variables point boto3 at its server."""
    with waypost.environment():
        yield waypost


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Forget which server the previous test has used."""
    if shared := sys.modules.get("waypost.testing.shared"):
        shared.SERVERS.last_used = None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add the traces of the mail of a failed test to its report."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and report.when != "teardown" and (kit := _kit_of(item)):
        from waypost.testing import reporting  # noqa: PLC0415

        try:
            text = reporting.text(kit)
        except Exception as error:  # noqa: BLE001 - an exception of a hook ends the whole run
            text = f"The traces of the mail cannot be shown: {error!r}"
        report.sections.append(("Waypost", text))


def _kit_of(item: pytest.Item) -> "Waypost | None":
    """Return the server of a test: that of its fixtures or of the mixin for `unittest`, or the one that it has used
    last.

    If no kit was imported, the test has none. Otherwise, a fixture or attribute `waypost` can be something else.
    """
    kits, shared = (sys.modules.get(f"waypost.testing.{name}") for name in ("kit", "shared"))
    if not kits:
        return None
    fixtures, of_case = getattr(item, "funcargs", {}), getattr(getattr(item, "instance", None), "__dict__", {})
    found = [fixtures.get("waypost"), of_case.get("waypost"), fixtures.get("waypost_server")]
    if shared:
        found.append(shared.SERVERS.last_used)
    return next((each for each in found if isinstance(each, kits.Waypost)), None)
