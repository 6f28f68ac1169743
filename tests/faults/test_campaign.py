"""A fault is injected into a real server and checked, a violation is reported, and a run continues where it stopped."""

import json
import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from faults import preload, small_disk
from faults.campaign import __main__ as command
from faults.campaign import runner, table
from faults.campaign.runner import Campaign, rows
from faults.campaign.table import KINDS
from faults.oracle import Violation, ViolationKind
from waypost import testing


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
    assert violation["violations"][0].startswith(ViolationKind.LOST)
    assert f"--replay {violation['seed']}" in capsys.readouterr().out
    assert list(tmp_path.glob("faults-*/site/data/1/waypost.sqlite3"))


def test_each_kind_of_fault_has_a_kind_of_deployment():
    assert {kind.site for kind in KINDS} <= set(runner.SITES)


@pytest.fixture
def faultless(monkeypatch, tmp_path):
    """Let a campaign inject faults into deployments without servers. Return the violations that each fault finds."""
    found = []

    class Site:
        def __init__(self, directory, **_):
            self.directory, self.sent, self.callers, self.doubled = directory, [], [], 0
            self.peer_failures = SimpleNamespace(counts=Counter())

        def __enter__(self):
            self.directory.mkdir()
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(runner, "Site", Site)
    monkeypatch.setattr(runner, "inject", lambda *_: list(found))
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results" / "faults.jsonl")
    return found


CHOSEN = ("--kinds", "kill the server", "--exact", "--stores", "sqlite", "--workers", "1")


def test_a_replayed_fault_is_not_a_result_and_leaves_no_data_if_all_is_right(faultless, tmp_path, capsys):
    assert command.main([*CHOSEN, "--replay", "7", "--times", "3", "--keep", str(tmp_path / "kept")]) == 0
    assert "3 faults injected, 0 with violations" in capsys.readouterr().out
    assert not command.RESULTS.exists()
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_violation_in_a_replay_ends_it_and_keeps_the_data(faultless, tmp_path, capsys):
    faultless.append(Violation(ViolationKind.LOST, "m.1"))
    assert command.main([*CHOSEN, "--replay", "7", "--times", "3", "--keep", str(tmp_path / "kept")]) == 1
    assert "1 faults injected, 1 with violations" in capsys.readouterr().out
    assert [site.name for site in (tmp_path / "kept").glob("faults-*/*")] == ["site"]


def test_a_server_that_does_not_start_is_reported_with_the_last_line_of_its_log(faultless, tmp_path, monkeypatch):
    def inject(*_):
        raise testing.ServerDied('{"event":"accepted"}\n' * 200 + "waypost: the log is damaged\n")

    monkeypatch.setattr(runner, "inject", inject)
    assert command.main([*CHOSEN, "--each", "1", "--keep", str(tmp_path / "kept")]) == 1
    (found,) = json.loads(command.RESULTS.read_text())["violations"]
    assert found.splitlines()[0] == f"{ViolationKind.NOT_STARTED}: waypost: the log is damaged"


def test_a_run_counts_its_own_faults_and_says_how_to_begin_again(faultless, tmp_path, capsys):
    for each, said in (("2", "2 faults injected"), ("3", "1 faults injected"), ("3", "0 faults injected")):
        assert command.main([*CHOSEN, "--each", each, "--keep", str(tmp_path / "kept")]) == 0
        assert said in capsys.readouterr().out
    assert len(command.RESULTS.read_text().splitlines()) == 3
    command.main([*CHOSEN, "--each", "3"])
    assert "has the results of 3 faults, so --each or --each-kind is reached" in capsys.readouterr().out


def test_kinds_that_this_machine_cannot_inject_are_left_out_with_the_reason(faultless, monkeypatch, capsys):
    monkeypatch.setitem(table.NEEDS, "power cut", lambda: "no C compiler was found")
    words = ["--exact", "--stores", "sqlite", "--workers", "1", "--each", "1", "--kinds"]
    assert command.main([*words, "power cut", "kill the server"]) == 0
    said = capsys.readouterr().out
    assert "Left out: power cut, because no C compiler was found" in said
    assert "1 faults injected" in said
    with pytest.raises(SystemExit):
        command.main([*words, "power cut"])
    assert "this machine can inject none of these faults" in capsys.readouterr().err


def test_a_process_that_may_not_mount_a_file_system_leaves_the_small_disk_out(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "needs root" in small_disk.why_not.__wrapped__()


def test_only_a_file_system_that_becomes_read_only_may_leave_a_refused_message_in_the_store():
    doubts = {}

    class Site:
        windows: ClassVar = []
        peer_failures = SimpleNamespace(share=0.0)

        @contextmanager
        def load(self, _, *, has_doubt):
            doubts[kind.name] = has_doubt
            yield SimpleNamespace(wait_for_more=lambda *_, **__: None)

        def check(self, **_):
            return []

    for kind in KINDS:
        runner.inject(Site(), replace(kind, inject=lambda *_: None), random.Random(1), 0)
    assert [name for name, has_doubt in doubts.items() if has_doubt] == ["file system read-only"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(bool(preload.why_not()), reason=preload.why_not())
@pytest.mark.parametrize("workers", [1, 2])
def test_power_cuts_under_load_lose_nothing_acknowledged(tmp_path, workers):
    kinds = ["power cut", "a system call fails, and power cut"]
    chosen = rows(kinds=kinds, stores=["sqlite"], workers=[workers], is_exact=True)
    campaign = Campaign(chosen, seed=7, lines=tmp_path / "faults.jsonl", each=1, kept=tmp_path)
    campaign.run(seconds=600)
    assert campaign.violations == []
    assert sum(campaign.done.values()) == len(kinds)
