"""A fault is injected into a real server and checked, a violation is reported, and a run continues where it stopped."""

import json

import pytest

from faults.campaign import runner
from faults.campaign.runner import Campaign, rows
from faults.campaign.table import KINDS
from faults.oracle import Kind as Violated


@pytest.mark.slow
@pytest.mark.long
def test_a_kill_of_a_server_on_sqlite_loses_nothing_and_the_run_continues_where_it_stopped(tmp_path):
    chosen = rows(kinds=["kill the server"], stores=["sqlite"], workers=[1], is_exact=True)
    lines = tmp_path / "faults.jsonl"
    for wanted in (1, 2):
        campaign = Campaign(chosen, seed=5, lines=lines, each=wanted, kept=tmp_path)
        campaign.run(seconds=600)
        assert campaign.violations == []
    first, second = map(json.loads, lines.read_text().splitlines())
    assert first["result"] == second["result"] == "right"
    assert first["seed"] != second["seed"]
    assert first["accepted"]
    assert first["calls"]
    assert list(tmp_path.glob("faults-*")) == []  # nothing is kept without a violation


@pytest.mark.slow
@pytest.mark.long
def test_a_server_whose_message_disappears_is_a_violation_with_the_way_to_replay_it(tmp_path, monkeypatch, capsys):
    chosen = rows(kinds=["kill the server"], stores=["sqlite"], workers=[1], is_exact=True)
    inject = runner.inject

    def lose(site, kind, chance, turn):
        found = inject(site, kind, chance, turn)
        lost = next(each for each in site.sent if each.outcome == "accepted" and each.group == "inbox")
        site.inspection.delete(f"messages/{lost.id}")
        return found + site.check()

    monkeypatch.setattr(runner, "inject", lose)
    campaign = Campaign(chosen, seed=6, lines=tmp_path / "faults.jsonl", each=5, kept=tmp_path)
    campaign.run(seconds=600)
    (violation,) = campaign.violations
    assert violation["violations"][0].startswith(Violated.LOST)
    assert f"--replay {violation['seed']}" in capsys.readouterr().out
    assert list(tmp_path.glob("faults-*/site/data/1/waypost.sqlite3"))


def test_each_kind_of_fault_has_a_kind_of_deployment():
    assert {kind.site for kind in KINDS} <= set(runner.SITES)
