"""The difference between this machine's clock and PostgreSQL's."""

import time
from types import SimpleNamespace

import pytest

from tests.kit.stores.broken_postgresql import with_store
from waypost.store.postgres import pool


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0])
def test_the_difference_of_the_clocks_is_measured_in_both_directions(database, monkeypatch, ahead):
    clock = SimpleNamespace(time=lambda: time.time() + ahead, sleep=time.sleep)
    monkeypatch.setattr(pool, "time", clock)
    found = with_store(database, lambda store: store.clock_ahead())
    assert abs(found - ahead) < 600  # half a round trip is the error, which is long only on a very busy machine
