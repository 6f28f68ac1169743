"""Ten minutes of mixed load on two servers behind PgBouncer, while they, PgBouncer and PostgreSQL are restarted."""

import os

import pytest

from proofs import machines
from tests.kit.stores.pooler import needs_pgbouncer

MINUTES = float(os.environ.get("WAYPOST_MINUTES") or 10)
"""The duration of both tests together."""

ALL = "api,smtp,delivery,upkeep"


@needs_pgbouncer
@pytest.mark.parametrize(
    "roles", [{"A": "api,smtp", "B": "delivery,upkeep"}, {"A": ALL, "B": ALL}], ids=["different roles", "all roles"]
)
def test_nothing_acknowledged_is_lost_or_doubled_while_the_machines_are_restarted(tmp_path, monkeypatch, roles):
    report = machines.run(tmp_path, roles, monkeypatch=monkeypatch, seconds=MINUTES * 30)
    print(f"\n{roles}: {report}")
