"""Opens the directories of a Maildir so that its owner cannot redirect deliveries by links."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMES = ("tmp", "new", "cur")
"""What a Maildir consists of."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TO_SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""To find names in a directory. This needs no right to read it, which /home/bob often gives to nobody else."""


def opened_maildir(maildir: Path) -> int:
    """A descriptor of the Maildir, which is created if it is missing. Raises `OSError`.

    Its parent directory must exist: a typing error in a path creates no directories. A Maildir that is a link is used
    if root or this server's user has made the link, or else the owner of what it leads to: nobody can have mail put
    into the Maildir of somebody else.
    """
    with _parent(maildir) as parent:
        maker = _maker_of_link(maildir.name, within=parent)
        if maker is None:
            return opened_directory(maildir.name, maildir, within=parent)
    return _opened_link(maildir, maker)


def opened_directory(name: str, path: Path, *, within: int) -> int:
    """A descriptor of a directory in an open one; it is created, durably, if it is missing. Raises `OSError`.

    A link is refused.
    """
    with _about(path):
        with suppress(FileNotFoundError):
            return _opened(name, within=within)
        with suppress(FileExistsError):  # another process was quicker
            os.mkdir(name, 0o700, dir_fd=within)
            try:
                _sync(within)
            except OSError:
                os.rmdir(name, dir_fd=within)  # or the next attempt would believe that it is durable
                raise
        return _opened(name, within=within)


def why_not_usable(maildir: Path) -> str:
    """Why a delivery into a Maildir would fail now, with the path; empty if no reason is known. Nothing is made."""
    try:
        with _parent(maildir) as parent:
            maker = _maker_of_link(maildir.name, within=parent)
            with _about(maildir):
                try:
                    descriptor = _opened(maildir.name, within=parent) if maker is None else _opened_link(maildir, maker)
                except FileNotFoundError:
                    _must_allow_making(parent)
                    return ""
        try:
            for name in NAMES:
                _look_at(name, maildir / name, within=descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return in_words(error)
    return ""


def in_words(error: OSError) -> str:
    """What went wrong, and with which file."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or type(error).__name__}{where}"


def naming(error: OSError, path: Path) -> OSError:
    """The same error, with the whole path of what it is about."""
    return OSError(error.errno, error.strerror, str(path))


@contextmanager
def _parent(maildir: Path) -> Iterator[int]:
    """The directory that a Maildir is in, open to find names in it."""
    try:
        descriptor = os.open(maildir.parent, _TO_SEARCH)
    except FileNotFoundError:
        raise FileNotFoundError(0, "There is no such directory to make it in", str(maildir)) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _maker_of_link(name: str, *, within: int) -> int | None:
    """The user id of the owner of a link in an open directory; None if it is not a link, or does not exist."""
    try:
        found = os.stat(name, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_uid if stat.S_ISLNK(found.st_mode) else None


def _opened_link(maildir: Path, maker: int) -> int:
    """The directory that a link leads to, if its maker may lead there."""
    try:
        descriptor = os.open(maildir, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_directory(maildir) from None
    if maker in {0, os.geteuid(), os.fstat(descriptor).st_uid}:
        return descriptor
    os.close(descriptor)
    raise PermissionError(0, "It is a link, which its maker has led to a directory of another user", str(maildir))


def _opened(name: str, *, within: int) -> int:
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=within)


def _sync(directory: int) -> None:
    """Make durable what was made in a directory, which may have been opened only to find names in it."""
    descriptor = os.open(".", _DIRECTORY, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _look_at(name: str, path: Path, *, within: int) -> None:
    """Raise `OSError` if a delivery could not use or make a directory of a Maildir."""
    with _about(path):
        try:
            descriptor = _opened(name, within=within)
        except FileNotFoundError:
            _must_allow_making(within)
            return
        try:
            if name != "cur":  # which is only read
                _must_allow_making(descriptor)
        finally:
            os.close(descriptor)


def _must_allow_making(directory: int) -> None:
    """Raise `PermissionError` if nothing can be made, durably, in an open directory."""
    if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
        raise PermissionError(0, "Permission denied")


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Have every `OSError` name the whole path of what it is about."""
    try:
        yield
    except NotADirectoryError:
        raise _no_directory(path) from None
    except OSError as error:
        raise naming(error, path) from error


def _no_directory(path: Path) -> OSError:
    return NotADirectoryError(0, "There is something else than a directory", str(path))
