"""Measures how the time of single operations grows with the number of email addresses and of stored messages.

Both stores grow from a thousand email addresses (or messages) to a million. At each size, each operation runs many
times, one at a time, in this process and without the network. Its time is the processor time that all threads of this
process and all processes of PostgreSQL need for it, because other work on the machine changes the elapsed time far
more. The data is in memory (`/dev/shm`) if that is possible, so that no operation waits for a disk.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import growth_curves as curves_of
from growth_fill import ORIGINAL, NoSeal, PostgresFiller, SqliteFiller, create_instance, email_address
from growth_operations import LARGE, SMALL, Measured, Operations, accepting, of_addresses, of_messages

from waypost.app.ports import Store
from waypost.store.postgres.store import PostgresStore
from waypost.store.sqlite.store import SqliteStore

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "growth.md"
KEPT = ROOT / "docs" / "growth"
DATA = KEPT / "growth.json"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
BASE = SIZES[0]
"""The number of messages that the store itself accepts. The others are copies of these."""

WARM_UP = 20
MEMORY = Path("/dev/shm")
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB", "io_method": "sync"}
"""Settings of PostgreSQL, for a database that is larger than the default cache."""

TITLES = {"addresses": "email addresses", "messages": "messages"}


class Database:
    """An empty database of one kind, which is filled and measured in turn."""

    def __init__(self, filler: SqliteFiller | PostgresFiller, open_store: Callable[[], Store]) -> None:
        self.filler = filler
        self.open_store = open_store

    def processes(self) -> list[int]:
        """Return the ids of the other processes whose processor time counts."""
        return self.filler.processes()


@contextmanager
def sqlite() -> Iterator[Database]:
    """Yield an SQLite file in memory."""
    in_memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="waypost-growth-", dir=in_memory) as directory:
        path = Path(directory) / "waypost.sqlite3"
        yield Database(SqliteFiller(path), lambda: SqliteStore(path, NoSeal()))


@contextmanager
def postgresql() -> Iterator[Database]:
    """Yield a database of a PostgreSQL server that is started for it."""
    sys.path.append(str(ROOT))
    from tests.kit.stores.postgresql import OwnServer

    with OwnServer(fsync=False, **SETTINGS) as server:
        url = server.new_database()
        yield Database(PostgresFiller(url), lambda: PostgresStore(url, NoSeal()))


STORES = {"SQLite": sqlite, "PostgreSQL": postgresql}


def main() -> None:
    options = _options()
    found = _kept() if options.keep else {}
    found |= {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    sizes = [size for size in SIZES if size <= options.largest]
    for what in options.series:
        for name in options.stores:
            load = os.getloadavg()[0]
            measured = grow(name, what, sizes, options.runs)
            about = {"measured": datetime.now(UTC).strftime("%Y-%m-%d"), "load": round(load, 1), "runs": options.runs}
            found.setdefault("series", {}).setdefault(what, {})[name] = about | measured
            if options.keep:
                KEPT.mkdir(exist_ok=True)
                DATA.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show(found)
    if options.keep:
        write_page(found)


def _kept() -> dict[str, Any]:
    """Return the figures of earlier runs. Keys of JSON are strings, so sizes become numbers again."""
    if not DATA.exists():
        return {}

    def numbered(found: dict[str, Any]) -> dict[Any, Any]:
        return {int(key) if key.isdigit() else key: value for key, value in found.items()}

    kept: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"), object_hook=numbered)
    return kept


def grow(name: str, what: str, sizes: list[int], runs: int) -> dict[str, Any]:
    """Measure all operations at each size. Return the medians and the 99th percentiles by operation and size."""
    medians: dict[str, dict[int, float]] = {}
    slowest: dict[str, dict[int, float]] = {}
    with ExitStack() as opened:
        database = opened.enter_context(STORES[name]())
        asyncio.run(_begin(database, what))
        reached = BASE if what == "messages" else 0
        for size in sizes:
            began = time.monotonic()
            if what == "addresses":
                database.filler.add_addresses(reached, size)
            elif size > reached:
                database.filler.copy_messages(reached // BASE - 1, size // BASE - 1)
            reached = size
            print(f"{name}: {size:,} {TITLES[what]} after {time.monotonic() - began:.0f} s", flush=True)
            for operation, times in asyncio.run(_measure(database, what, size, runs)).items():
                medians.setdefault(operation, {})[size] = statistics.median(times)
                slowest.setdefault(operation, {})[size] = statistics.quantiles(times, n=100)[98]
    return {"median": medians, "p99": slowest}


async def _begin(database: Database, what: str) -> None:
    """Create the instance, and for a series of messages also the first email addresses and messages."""
    store = database.open_store()
    await store.write(create_instance)
    if what == "messages":
        await store.close()
        database.filler.add_addresses(0, BASE)
        store = database.open_store()
        for number in range(BASE):
            recipient = LARGE if number % 2 else email_address(number // 10 * 10 + 7)
            await store.write(accepting(recipient, f"{ORIGINAL}{number:028x}", SMALL))
    await store.close()


async def _measure(database: Database, what: str, size: int, runs: int) -> dict[str, list[float]]:
    """Return the times of all operations in milliseconds."""
    store = database.open_store()
    of = of_addresses if what == "addresses" else of_messages
    operations = of(Operations(store, size if what == "addresses" else BASE))
    found = {}
    try:
        for name, operation in operations.items():
            for _ in range(WARM_UP):
                await _timed(operation(), [])
            processes = database.processes()
            found[name] = [await _timed(operation(), processes) for _ in range(runs)]
            print(f"  {name:40} {statistics.median(found[name]):8.3f} ms", flush=True)
    finally:
        await store.close()
    return found


async def _timed(measured: Measured, processes: list[int]) -> float:
    before = _processor_time(processes)
    await measured.step()
    took = _processor_time(processes) - before
    if measured.undo:
        await measured.undo()
    return took


def _processor_time(processes: list[int]) -> float:
    """Return the processor time of this process and of other processes so far, in milliseconds."""
    others = sum(int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) for pid in processes)
    return (time.process_time_ns() + others) / 1e6


def show(found: Mapping[str, Any]) -> None:
    """Print a table for each store and each kind of growth."""
    for what, stores in found["series"].items():
        for name, one in stores.items():
            print(f"\n{name}, by the number of {TITLES[what]}: medians in ms of processor time\n\n{_table(one)}")
            print(f"more than {curves_of.FLAT} ×: {', '.join(curves_of.not_flat(one['median'])) or 'none'}")


def write_page(found: Mapping[str, Any]) -> None:
    """Write the charts, and the tables of the page."""
    page = PAGE.read_text(encoding="utf-8")
    for what, stores in found["series"].items():
        for name, one in stores.items():
            page = curves_of.between(page, f"{what} on {name}", _table(one))
        title = f"Time of one operation by the number of {TITLES[what]}"
        chart = curves_of.chart(title, {name: one["median"] for name, one in stores.items()})
        (KEPT / f"{what}.svg").write_text(chart, encoding="utf-8")
    PAGE.write_text(curves_of.between(page, "where", _where(found)), encoding="utf-8")


def _table(one: Mapping[str, Any]) -> str:
    return curves_of.table(one["median"], {operation: times[max(times)] for operation, times in one["p99"].items()})


def _where(found: Mapping[str, Any]) -> str:
    runs = [one for stores in found["series"].values() for one in stores.values()]
    days, loads = {one["measured"] for one in runs}, [one["load"] for one in runs]
    return (
        f"Measured on {' and '.join(sorted(days))}, on {found['processor']} with {found['cores']} cores, Python "
        f"{found['python']}. Other work shared the machine: its load was {min(loads):.0f} to {max(loads):.0f} when the "
        "runs began. Each figure is the median of "
        f"{' or '.join(str(count) for count in sorted({one['runs'] for one in runs}))} runs, in "
        "milliseconds of processor time."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="the largest size (default 1,000,000)")
    parser.add_argument("--runs", type=int, default=200, help="runs of each operation at each size (default 200)")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES), help="the stores to measure")
    parser.add_argument("--series", nargs="+", choices=TITLES, default=list(TITLES), help="what grows")
    parser.add_argument("--keep", action="store_true", help="write docs/growth.md and docs/growth/")
    return parser.parse_args()


if __name__ == "__main__":
    main()
