"""Runs seeds of the simulation: `python -m faults.simulation --seeds N --from SEED`, or one with `--replay SEED`."""

import argparse
import signal
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

from faults.simulation import broken
from faults.simulation.runs import Totals
from faults.simulation.world import FAULTS, run_seed


def main():
    parser = argparse.ArgumentParser(prog="python -m faults.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="the number of seeds to run (default: 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="the first seed (default: 0)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed, and show everything that is wrong")
    each = "the number of faults to choose in each phase of a seed (default: %(default)s); needed again for --replay"
    parser.add_argument("--faults", type=int, default=FAULTS, help=each)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--resume", action="store_true", help="continue after the last seed in the file of --json")
    parser.add_argument(
        "--broken", choices=broken.VARIANTS, help="break Waypost in this way, and stop when that is found"
    )
    parser.add_argument("--time", type=float, metavar="SECONDS", help="begin no further seed after this time")
    given = parser.parse_args()
    if given.resume and not given.json:
        parser.error("--resume needs --json FILE, which has the results so far.")
    with broken.broken(given.broken) if given.broken else nullcontext():
        return replay(given.replay, given.faults) if given.replay is not None else run(given)


def replay(seed, faults):
    """Run one seed, and print what is wrong."""
    result = run_seed(seed, faults=faults)
    print(f"Seed {seed}: {result.steps} steps, faults {result.faults}, digest {result.digest}")
    for violation in result.violations:
        print(violation)
    return 1 if result.violations else 0


class _Enough(Exception):
    """The seed found the broken variant, or the time is over."""


def run(given):
    """Run many seeds, and print the totals."""
    totals = Totals(given.first, given.json, faults=given.faults)
    if given.resume:
        try:
            totals.resume()
        except ValueError as error:
            sys.exit(str(error))

    interrupts = []
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))  # the current seed is completed first

    def report(result):
        if result.violations:
            print(f"Seed {result.seed} (replay it with --replay {result.seed}):\n  {result.violations[0]}", flush=True)
        if interrupts or (given.broken and result.violations) or (given.time and totals.seconds > given.time):
            raise _Enough

    with suppress(_Enough):
        totals.run(totals.first + given.seeds, report)
    found = totals.as_json()
    print(
        f"{found['seeds']} seeds from {found['first_seed']}, {found['steps']} steps in {found['seconds']:g} s "
        f"({found['steps_per_second']} a second), {found['faults_in_all']} faults, {found['checks']} checks, "
        f"{len(found['failed'])} seeds failed"
    )
    for kind, count in sorted(found["faults"].items(), key=lambda each: -each[1]):
        print(f"  {count:7} {kind}")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
