"""The difference between this machine's clock and PostgreSQL's."""

import time
from types import SimpleNamespace

import pytest

from tests.kit.stores.broken_postgresql import with_store
from waypost.store.postgres import clock, server_settings


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0])
def test_the_difference_of_the_clocks_is_measured_in_both_directions(database, monkeypatch, ahead):
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: time.time() + ahead))
    _, of_doctor = server_settings.read(database)
    for found in (with_store(database, lambda store: store.clock_ahead()), of_doctor):
        assert abs(found - ahead) < 600  # half a round trip is the error, which is long only on a very busy machine
