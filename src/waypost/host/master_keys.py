"""The master keys of one data directory: the newest, and the previous one while a rotation is not complete.

They are in files of the directory, or in environment variables. `master_key` has the form of one key.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from waypost.host import master_key
from waypost.host.directory_files import DataDirectoryError, DirectoryFiles
from waypost.host.master_key import (
    MASTER_KEY_VARIABLE,
    PREVIOUS_KEY_VARIABLE,
    BadMasterKey,
    is_master_key_in_environment,
)

if TYPE_CHECKING:
    from waypost.host.sealing import Keyring


class MasterKeys:
    """Reads, makes and replaces the master keys of a data directory."""

    def __init__(
        self, files: DirectoryFiles, *, newest: Path, previous: Path, has_database: Callable[[], bool]
    ) -> None:
        """`newest` and `previous` are the files of the keys. A new key is made only if `has_database` returns False."""
        self._files = files
        self.newest_file = newest
        self.previous_file = previous
        self._has_database = has_database
        self._derives_from: bytes | None = None
        """The master key from which this process derives keys; None until it is needed."""

    def derived(self, purpose: str) -> bytes:
        """Derive the secret key for a purpose from the master key. Raises `DataDirectoryError`.

        In a process, the key for a purpose never changes. During a rotation of the master key, it is still derived from
        the previous one, so that all processes of a deployment have the same key. After the rotation, a process that
        starts has another key.
        """
        if self._derives_from is None:
            newest, previous = self.read()
            self._derives_from = previous or newest
        return master_key.derived(self._derives_from, purpose)

    def read(self) -> tuple[bytes, bytes | None]:
        """Return the master key, and the previous one if a rotation is not complete, as they are now. If the directory
        has no database yet, make a new key. Raises `DataDirectoryError`.
        """
        try:
            if encoded := os.environ.get(MASTER_KEY_VARIABLE):
                newest = master_key.checked(master_key.decoded(encoded), MASTER_KEY_VARIABLE)
                before = os.environ.get(PREVIOUS_KEY_VARIABLE)
                previous = master_key.checked(master_key.decoded(before), PREVIOUS_KEY_VARIABLE) if before else None
            else:
                newest = master_key.checked(self._newest_in_file(), str(self.newest_file))
                previous = self._previous_in_file()
        except BadMasterKey as error:
            raise DataDirectoryError(str(error)) from error
        return newest, None if previous == newest else previous

    def _newest_in_file(self) -> bytes:
        """Return the master key of this directory. If the directory has no database yet, make a new key."""
        if not self.newest_file.exists():
            if self._has_database():
                raise DataDirectoryError(
                    f"{self.newest_file} is missing. Restore the file from your backup, or set {MASTER_KEY_VARIABLE}."
                )
            made = secrets.token_bytes(master_key.BYTES)
            self._files.write(self.newest_file, master_key.encoded(made), replace=False)
        try:
            return master_key.decoded(self._files.read(self.newest_file))
        except OSError as error:
            raise DataDirectoryError(f"{self.newest_file} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            return b""

    def _previous_in_file(self) -> bytes | None:
        try:
            return master_key.checked(master_key.decoded(self._files.read(self.previous_file)), str(self.previous_file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataDirectoryError(f"{self.previous_file} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            return master_key.checked(b"", str(self.previous_file))

    def keyring(self) -> "Keyring":
        """Return the keys that seal the secrets in the database. Raises `DataDirectoryError`."""
        from waypost.host import sealing  # noqa: PLC0415 - commands that call the server start faster without it

        def read() -> sealing.SealKeys:
            newest, previous = self.read()
            sealed = partial(master_key.derived, purpose=master_key.SEALED)
            return sealing.SealKeys(sealed(newest), sealed(previous) if previous else None)

        return sealing.Keyring(read(), reread=read)

    @property
    def has_previous(self) -> bool:
        """Whether a rotation of the master key is not complete. Raises `DataDirectoryError`."""
        has_key = is_master_key_in_environment() or self.newest_file.exists()
        return has_key and self.read()[1] is not None

    @property
    def previous_at(self) -> str:
        """The file or the variable with the previous master key, for messages."""
        return PREVIOUS_KEY_VARIABLE if is_master_key_in_environment() else str(self.previous_file)

    @contextmanager
    def rotating(self) -> Iterator[None]:
        """Run the `with` block while no other process rotates the master key: of two new keys, one would be lost with
        everything that it has sealed. Raises `DataDirectoryError` if another process rotates the key.

        Servers may run meanwhile, so this is not the lock of the running server.
        """
        path = self._files.path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DataDirectoryError(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataDirectoryError(
                    f"Another command rotates the master key of {path}. Wait until it has ended."
                ) from error
            yield
        finally:
            os.close(descriptor)

    def begin_rotation(self) -> bool:
        """Make a new master key, unless a rotation has begun already. Return whether the key is new.

        The previous key is written first, so that no moment exists in which a key is lost. Raises `DataDirectoryError`.
        """
        newest, previous = self.read()
        if previous is not None:
            return False
        if is_master_key_in_environment():
            raise DataDirectoryError(
                f"The master key is in {MASTER_KEY_VARIABLE}. Make a new key, and restart all servers with it in "
                f"{MASTER_KEY_VARIABLE}, and with the present key in {PREVIOUS_KEY_VARIABLE}. Then run this command "
                "with the same variables."
            )
        self._files.write(self.previous_file, master_key.encoded(newest))
        self._files.write(self.newest_file, master_key.encoded(secrets.token_bytes(master_key.BYTES)))
        return True

    def end_rotation(self) -> None:
        """Remove the previous master key, because no secret is sealed with it any more. Raises `DataDirectoryError`."""
        self._files.remove(self.previous_file)
