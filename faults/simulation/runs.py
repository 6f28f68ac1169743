"""Runs many seeds, adds up their results, and keeps them in a JSON file, so that a run can be continued."""

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import waypost
from faults.simulation.world import FAULTS, run_seed

WRITE_EVERY = 10.0
"""Seconds between two updates of the JSON file."""


def commit():
    """Return the commit of the checkout; empty if it is unknown."""
    folder = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return found.stdout.strip()


class Totals:
    """The results of all seeds so far."""

    def __init__(self, first, path=None, *, faults=FAULTS):
        """`faults` is the number of faults to choose in a phase."""
        self._each = faults
        self._path, self._written = path, time.monotonic()
        self._commit = commit()  # once, because the code in this process does not change
        self.first = self.next = first
        self.steps = self.checks = 0
        self.seconds = 0.0
        self.faults = Counter()
        self.failed = []
        """The seeds with violations, each with its first violation."""

    def resume(self):
        """Continue after the last seed in the file, if there is one. Raises `ValueError` for another commit."""
        if not self._path or not self._path.exists():
            return
        found = json.loads(self._path.read_text())
        if found["faults_each"] != self._each:
            raise ValueError(f"{self._path} has the results of runs with --faults {found['faults_each']}.")
        if found["commit"] != self._commit:
            raise ValueError(
                f"{self._path} has the results of commit {found['commit']}. Remove it, or use another file."
            )
        self.first, self.next = found["first_seed"], found["first_seed"] + found["seeds"]
        self.steps, self.checks, self.seconds = found["steps"], found["checks"], found["seconds"]
        self.faults = Counter(found["faults"])
        self.failed = found["failed"]

    def run(self, until, report=lambda _: None):
        """Run the next seeds, up to but without `until`, and call `report` after each."""
        try:
            while self.next < until:
                began = time.monotonic()
                result = run_seed(self.next, faults=self._each)
                self.seconds += time.monotonic() - began
                self.next += 1
                self.steps += result.steps
                self.checks += result.phases
                self.faults.update(result.faults)
                if result.violations:
                    self.failed.append({"seed": result.seed, "violation": result.violations[0]})
                report(result)
                if time.monotonic() - self._written > WRITE_EVERY:
                    self.write()
        finally:
            self.write()

    def as_json(self):
        """Return the results for the report."""
        return {
            "kind": "simulation",
            "version": waypost.__version__,
            "commit": self._commit,
            "faults_each": self._each,
            "first_seed": self.first,
            "seeds": self.next - self.first,
            "steps": self.steps,
            "steps_per_second": round(self.steps / self.seconds) if self.seconds else 0,
            "checks": self.checks,
            "faults": dict(sorted(self.faults.items())),
            "faults_in_all": sum(self.faults.values()),
            "seconds": round(self.seconds, 1),
            "failed": self.failed,
        }

    def write(self):
        """Write the file, if there is one, so that it is always complete."""
        self._written = time.monotonic()
        if self._path:
            new = self._path.with_name(f"{self._path.name}.new")
            new.write_text(json.dumps(self.as_json(), indent=2) + "\n")
            new.replace(self._path)
