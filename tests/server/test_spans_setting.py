"""The setting for OpenTelemetry, if its packages are not installed, and what the server does not do without it."""

import sys

import pytest

from waypost.config.sources import from_options
from waypost.observe.measures import Measures
from waypost.server import settings_check
from waypost.server.assembly import spans
from waypost.server.opening import CannotStart

SETTINGS = from_options(otel_traces="http://127.0.0.1:4318")


def sender(settings):
    return spans.sender(settings, process=0, emit=lambda _: None, measures=Measures())


@pytest.fixture
def _not_installed(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry" or name.endswith(".otlp")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)


@pytest.mark.usefixtures("_not_installed")
def test_a_server_without_the_packages_does_not_start_and_says_how_to_install_them():
    with pytest.raises(CannotStart, match=r"pip install 'waypost\[otel\]'"):
        sender(SETTINGS)
    assert list(settings_check.problems(SETTINGS)) == [spans.NOT_INSTALLED]
    assert sender(from_options()) is None


def test_with_the_packages_the_settings_have_no_problem():
    assert list(settings_check.problems(SETTINGS)) == []
    assert sender(SETTINGS)
