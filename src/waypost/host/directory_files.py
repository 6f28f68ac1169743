"""Reads and writes whole files in the data directory, with errors that name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waypost.host import private_files
from waypost.host.private_files import PrivateDirectory, UnsafeFile


class DataDirectoryError(Exception):
    """The data directory cannot be used. The error message names the file and a remedy."""


class DirectoryFiles:
    """The files in a data directory. The directory may not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def opened(self, *, make: bool = False) -> Iterator[PrivateDirectory]:
        """Open the directory to use its files. Raises `DataDirectoryError` if a file is unsafe, or `OSError` if the
        directory or a file cannot be used.
        """
        try:
            with private_files.opened(self.path, make=make) as directory:
                yield directory
        except UnsafeFile as error:
            raise DataDirectoryError(str(error)) from error

    def read(self, file: Path) -> str:
        """Return a file's text. Raises `DataDirectoryError` if the file is unsafe, or `OSError` or `UnicodeError` if
        the file cannot be read.
        """
        with self.opened() as directory:
            return directory.read(file.name).decode()

    def write(self, file: Path, text: str, *, replace: bool = True) -> None:
        """Write a file atomically and durably. Only its owner can read the file.

        If `replace` is false and the file already exists, the method keeps the existing file. Raises
        `DataDirectoryError`.
        """
        try:
            with self.opened() as directory:
                directory.write(file.name, text, replace=replace)
        except OSError as error:
            raise DataDirectoryError(f"{file} cannot be written: {error.strerror}.") from error

    def remove(self, file: Path) -> None:
        """Remove a file. Raises `DataDirectoryError`."""
        try:
            with self.opened() as directory:
                directory.remove(file.name)
        except OSError as error:
            raise DataDirectoryError(f"{file} cannot be removed: {error.strerror}.") from error
