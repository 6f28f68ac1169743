"""Writes attachments to new files in a directory."""

import errno
import mimetypes
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waypost.cli.client import ServerRefused
from waypost.mime import cleaning

SAME_NAME = 1_000
"""The maximum number of files with the same name, apart from the number that is added to the name."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Folder:
    """A directory that is open. All files are created in this directory, even if its path then leads elsewhere."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def save(self, name: str, parts: Iterable[bytes]) -> Path:
        """Write a new file with these contents, which only the user can read, and return its path.

        If a file or a link with this name exists, a number is added to the name. The file has a temporary name until it
        is complete. Raises `ServerRefused`, and any exception from `parts`. In both cases no file is left.
        """
        temporary = f".{secrets.token_hex(8)}.part"
        try:
            with os.fdopen(os.open(temporary, _NEW, 0o600, dir_fd=self._descriptor), "wb") as file:
                for part in parts:
                    file.write(part)
            return self._path / self._named(temporary, name)
        except OSError as error:
            raise ServerRefused(f"{self._path / name} cannot be written: {error.strerror}.") from error
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._descriptor)

    def _named(self, temporary: str, name: str) -> str:
        """Give a temporary file its name, and return the name."""
        for candidate in _candidates(name):
            # A hard link, unlike a renamed file, never replaces a file that exists.
            with suppress(FileExistsError):
                os.link(
                    temporary,
                    candidate,
                    src_dir_fd=self._descriptor,
                    dst_dir_fd=self._descriptor,
                    follow_symlinks=False,
                )
                return candidate
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """Open a directory to write files to it. It is created if it does not exist. Raises `ServerRefused`."""
    if path.is_symlink():
        raise ServerRefused(f"{path} is a symbolic link. Give the directory that it leads to.")
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ServerRefused(f"The directory {path} cannot be used: {error.strerror}.") from error
    try:
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def file_name(name: str | None, number: int, content_type: str) -> str:
    """Return the name of the file for a part of a message: its own name without anything that is not safe, or
    `part-NUMBER` with the extension for its media type.
    """
    printable = "".join(letter if letter.isprintable() else "_" for letter in name or "")
    safe = cleaning.filename(printable)
    if safe is None:
        return f"part-{number}{mimetypes.guess_extension(content_type) or ''}"
    return f"_{safe}" if safe.startswith("-") else safe  # a command would take such a name for an option


def _candidates(name: str) -> Iterator[str]:
    yield name
    path = Path(name)
    for number in range(2, SAME_NAME + 1):
        yield f"{path.stem}-{number}{path.suffix}"
