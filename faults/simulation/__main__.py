"""Simulates several servers on one database with faults, from seeds. The same seed and options repeat the same run.

The exit code is 1 if a seed found a violation. With --broken, it is 1 if no seed found the defect.
docs/decisions/0067-simulation.md says what is simulated.
"""

import argparse
import shlex
import signal
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

from faults.simulation import broken
from faults.simulation.runs import Totals
from faults.simulation.world import FAULTS, run_seed


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m faults.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="the number of seeds to run (default: 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="the first seed (default: 0)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed, and show everything that is wrong")
    each = "the number of faults to choose in each phase of a seed (default: %(default)s); needed again for --replay"
    parser.add_argument("--faults", type=int, default=FAULTS, help=each)
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the totals to this file, as JSON")
    parser.add_argument("--resume", action="store_true", help="continue after the last seed in the file of --results")
    defect = f"give Waypost this defect, and stop when a seed has found it: {', '.join(broken.VARIANTS)}"
    parser.add_argument("--broken", choices=broken.VARIANTS, metavar="DEFECT", help=defect)
    parser.add_argument("--minutes", type=float, help="begin no further seed after this time")
    given = parser.parse_args(words)
    if given.resume and not given.results:
        parser.error("--resume needs --results FILE, which has the results so far.")
    with broken.broken(given.broken) if given.broken else nullcontext():
        return replay(given.replay, given.faults) if given.replay is not None else run(given)


def replay(seed, faults):
    """Run one seed, and print what is wrong."""
    result = run_seed(seed, faults=faults)
    print(f"Seed {seed}: {result.steps} steps, faults {result.faults}, digest {result.digest}")
    print("\n".join(result.violations) or "No violation.")
    return 1 if result.violations else 0


class _Enough(Exception):
    """The seed found the broken variant, or the time is over."""


def run(given):
    """Run many seeds, and print the totals."""
    totals = Totals(given.first, given.results, faults=given.faults)
    if given.resume:
        try:
            totals.resume()
        except ValueError as error:
            sys.exit(str(error))

    interrupts = []
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))  # the current seed is completed first

    def report(result):
        if result.violations:
            print(f"Seed {result.seed}: {result.violations[0]}\nTo see all that is wrong:", flush=True)
            print(f"  {_replay_of(result.seed, given)}", flush=True)
        is_late = given.minutes is not None and totals.seconds > given.minutes * 60
        if interrupts or (given.broken and result.violations) or is_late:
            raise _Enough

    with suppress(_Enough):
        totals.run(totals.first + given.seeds, report)
    found = totals.as_json()
    print(
        f"{found['seeds']} seeds from {found['first_seed']}, {found['steps']} steps in {found['seconds']:g} s "
        f"({found['steps_per_second']} a second), {found['faults_in_all']} faults, {found['checks']} checks, "
        f"{len(found['failed'])} seeds with violations"
    )
    for kind, count in sorted(found["faults"].items(), key=lambda each: -each[1]):
        print(f"  {count:7} {kind}")
    if given.broken:
        print("The defect was found." if found["failed"] else "No seed has found the defect.")
    return 1 if bool(found["failed"]) != bool(given.broken) else 0


def _replay_of(seed, given):
    """Return the command that runs a seed again."""
    words = [".venv/bin/python", "-m", "faults.simulation", "--replay", str(seed), "--faults", str(given.faults)]
    return shlex.join([*words, *(["--broken", given.broken] if given.broken else [])])


if __name__ == "__main__":
    sys.exit(main())
