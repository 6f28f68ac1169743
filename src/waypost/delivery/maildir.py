"""Deliver mail into a Maildir. Each message is written to a file in tmp/. The file is then synced to disk and moved to
new/.

If every line of a message ends in CRLF, the lines in the file end in LF, because programs that read files expect LF.
This conversion loses no information, because the message had no other line endings. Messages with any other line
endings are stored unchanged. If the route has `line_ends = "as-received"`, every message is stored unchanged.
"""

import asyncio
import itertools
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from waypost.delivery.maildir_directories import NAMES, in_words, naming, opened_directory, opened_maildir
from waypost.delivery.outgoing import Parcel
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.routes import LineEnds, Route

STORED_WITH_LF = "with LF line ends"
STORED_AS_SET = "with the line ends as received, as the route requires"
STORED_AS_RECEIVED = "with the line ends as received, because not every line ends in CRLF"
"""The strings that the trace shows as the result of a delivery."""

_HOSTNAME_LIMIT = 100
"""The maximum number of the host name's characters to include in a file name. The limit is needed because a file name
can have at most 255 characters, including the flags that mail readers add.
"""


class MaildirTransport:
    """Delivers parcels into Maildirs, with the trace header before the message.

    The name of a file in new/ depends only on the delivery, so that an attempt that is repeated after a crash does not
    create a second file.
    """

    def __init__(self, hostname: str) -> None:
        """`hostname` becomes part of the names of temporary files, so that several machines can share a Maildir."""
        self._hostname = hostname.replace("/", r"\057").replace(":", r"\072")[:_HOSTNAME_LIMIT]
        self._count = itertools.count(1)

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Write the parcel to a file in the Maildir. If the file already exists, the delivery is reported as stored."""
        path = Path(route.target.path)
        lines = LfLines() if route.line_ends is LineEnds.LF else None
        file = _File(path, name=self._name(parcel), temporary=self._temporary(), lines=lines)
        stage, text = Stage.CONNECT, STORED_WITH_LF if lines else STORED_AS_SET
        try:
            if not await asyncio.to_thread(file.begin, parcel.header):
                return _result(path, Stage.STORED, text="The file already existed.")
            stage = Stage.BODY
            await _copy(parcel, file)
            if lines and not lines.are_whole:
                text = STORED_AS_RECEIVED
                await asyncio.to_thread(file.begin_again, parcel.header)
                await _copy(parcel, file)
            await asyncio.to_thread(file.finish)
        except OSError as error:
            return _result(path, stage, Trouble.FAILED, in_words(error))
        except Exception as error:  # noqa: BLE001 - any failure to read the message affects only this attempt
            return _result(path, stage, Trouble.FAILED, f"{type(error).__name__}: {error}")
        finally:
            if not file.has_ended:  # in a thread, because `end` waits for a write that may still be running
                await asyncio.shield(asyncio.to_thread(file.end))
        return _result(path, Stage.STORED, text=text)

    async def close(self) -> None:
        """Do nothing, because this transport keeps no files open between attempts."""

    def _name(self, parcel: Parcel) -> str:
        return f"{int(parcel.message.received_at.timestamp())}.{parcel.delivery.id}.waypost"  # the same on every server

    def _temporary(self) -> str:
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        return f"{seconds}.M{rest // 1000}P{os.getpid()}Q{next(self._count)}.{self._hostname}"


async def _copy(parcel: Parcel, file: "_File") -> None:
    """Copy the message to the file. Stop early if a line ending shows that the message must be stored unchanged."""
    size = 0
    async with parcel.reading() as parts:
        async for part in parts:
            if not await asyncio.to_thread(file.write, part):
                return
            size += len(part)
    if size != parcel.message.size:
        raise ValueError(f"{size} bytes were read of a message of {parcel.message.size} bytes")


class LfLines:
    """Converts the line endings of a message from CRLF to LF, part by part."""

    def __init__(self) -> None:
        self._held = b""
        self._has_ended = True
        self.is_lossless = True
        """Whether every CR and every LF in the bytes fed so far is part of a CRLF, so that the conversion loses no
        information.
        """

    @property
    def are_whole(self) -> bool:
        """Whether every line of the message ended in CRLF. This is known only after the last call to `feed`."""
        return self.is_lossless and self._has_ended and not self._held

    def feed(self, octets: bytes) -> bytes:
        """Convert the next bytes of the message.

        The caller must discard the converted bytes if `is_lossless` is false.
        """
        octets = self._held + octets
        self._held = b"\r" if octets.endswith(b"\r") else b""  # the LF may be in the next part
        octets = octets.removesuffix(self._held)
        count = octets.count(b"\r\n")
        self.is_lossless = self.is_lossless and octets.count(b"\r") == count == octets.count(b"\n")
        if octets:
            self._has_ended = octets.endswith(b"\n")
        return octets.replace(b"\r\n", b"\n")


class _File:
    """The file of one message during its delivery into a Maildir. The methods of this class block on disk I/O. A lock
    ensures that only one method runs at a time.

    The Maildir's directories are opened once, and the file is then created, found and renamed relative to the open
    directories. Therefore, the owner of the Maildir cannot redirect the delivery with a symbolic link.
    """

    def __init__(self, maildir: Path, *, name: str, temporary: str, lines: LfLines | None) -> None:
        """If `lines` is not None, it converts the message to LF line endings."""
        self._maildir, self._name, self._lines = maildir, name, lines
        self._temporary = temporary
        self._directories: dict[str, int] = {}
        self._descriptor: int | None = None
        self.has_ended = False
        self._lock = threading.Lock()

    def begin(self, header: bytes) -> bool:
        """Create the file in tmp/, readable only by its owner. Return False if the message was already delivered to the
        Maildir.
        """
        with self._lock:
            if self.has_ended:
                return True
            self._open_directories()
            if self._is_there():
                return False
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._descriptor = os.open(self._temporary, flags, 0o600, dir_fd=self._directories["tmp"])
            except OSError as error:
                raise naming(error, self._maildir / "tmp" / self._temporary) from error
            self._write(header)
            return True

    def begin_again(self, header: bytes) -> None:
        """Empty the file, write the header again, and write all further bytes unchanged."""
        with self._lock:
            self._lines = None
            if self._descriptor is not None:
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._write(header)

    def write(self, octets: bytes) -> bool:
        """Append to the file. Returns False if the conversion to LF would lose information, so that the caller can stop
        early.
        """
        with self._lock:
            return self._write(octets)

    def finish(self) -> None:
        """Sync the file to disk, move it to new/, and sync the directories, so that the delivery survives a crash."""
        with self._lock:
            if self._descriptor is None:
                return
            os.fsync(self._descriptor)
            self._close()
            tmp, new = self._directories["tmp"], self._directories["new"]
            os.rename(self._temporary, self._name, src_dir_fd=tmp, dst_dir_fd=new)
            os.fsync(new)
            os.fsync(tmp)
            self.has_ended = True
            self._close_directories()

    def end(self) -> None:
        """Release all resources, and delete the file if it is unfinished."""
        with self._lock:
            self.has_ended = True
            self._close()
            if "tmp" in self._directories:
                with suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._directories["tmp"])
            self._close_directories()

    def _open_directories(self) -> None:
        """Open the Maildir and its directories. Missing directories are created."""
        maildir = self._directories[""] = opened_maildir(self._maildir)
        for name in NAMES:
            self._directories[name] = opened_directory(name, self._maildir / name, within=maildir)

    def _is_there(self) -> bool:
        """Whether the message was already delivered. A delivered message is in new/, or in cur/ if a mail reader has
        moved it there.

        This method syncs the directory that has the message to disk, because neither the attempt that was interrupted
        nor the mail reader may have done so.
        """
        new = self._directories["new"]
        with suppress(FileNotFoundError):
            os.stat(self._name, dir_fd=new, follow_symlinks=False)
            os.fsync(new)
            return True
        read = (f"{self._name}:", f"{self._name},")  # followed by flags, or by Dovecot's sizes and then flags
        with os.scandir(self._directories["cur"]) as entries:
            if not any(entry.name == self._name or entry.name.startswith(read) for entry in entries):
                return False
        os.fsync(self._directories["cur"])
        return True

    def _write(self, octets: bytes) -> bool:
        if self._lines:
            octets = self._lines.feed(octets)
        rest = memoryview(octets)
        while rest and self._descriptor is not None:
            rest = rest[os.write(self._descriptor, rest) :]
        return self._lines is None or self._lines.is_lossless

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _close_directories(self) -> None:
        while self._directories:
            _, descriptor = self._directories.popitem()
            os.close(descriptor)


def _result(path: Path, stage: Stage, trouble: Trouble | None = None, text: str = "") -> AttemptResult:
    return AttemptResult(protocol=Protocol.MAILDIR, stage=stage, peer=str(path), trouble=trouble, text=text)
