"""The form of SQLite's write-ahead log, as far as Waypost reads it (https://www.sqlite.org/walformat.html).

The log has a header, and then frames. Each frame has a header of its own and a page of the database. The index of the
log is the file `-shm`.
"""

import struct
from pathlib import Path

HEADER = struct.Struct(">IIII8sII")
"""The header of the log: magic number, version, page size, number of checkpoints, salts, checksum in two numbers."""

FRAME = struct.Struct(">II8sII")
"""The header of a frame: page number, size of the database after a commit or 0, salts, checksum in two numbers. The
frame belongs to the log if its salts are those of the log's header.
"""

MAGIC = 0x377F0682
"""The magic number, without the lowest bit. That bit is the order of the octets of the numbers that a checksum adds."""

DATABASE_MODE, WITHOUT_LOG = 18, b"\1"
"""The place in the header of the database that says whether the database has a log, and its value if it has none."""

INDEX = struct.Struct("=IIIBBHII8s8s8s")
"""The beginning of the index, in the byte order of the machine: version, …, whether it is complete, …, size of a page,
number of the last frame, …, the checksum of that frame, the salts, and the checksum of all this.
"""

INDEX_VERSION = 3007000

INDEX_COPIED = 2 * INDEX.size
"""The place of the number of the last frame that is in the database too. The beginning of the index, twice, is before
it.
"""


def log_of(database: Path) -> Path:
    """Return the path of the log of an SQLite file."""
    return database.with_name(f"{database.name}-wal")


def index_of(database: Path) -> Path:
    """Return the path of the index of the log of an SQLite file."""
    return database.with_name(f"{database.name}-shm")
