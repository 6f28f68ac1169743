"""The form of SQLite's write-ahead log, as far as Waypost reads it (https://www.sqlite.org/walformat.html).

The log has a header, and then frames. Each frame has a header of its own and a page of the database.
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


def log_of(database: Path) -> Path:
    """Return the path of the log of an SQLite file."""
    return database.with_name(f"{database.name}-wal")
