"""Open the directories of a Maildir in such a way that the Maildir's owner cannot redirect deliveries with symbolic
links.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMES = ("tmp", "new", "cur")
"""The directories in a Maildir."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TO_SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""The flags for opening a directory only to look up names in it. Looking up names does not require read permission,
which home directories often do not grant to other users.
"""


def opened_maildir(maildir: Path) -> int:
    """Open the Maildir, create it if it is missing, and return its descriptor. Raises `OSError`.

    The parent directory of the Maildir must exist, so that a typo in a path creates no directories. If the Maildir is a
    symbolic link, the link must belong to root, to this server's user, or to the owner of the link's target. This rule
    about links prevents users from redirecting mail into another user's Maildir.
    """
    with _parent(maildir) as parent:
        link_owner = _owner_of_link(maildir.name, within=parent)
        if link_owner is None:
            return opened_directory(maildir.name, maildir, within=parent)
    return _opened_link(maildir, link_owner)


def opened_directory(name: str, path: Path, *, within: int) -> int:
    """Open the directory `name` inside the open directory `within`, create it if it is missing, and return its
    descriptor. Raises `OSError`.

    Symbolic links are refused.
    """
    with _naming_errors(path):
        with suppress(FileNotFoundError):
            return _opened(name, within=within)
        with suppress(FileExistsError):  # another process has created the directory
            os.mkdir(name, 0o700, dir_fd=within)
            try:
                _sync(within)
            except OSError:
                os.rmdir(name, dir_fd=within)  # otherwise the next attempt would not sync the directory
                raise
        return _opened(name, within=within)


def why_not_usable(maildir: Path) -> str:
    """Return the reason why a delivery into a Maildir would fail now, including the path that causes the failure.
    Return an empty string if no reason is found. This check creates no files or directories.
    """
    try:
        with _parent(maildir) as parent:
            link_owner = _owner_of_link(maildir.name, within=parent)
            with _naming_errors(maildir):
                try:
                    descriptor = (
                        _opened(maildir.name, within=parent)
                        if link_owner is None
                        else _opened_link(maildir, link_owner)
                    )
                except FileNotFoundError:
                    _check_writable(parent)
                    return ""
        try:
            for name in NAMES:
                _check_directory(name, maildir / name, within=descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return in_words(error)
    return ""


def in_words(error: OSError) -> str:
    """Describe an error in words, with the file's path if the error has one."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or type(error).__name__}{where}"


def naming(error: OSError, path: Path) -> OSError:
    """Return a copy of an error, with the full path of the file added."""
    return OSError(error.errno, error.strerror, str(path))


@contextmanager
def _parent(maildir: Path) -> Iterator[int]:
    """Open the parent directory of a Maildir, to look up names in it."""
    try:
        descriptor = os.open(maildir.parent, _TO_SEARCH)
    except FileNotFoundError:
        raise FileNotFoundError(0, "The parent directory of the Maildir does not exist", str(maildir)) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _owner_of_link(name: str, *, within: int) -> int | None:
    """Return the user id of a symbolic link's owner; None if the path is not a link or does not exist."""
    try:
        found = os.stat(name, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_uid if stat.S_ISLNK(found.st_mode) else None


def _opened_link(maildir: Path, link_owner: int) -> int:
    """Open the directory to which a symbolic link points. Raises `PermissionError` if the link's owner may not redirect
    mail to this directory.
    """
    try:
        descriptor = os.open(maildir, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_directory(maildir) from None
    if link_owner in {0, os.geteuid(), os.fstat(descriptor).st_uid}:
        return descriptor
    os.close(descriptor)
    raise PermissionError(
        0, "The path is a link, and the link's owner does not own the directory that the link points to", str(maildir)
    )


def _opened(name: str, *, within: int) -> int:
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=within)


def _sync(directory: int) -> None:
    """Sync a directory to disk. This works even if the descriptor was opened only to look up names."""
    descriptor = os.open(".", _DIRECTORY, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_directory(name: str, path: Path, *, within: int) -> None:
    """Check a directory inside a Maildir. Raise `OSError` if a delivery could neither use nor create the directory."""
    with _naming_errors(path):
        try:
            descriptor = _opened(name, within=within)
        except FileNotFoundError:
            _check_writable(within)
            return
        try:
            if name != "cur":  # a delivery only reads cur/
                _check_writable(descriptor)
        finally:
            os.close(descriptor)


def _check_writable(directory: int) -> None:
    """Raise `PermissionError` if this process lacks the permission to create files in an open directory or to sync that
    directory to disk.
    """
    if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
        raise PermissionError(0, "Permission denied")


@contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    """Add the full path of the file or directory to every `OSError` that is raised in the block."""
    try:
        yield
    except NotADirectoryError:
        raise _no_directory(path) from None
    except OSError as error:
        raise naming(error, path) from error


def _no_directory(path: Path) -> OSError:
    return NotADirectoryError(0, "The path is not a directory", str(path))
