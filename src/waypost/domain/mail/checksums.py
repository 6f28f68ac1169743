"""The checksum that is stored with each piece of a message, and compared whenever the piece is read."""

import zlib


def of_piece(message_id: str, start: int, octets: bytes | memoryview) -> int:
    """Return the checksum of a piece of a message, from 0 to 2^32 - 1.

    `start` is the offset of the piece's first byte in the message. CRC-32 detects each change of up to 32 consecutive
    bits, and other damage except once in 2^32 cases. The id and the offset are part of what it covers, so that a piece
    in the row of another piece is detected too. It is no protection against people who change the database.
    """
    return zlib.crc32(octets, zlib.crc32(f"{message_id}:{start}".encode()))


def fits(checksum: int | None, message_id: str, start: int, octets: bytes | memoryview) -> bool:
    """Return whether a piece has the checksum that was stored with it. None means that none was stored."""
    try:
        return checksum is None or checksum == of_piece(message_id, start, octets)
    except TypeError:  # a damaged SQLite file can have a value of another type in place of the bytes
        return False
