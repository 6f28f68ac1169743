"""Applies each patch in faults/broken/patches to a copy of the sources, and checks that the campaign finds the defect.

The exit code is 1 if a defect was not found. Each build adds a line of JSON to the file of results, for the report.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults.broken.table import BUILDS
from faults.campaign.table import BY_NAME, why_not

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".cache" / "campaign" / "broken.jsonl"
"""The file of results of `make faults`."""


class DoesNotApply(Exception):
    """A patch does not fit the sources any more."""


def build(broken, directory):
    """Copy the sources to a directory and break them. Raises `DoesNotApply`."""
    shutil.copytree(ROOT / "src", directory / "src", ignore=shutil.ignore_patterns("__pycache__"))
    applied = subprocess.run(
        ["git", "apply", broken.path.resolve()],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(directory.parent)},
    )
    if applied.returncode:
        raise DoesNotApply(f"{broken.path.name} does not apply: {applied.stderr}")
    return directory / "src"


def run(broken, directory, *, minutes):
    """Run the faults that must find a broken build, and return a line for the report."""
    source = build(broken, directory)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])}
    where = [sys.executable, "-c", "import waypost; print(waypost.__file__)"]
    found = subprocess.run(where, env=environment, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert Path(found.strip()).is_relative_to(source), found
    lines, began = directory / "faults.jsonl", time.monotonic()
    command = [
        *(sys.executable, "-m", "faults.campaign", "--exact", "--kinds", broken.kind, "--stores", broken.store),
        *("--workers", str(broken.workers), "--each", str(broken.runs), "--minutes", str(minutes)),
        *("--results", lines, "--keep", directory),
    ]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    faults = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    bad = [each for each in faults if each["result"] == "violation"]
    if not faults:
        print(ran.stdout[-2_000:], ran.stderr[-2_000:], sep="\n")
    return {
        "patch": broken.patch,
        "what": broken.what,
        "kind": broken.kind,
        "store": broken.store,
        "workers": broken.workers,
        "most_runs": broken.runs,
        "runs": len(faults),
        "found": bad[0]["violations"][0].splitlines()[0][:200] if bad else "",
        "is_found": bool(bad),
        "seed": bad[0]["seed"] if bad else None,
        "seconds": round(time.monotonic() - began),
    }


def main(words=None):
    names = [broken.patch for broken in BUILDS]
    parser = argparse.ArgumentParser(prog="python -m faults.broken", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=names, metavar="PATCH", help=f"by default all: {', '.join(names)}")
    longest = "the longest duration of the faults of each build (default: 10)"
    parser.add_argument("--minutes", type=float, default=10.0, help=longest)
    results = "the file to which each build adds a line (default: .cache/campaign/broken.jsonl)"
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help=results)
    given = parser.parse_args(words)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    missed = 0
    for broken in BUILDS:
        if given.only and broken.patch not in given.only:
            continue
        if why := why_not(BY_NAME[broken.kind]):
            print(f"Left out: {broken.patch}, because {why}", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="faults-broken-") as directory:
            line = run(broken, Path(directory), minutes=given.minutes)
        with given.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        missed += not line["is_found"]
        outcome = (
            f"found in run {line['runs']}: {line['found']}" if line["is_found"] else f"NOT found in {line['runs']}"
        )
        print(f"{broken.patch}: {outcome} ({line['seconds']} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
