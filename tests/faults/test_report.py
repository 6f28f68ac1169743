"""The report counts the faults by kind, and names what was found."""

from faults import report


def line(kind="kill the server", store="sqlite", workers=1, *, result="right", doubled=0, seed=7):
    return {
        "kind": kind,
        "store": store,
        "workers": workers,
        "seed": seed,
        "at": "2026-01-02T03:04:05Z",
        "seconds": 30.0,
        "accepted": 10,
        "refused": 1,
        "unknown": 2,
        "calls": 5,
        "doubled_at_peers": doubled,
        "versions": {"waypost": "1.0"},
        "result": result,
        "violations": ["an accepted message is missing: m.1"],
    }


def test_faults_are_counted_by_kind_store_and_workers():
    page = report.report([line(), line(), line(store="postgresql", workers=2), line("power cut")])
    assert "| kill the server | 2 |  |  | 1 | 3 | 0 |" in page
    assert "| **all** | 3 | 0 | 0 | 1 | 4 | 0 |" in page
    assert "4 faults were injected and checked in 2 minutes" in page
    assert "waypost 1.0" in page
    assert "Violations\n" not in page


def test_violations_and_second_copies_are_named():
    page = report.report([line(result="violation"), line("kill a worker", doubled=3)])
    assert "| kill the server | sqlite | 1 | 7 | an accepted message is missing: m.1 |" in page
    assert "| kill a worker | 3 |" in page


def test_broken_builds_and_the_simulation_are_reported():
    build = {
        "patch": "p",
        "what": "w",
        "kind": "k",
        "store": "sqlite",
        "workers": 1,
        "most_runs": 5,
        "runs": 2,
        "found": "lost in maildir:/home/me/data/maildir",
        "is_found": True,
        "seed": 1,
        "seconds": 9,
    }
    simulated = {
        "seeds": 9,
        "first_seed": 0,
        "commit": "abc",
        "steps": 1000,
        "steps_per_second": 10,
        "checks": 9,
        "faults": {"crash": 4},
        "failed": [],
    }
    page = report.report([line()], [build, build | {"patch": "q", "is_found": False}], [simulated, simulated])
    assert "1 of 2 broken builds were found." in page
    assert "| p | w | k, sqlite, 1 | 5 | 2 | lost in maildir:…/maildir |" in page
    assert "| q | w | k, sqlite, 1 | 5 | not found |  |" in page
    assert "8 faults were injected between the steps of simulated servers. The results were checked 18 times" in page
    assert "| crash | 8 |" in page
    assert page.count("Seeds with violations: none.") == 2


def test_the_soak_and_the_fuzzers_are_reported():
    quantity = {"unit": "MB", "before": 50.0, "after": 51.0, "allowed": 59.0, "grows": False, "points": [(1, 50.0)]}
    soak = {
        "minutes": 60.0,
        "workers": 2,
        "quantities": {
            "memory": quantity,
            "threads": quantity | {"unit": "", "grows": True},
            "database": quantity | {"allowed": None},
        },
        "kinds": {
            "describe": {"calls": 1200, "median": 0.002, "p99": [(1.0, 0.004), (2.0, 0.006), (3.0, 0.005)]},
            "read": {"calls": 0, "median": None, "p99": []},
        },
        "faults": [(5.0, "a worker is killed"), (9.0, "a worker is killed")],
        "relayed": 300,
        "arrived": 301,
        "unexplained_errors": [],
    }
    fuzzer = {"target": "json", "inputs": 5000, "seconds": 90, "coverage": 114, "seconds_without_new_code": 30}
    page = report.report([line()], soak=soak, fuzzers=[fuzzer | {"failure": ""}, fuzzer | {"failure": "a bug"}])
    assert "with 2 faults (a worker is killed: 2). 300 messages for the other mail server" in page
    assert "| memory | MB | 50.0 | 51.0 | 59.0 | no |" in page
    assert "| threads |  | 50.0 | 51.0 | 59.0 | yes |" in page
    assert "| database | MB | 50.0 | 51.0 | none |  |" in page
    assert "| describe | 1,200 | 2 | 5 | 6 |" in page
    assert "2 targets tried 10,000 inputs in 3 minutes of processor time" in page
    assert "bug that is not fixed: json." in page
    assert "| json | 5,000 | 1.5 | 114 | 0.5 |" in page


def test_without_faults_there_is_a_page_too(tmp_path):
    assert "No fault was injected." in report.report(report.read(tmp_path / "missing.jsonl"))


def test_a_violation_of_linearizability_is_said_once():
    found = (
        "no order of the API calls explains their results: No order of these calls explains their results:\n  a call"
    )
    page = report.report([line(result="violation") | {"violations": [found]}])
    assert "| 7 | no order of the API calls explains their results |" in page


def test_the_page_says_how_to_inject_and_replay_a_fault():
    page = report.report([line()])
    assert "python -m faults.campaign --kinds" in page.replace("\n", " ")
    assert "(../faults/README.md#the-campaign)" in page
