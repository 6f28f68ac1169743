"""`python -m faults.campaign` injects faults, and writes a line of JSON for each."""

import argparse
import faulthandler
import signal
import sys
import tempfile
from pathlib import Path

from faults.campaign.runner import Campaign, rows


def main():
    parser = argparse.ArgumentParser(prog="python -m faults.campaign", description=__doc__)
    parser.add_argument("--kinds", nargs="*", help="the kinds of fault whose names contain one of these texts")
    parser.add_argument("--exact", action="store_true", help="--kinds has whole names")
    parser.add_argument("--stores", nargs="*", choices=["sqlite", "postgresql"])
    parser.add_argument("--workers", nargs="*", type=int, choices=[1, 2])
    parser.add_argument("--seed", type=int, default=1, help="the seed of the campaign")
    parser.add_argument("--replay", type=int, help="the seed of one fault, which is injected again")
    parser.add_argument("--times", type=int, default=1, help="how often --replay injects it")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--each", type=int, help="stop when there are so many faults of each kind, store and workers")
    parser.add_argument("--each-kind", type=int, help="stop when there are so many faults of each kind")
    parser.add_argument("--resume", type=Path, default=Path("faults.jsonl"), help="the file of the lines")
    parser.add_argument("--kept", type=Path, help="the directory for data, which is kept after a violation")
    parser.add_argument("--list", action="store_true", help="print the table of the kinds, and exit")
    given = parser.parse_args()
    faulthandler.register(signal.SIGUSR2)  # prints what each thread does
    chosen = rows(kinds=given.kinds, stores=given.stores, workers=given.workers, is_exact=given.exact)
    if given.list:
        for row in chosen:
            print(*row.key, sep="\t")
        return 0
    if not chosen:
        parser.error("no kind of fault has this name, store and number of workers; see --list")
    kept = (given.kept or Path(tempfile.gettempdir())).resolve()
    kept.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(
        chosen, seed=given.seed, lines=given.resume, each=given.each, each_kind=given.each_kind, kept=kept
    )
    if given.replay is not None:
        campaign.replay(given.replay, given.times)
    else:
        campaign.run(seconds=given.minutes * 60)
    print(f"{sum(campaign.done.values())} faults, {len(campaign.violations)} with violations")
    return 1 if campaign.violations else 0


if __name__ == "__main__":
    sys.exit(main())
