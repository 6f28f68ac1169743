"""Runs `waypost serve`, and measures the processor time of each transaction and each callback of the event loop.

Transactions and callbacks that take longer than `WORTH_RECORDING` seconds are written to the file that the environment
names, as one JSON object per line. The event loop is asyncio's own, because uvloop does not allow such measurements.
"""

import asyncio
import json
import os
import sys
import time
from asyncio import events
from functools import partial
from pathlib import Path
from typing import TextIO

import uvloop

from waypost import cli
from waypost.smtp.backend import refusals
from waypost.store.sqlite import batches

WORTH_RECORDING = 0.000_2
FILE = "WAYPOST_WATCHED"


def main() -> None:
    """Run the server with the arguments of `waypost`."""
    with Path(os.environ.pop(FILE)).open("a", buffering=1, encoding="utf-8") as output:
        _watch(output)
        uvloop.run = asyncio.run
        refusals.EVERY = 0.1  # so that recording the refusals of a message is measured with that message
        sys.exit(cli.main())


def _watch(output: TextIO) -> None:
    def record(where: str, began: float, what: object) -> None:
        spent = time.thread_time() - began
        if spent > WORTH_RECORDING:
            output.write(json.dumps({"where": where, "seconds": spent, "what": _name(what)}) + "\n")

    run_job, run_handle = batches.Job.run, events.Handle._run

    def watched_job(job, tx) -> None:
        began = time.thread_time()
        run_job(job, tx)
        record("transaction", began, job.use_case)

    def watched_handle(handle) -> None:
        began, callback = time.thread_time(), handle._callback
        run_handle(handle)
        record("loop", began, callback)

    batches.Job.run, events.Handle._run = watched_job, watched_handle


def _name(what: object) -> str:
    while isinstance(what, partial):
        what = what.func
    return getattr(what, "__qualname__", repr(what))[:60]


if __name__ == "__main__":
    main()
