"""Injects faults into real servers with clients under load, and checks after each fault that nothing acknowledged is
lost, doubled or changed.

The exit code is 1 if there was a violation. docs/decisions/0068-faults-against-real-servers.md says how it works.
"""

import argparse
import faulthandler
import signal
import sys
import tempfile
from pathlib import Path

from faults.campaign.runner import Campaign, rows
from faults.campaign.table import why_not

RESULTS = Path(__file__).parents[2] / ".cache" / "campaign" / "faults.jsonl"
"""The file of results of `make faults`."""


def main(words=None):
    parser = _parser()
    given = parser.parse_args(words)
    faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)  # prints what each thread does
    wanted = rows(kinds=given.kinds, stores=given.stores, workers=given.workers, is_exact=given.exact)
    if not wanted:
        parser.error("no kind of fault has this name, store and number of workers; see --list")
    reasons = {row.kind.name: why for row in wanted if (why := why_not(row.kind))}
    if given.list:
        for row in wanted:
            print(*row.key, *filter(None, [reasons.get(row.kind.name)]), sep="\t")
        return 0
    for name, why in reasons.items():
        print(f"Left out: {name}, because {why}", flush=True)
    chosen = [row for row in wanted if row.kind.name not in reasons]
    if not chosen:
        parser.error("this machine can inject none of these faults")
    results = given.results or (RESULTS if given.replay is None else None)
    for directory in filter(None, (results and results.parent, given.keep)):
        directory.mkdir(parents=True, exist_ok=True)
    kept = (given.keep or Path(tempfile.gettempdir())).resolve()
    campaign = Campaign(chosen, seed=given.seed, lines=results, each=given.each, each_kind=given.each_kind, kept=kept)
    if given.replay is not None:
        campaign.replay(given.replay, given.times)
    else:
        campaign.run(seconds=given.minutes * 60)
    print(f"{campaign.injected} faults injected, {len(campaign.violations)} with violations")
    if results:
        again = "" if campaign.injected else ", so --each or --each-kind is reached. Remove the file to begin again"
        print(f"{results} has the results of {sum(campaign.done.values())} faults{again}")
    return 1 if campaign.violations else 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m faults.campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the chosen kinds, stores and workers, and exit")
    chosen = parser.add_argument_group("which faults (by default all)")
    chosen.add_argument("--kinds", nargs="*", metavar="TEXT", help="the kinds whose names contain one of these texts")
    chosen.add_argument("--exact", action="store_true", help="the texts of --kinds are whole names")
    chosen.add_argument("--stores", nargs="*", choices=["sqlite", "postgresql"], help="the stores of the servers")
    chosen.add_argument("--workers", nargs="*", type=int, choices=[1, 2], help="the numbers of worker processes")
    ends = parser.add_argument_group("how many faults; the run ends when the first limit is reached")
    ends.add_argument("--minutes", type=float, default=10.0, help="the longest duration (default: 10)")
    each = "the number of faults of each kind, store and number of workers, with those in the file of results"
    ends.add_argument("--each", type=int, metavar="N", help=each)
    ends.add_argument("--each-kind", type=int, metavar="N", help="the same of each kind")
    ends.add_argument("--seed", type=int, default=1, help="chooses the order and the details of faults (default: 1)")
    again = parser.add_argument_group("replay")
    again.add_argument(
        "--replay", type=int, metavar="SEED", help="inject the fault with this seed again, with the same --kinds, …"
    )
    again.add_argument("--times", type=int, default=1, metavar="N", help="how often, until a violation (default: 1)")
    files = parser.add_argument_group("files")
    results = (
        "the file to which each fault adds a line of JSON, and from which a run continues (default: "
        ".cache/campaign/faults.jsonl; none with --replay)"
    )
    files.add_argument("--results", type=Path, metavar="FILE", help=results)
    keep = "where data and logs stay after a violation (default: the directory for temporary files)"
    files.add_argument("--keep", type=Path, metavar="DIRECTORY", help=keep)
    return parser


if __name__ == "__main__":
    sys.exit(main())
