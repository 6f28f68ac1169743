"""A short run of the proof with two servers behind PgBouncer, without kills after which mail waits for a lease."""

import pytest

from proofs import machines
from tests.kit.stores.pooler import needs_pgbouncer

SHORT = ("PostgreSQL kill -9", "PgBouncer kill -9", "server A kill -9", "server B SIGTERM")


@needs_pgbouncer
@pytest.mark.slow
@pytest.mark.long
def test_nothing_acknowledged_is_lost_or_doubled_while_the_machines_are_restarted(tmp_path, monkeypatch):
    roles = {"A": "api,smtp", "B": "delivery,upkeep"}
    report = machines.run(tmp_path, roles, monkeypatch=monkeypatch, only=SHORT)
    assert set(report.counts) == set(SHORT)
    assert report.accepted > 0
    assert report.sent_on > 0
