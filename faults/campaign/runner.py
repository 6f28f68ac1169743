"""Runs the campaign: chooses the next fault, injects it, and writes a line for it."""

import json
import platform
import random
import shutil
import sqlite3
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import waypost
from faults.campaign import disks
from faults.campaign.table import KINDS
from faults.oracle import Outcome, Violation, ViolationKind
from faults.servers import why_not_started
from faults.site import Site
from waypost import testing

FAULTS_PER_SITE = 25
"""The number of faults for which one deployment is used."""

MOST_MESSAGES = 3_000
"""The number of messages after which a deployment is replaced, because each check reads all of them."""

MORE_THAN_OTHERS = 4
"""How many more faults than the rarest kind a deployment may get before another deployment is started."""

FAILING_PEERS = 0.25
"""The share of faults during which the peers fail too, at every stage."""

SITES = {
    "plain": {},
    "clock": {"has_clocks": True},
    "drifting clocks": {"has_clocks": True, "servers": 2, "lease": None},
    "long leases": {"lease": 8.0},
    "power cut": {"layer": disks.power_cut_layer},
    "disk": {"layer": disks.disk_layer},
    "damage": {},
    "disk and power cut": {"layer": disks.both_layers},
    "small disk": {"has_small_disk": True},
    "standby": {"has_standby": True},
    "two servers": {"servers": 2},
}
"""The options of each kind of deployment."""


class Row:
    """A kind of fault, on a store, with a number of worker processes."""

    def __init__(self, kind, store, workers):
        self.kind, self.store, self.workers = kind, store, workers
        self.key = kind.name, store, workers
        self.site = kind.site, store, workers


def rows(*, kinds=None, stores=None, workers=None, is_exact=False):
    """Return the rows of the table, restricted to these stores, numbers of workers, and kinds whose names contain one
    of these texts, or are one of them.
    """
    return [
        Row(kind, store, count)
        for kind in KINDS
        for store in kind.stores
        for count in kind.workers
        if (not kinds or any(wanted == kind.name if is_exact else wanted in kind.name for wanted in kinds))
        and (not stores or store in stores)
        and (not workers or count in workers)
    ]


