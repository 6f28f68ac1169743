"""The simulation runs the same way each time, and continues where it stopped."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from faults.simulation import __main__ as command
from faults.simulation import loop as simulated_loop
from faults.simulation import runs
from faults.simulation.loop import PROCESS, Stuck
from faults.simulation.runs import Totals
from faults.simulation.world import Result, run_seed

ROOT = Path(__file__).parents[2]


def run(work, seed=0):
    result, _ = simulated_loop.run(work, random.Random(seed))
    return result


def test_two_runs_of_a_seed_have_the_same_history_and_another_seed_has_another():
    first, second = run_seed(3, phases=1), run_seed(3, phases=1)
    assert first == second
    assert first.faults
    assert not first.violations
    assert run_seed(4, phases=1).digest != first.digest


@pytest.mark.slow
def test_a_seed_has_the_same_history_in_another_process():
    def digest(hash_seed):
        command = [sys.executable, "-m", "faults.simulation", "--replay", "7"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert digest("1") == digest("2")


@pytest.mark.slow
def test_no_violation_is_found_in_the_unbroken_servers():
    assert not [violation for seed in range(5) for violation in run_seed(seed).violations]


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [pytest.param(20411, id="a replay to an address that was created again puts a message there twice")]
)
def test_a_seed_that_once_found_a_defect_finds_it_no_longer(seed):
    assert not run_seed(seed).violations


@pytest.fixture
def results(monkeypatch):
    """Let the command have these results of seeds, by seed, instead of running them. A missing seed finds nothing."""
    given = {}

    def run_none(seed, *, faults):
        return Result(seed=seed, steps=1, phases=1, digest="", faults={}, violations=tuple(given.get(seed, ())))

    monkeypatch.setattr(runs, "run_seed", run_none)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return given


def test_a_violation_is_reported_with_the_whole_command_that_replays_it(results, capsys):
    results[2] = ["a message is lost"]
    assert command.main(["--seeds", "4", "--faults", "16"]) == 1
    said = capsys.readouterr().out
    assert "Seed 2: a message is lost" in said
    assert ".venv/bin/python -m faults.simulation --replay 2 --faults 16\n" in said
    assert "4 seeds from 0" in said
    assert "1 seeds with violations" in said


def test_a_run_of_a_broken_variant_succeeds_if_a_seed_has_found_the_defect(results, capsys):
    broken = ["--seeds", "4", "--broken", "never renews a lease"]
    assert command.main(broken) == 1
    assert "No seed has found the defect." in capsys.readouterr().out
    results[1] = ["a peer got a message twice"]
    assert command.main(broken) == 0
    said = capsys.readouterr().out
    assert "--replay 1 --faults 7 --broken 'never renews a lease'" in said
    assert "2 seeds from 0" in said
    assert "The defect was found." in said


def test_a_run_continues_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "run_seed", partial(run_seed, phases=1))

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    path = tmp_path / "results.json"
    first = Totals(20, path)
    with pytest.raises(Stop):
        first.run(30, stop)
    second = Totals(0, path)
    second.resume()
    with pytest.raises(Stop):
        second.run(30, stop)
    found = json.loads(path.read_text())
    assert (found["first_seed"], found["seeds"], found["checks"]) == (20, 2, 2)
    assert found["faults_in_all"] == sum(found["faults"].values()) > first.faults.total()
    assert found["steps"] == second.steps > first.steps


def test_results_of_another_commit_are_not_continued(tmp_path):
    path = tmp_path / "results.json"
    totals = Totals(0, path)
    totals.write()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "other"}))
    with pytest.raises(ValueError, match="commit other"):
        totals.resume()


# The event loop.


def test_time_jumps_to_the_next_timer():
    async def work(loop):
        await asyncio.sleep(1_000_000)
        return loop.time()

    assert run(work) == 1_000_000


def test_each_process_runs_its_callbacks_in_order_and_the_seed_decides_which_process_runs():
    def history(seed):
        done = []

        async def steps(name):
            for number in range(5):
                done.append((name, number))
                await asyncio.sleep(0)

        async def work(loop):
            await asyncio.gather(*[loop.in_process(name, steps(name)) for name in "abc"])
            return done

        return run(work, seed)

    for seed in range(5):
        assert history(seed) == history(seed)
        for name in "abc":
            assert [number for process, number in history(seed) if process == name] == [0, 1, 2, 3, 4]
    assert len({str(history(seed)) for seed in range(5)}) > 1


def test_a_stopped_process_does_not_run_until_it_continues():
    async def work(loop):
        times = []

        async def tick():
            await asyncio.sleep(1)
            times.append((PROCESS.get(), loop.time()))

        ticking = [loop.in_process(name, tick()) for name in ("stopped", "other")]
        await asyncio.sleep(0.5)
        loop.stop_process("stopped")
        await asyncio.sleep(9.5)
        loop.continue_process("stopped")
        await asyncio.gather(*ticking)
        return times

    assert run(work) == [("other", 1), ("stopped", 10)]


def test_a_simulation_in_which_nothing_can_happen_any_more_ends_with_an_error():
    async def work(loop):
        await loop.create_future()

    with pytest.raises(Stuck):
        run(work)