class Campaign:
    """A run. `lines` is the file to which a line is added for each fault, and from which a run continues; None if there
    is none. `kept` is the directory in which the data of a deployment stays after a violation.
    """

    def __init__(self, chosen, *, seed, lines, each=None, each_kind=None, kept=None):
        self._rows, self._seed, self._lines = chosen, seed, lines
        self._each, self._each_kind = each, each_kind
        self._kept = kept or Path(tempfile.gettempdir())
        self.done, self.violations, self._stopped = Counter(), [], set()
        self._done_of_kind = Counter()
        self.injected = 0
        """The number of faults that this run has injected."""
        self._serial = 0
        if lines and lines.exists():
            for line in lines.read_text(encoding="utf-8").splitlines():
                one = json.loads(line)
                self._serial += 1
                self._count(one["kind"], one["store"], one["workers"])

    def run(self, *, seconds):
        """Inject faults until the time is over, or until there are `each` faults of each row and `each_kind` faults of
        each kind.
        """
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and (waiting := self._waiting()):
            least = self._next(waiting)
            self._run_site([row for row in waiting if row.site == least.site], ends)

    def _waiting(self):
        left = [row for row in self._rows if row.key not in self._stopped]
        left = [row for row in left if self._each is None or self.done[row.key] < self._each]
        return [row for row in left if self._each_kind is None or self._of_kind(row) < self._each_kind]

    def _count(self, kind, store, workers):
        self.done[kind, store, workers] += 1
        self._done_of_kind[kind] += 1

    def _of_kind(self, row):
        return self._done_of_kind[row.kind.name]

    def _next(self, of):
        """Return the row with the fewest faults; of several, the one whose kind has the fewest."""

        def order(row):
            return self.done[row.key], self._of_kind(row), random.Random(f"{row.key}{self._seed}").random()

        return min(of, key=order)

    def _least(self, of):
        return min(self.done[row.key] for row in of)

    def _run_site(self, of_site, ends):
        with self._site(of_site[0], self._seed * 1_000_003 + self._serial) as site:
            for turn in range(FAULTS_PER_SITE):
                left = [row for row in of_site if row in self._waiting()]
                if not left or time.monotonic() > ends or len(site.sent) > MOST_MESSAGES:
                    break
                if self._least(left) > self._least(self._waiting()) + MORE_THAN_OTHERS:
                    break
                if not self.one(site, self._next(left), turn):
                    break

    @contextmanager
    def _site(self, row, seed):
        """Start a deployment for a row, and stop it at the end. Remove its data, unless a fault found a violation."""
        directory, violations = Path(tempfile.mkdtemp(prefix="faults-", dir=self._kept)), len(self.violations)
        kind, store, workers = row.site
        is_kept = False
        try:
            with Site(directory / "site", store=store, workers=workers, seed=seed, **SITES[kind]) as site:
                yield site
            is_kept = len(self.violations) > violations
        except Exception:
            is_kept = True
            print(f"The deployment in {directory} failed:", flush=True)
            raise
        finally:
            if not is_kept:
                shutil.rmtree(directory)

    def replay(self, seed, times):
        """Inject the fault with this seed again, up to `times` times, on a new deployment for each chosen row."""
        for row in self._rows:
            with self._site(row, seed) as site:
                for turn in range(times):
                    if not self.one(site, row, turn, seed=seed):
                        break

    def one(self, site, row, turn, *, seed=None):
        """Inject one fault, check everything, and write its line. Return whether everything was right."""
        seed = self._seed * 1_000_003 + self._serial if seed is None else seed
        self._serial += 1
        began, before, doubled = time.monotonic(), len(site.sent), site.doubled
        failures = sum(site.peer_failures.counts.values())
        print(f"{row.kind.name}, {row.store}, {row.workers}, seed {seed}: ", end="", flush=True)
        try:
            found = inject(site, row.kind, random.Random(seed), turn)
        except testing.ServerDied as died:
            found = [Violation(ViolationKind.NOT_STARTED, why_not_started(died, characters=3_000))]
        except Exception as error:  # noqa: BLE001 - the line says what happened
            (site.directory / "error.txt").write_text(traceback.format_exc())
            found = [Violation(ViolationKind.ERROR, f"{type(error).__name__}: {error}"[:700])]
        outcomes = Counter(each.outcome for each in site.sent[before:])
        line = {
            "kind": row.kind.name,
            "store": row.store,
            "workers": row.workers,
            "seed": seed,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.monotonic() - began, 2),
            "accepted": outcomes[Outcome.ACCEPTED],
            "refused": outcomes[Outcome.REFUSED],
            "unknown": outcomes[Outcome.UNKNOWN],
            "calls": sum(each.outcome is not None for caller in site.callers for each in caller.history),
            "calls_unknown": sum(each.outcome is None for caller in site.callers for each in caller.history),
            "peers_failed": sum(site.peer_failures.counts.values()) - failures,
            "doubled_at_peers": site.doubled - doubled,
            "versions": versions(),
            "result": "violation" if found else "right",
        }
        if found:
            line["violations"] = [str(each) for each in found[:20]]
            line["kept"] = str(site.directory)
        if self._lines:
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self.injected += 1
        self._count(*row.key)
        print(f"{line['result']}, {line['seconds']} s, {line['accepted']} messages, {line['calls']} calls", flush=True)
        if found:
            self._stopped.add(row.key)
            self.violations.append(line)
            print("\n".join(line["violations"]), flush=True)
            print(
                f"The data and the log are in {site.directory}. To inject the fault again:\n"
                f'  .venv/bin/python -m faults.campaign --exact --kinds "{row.kind.name}"'
                f" --stores {row.store} --workers {row.workers} --replay {seed} --times 5",
                flush=True,
            )
        return not found


def inject(site, kind, chance, turn):
    """Inject a fault under load. Return the violations."""
    site.windows = [each for each in site.windows if each.ended > time.monotonic() - 3_600]
    with ExitStack() as opened:
        opened.callback(setattr, site.peer_failures, "share", 0.0)
        if chance.random() < FAILING_PEERS and kind.may_lose_leases:
            site.peer_failures.share = 0.3
        load = opened.enter_context(site.load(turn, has_doubt=kind.has_doubt))
        load.wait_for_more(chance.randint(1, 3), seconds=60)
        kind.inject(site, chance)
        load.wait_for_more(1, seconds=60)
    return site.check(
        is_ordered=kind.is_ordered, expects_failures=kind.expects_failures, may_lose_leases=kind.may_lose_leases
    )


def versions():
    """Return the versions of what was tested."""
    return {"waypost": waypost.__version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
