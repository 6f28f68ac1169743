"""Checks that no other user of the machine can change a directory or its files, and opens the files.

A user who can write to a directory can put a file or a link into it. The file could be another database, or a key that
the user knows. The link could lead to a file that Waypost would overwrite. Therefore, a directory and its files must
belong to the user who runs Waypost, or to root. Each rule is a function that takes an owner and a mode, as returned by
`os.stat`. `opened` checks the directory and all directories above it, and opens the directory once. Files are then
opened relative to the open directory, and never through a link, so the program uses exactly the files that it checked.
"""

import errno
import grp
import os
import pwd
import secrets
import shlex
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO

from msgspec import Struct

ROOT = 0
"""The user id of root, who can change every file anyway."""

PRIVATE = 0o600
"""The mode of a file that only its owner can read and write."""

Names = Callable[[str], bool]
"""A function that returns whether Waypost uses a file with a given name. Waypost ignores other files in the
directory."""

_LINKS = 40
"""The maximum number of symbolic links in one path. Linux has the same limit."""


class UnsafeFile(Exception):
    """Another user could have created or changed a file. The error message names the file and a remedy."""


class Fault(Enum):
    """The reason why a file or directory is not safe to use."""

    LINK = "it is a link"
    WRONG_KIND = "it is not a regular file, or not a directory where a directory is needed"
    OF_ANOTHER_USER = "it belongs to another user"
    WRITABLE_BY_ALL = "every user can write to it"


def fault_of_directory(mode: int, owner: int, *, user: int) -> Fault | None:
    """Return the reason why `user` must not keep files in a directory, or None if the directory is safe.

    A directory is safe if it belongs to root or `user`, and only its owner, its group and root can change its files.
    """
    if not stat.S_ISDIR(mode):
        return Fault.WRONG_KIND
    if owner not in {ROOT, user}:
        return Fault.OF_ANOTHER_USER
    return Fault.WRITABLE_BY_ALL if mode & stat.S_IWOTH else None


def fault_of_directory_above(mode: int) -> Fault | None:
    """Return the reason why other users can replace entries in a directory, or None if they cannot.

    If a directory has the sticky bit, as /tmp does, users can replace only their own files.
    """
    return Fault.WRITABLE_BY_ALL if mode & stat.S_IWOTH and not mode & stat.S_ISVTX else None


def is_replaceable_by_group(mode: int, group: int, *, own: Collection[int]) -> bool:
    """Whether members of a directory's group can replace entries that belong to other users.

    `own` is the result of `own_groups`: the ids of groups that contain no other users. If the directory has the sticky
    bit, members of the group can replace only their own files.
    """
    return bool(mode & stat.S_IWGRP) and not mode & stat.S_ISVTX and group not in own


def own_groups(user: int) -> set[int]:
    """Return the ids of groups without other users: root's group, and the user's own group if it has no other members.

    Many systems create, for each user, a group with the user's name.
    """
    own = {ROOT}
    with suppress(KeyError):
        entry = pwd.getpwuid(user)
        group = grp.getgrgid(entry.pw_gid)
        if group.gr_name == entry.pw_name and set(group.gr_mem) <= {entry.pw_name}:
            own.add(entry.pw_gid)
    return own


def fault_of_link(owner: int, *, user: int) -> Fault | None:
    """Return the reason why a symbolic link in a path is not safe to follow, or None if the link is safe.

    The owner of a link can change its target at any time.
    """
    return None if owner in {ROOT, user} else Fault.OF_ANOTHER_USER


def fault_of_file(mode: int, owner: int, *, user: int) -> Fault | None:
    """Return the reason why `user` must not use a file, or None if the file is safe to use."""
    if stat.S_ISLNK(mode):
        return Fault.LINK
    if not stat.S_ISREG(mode):
        return Fault.WRONG_KIND
    if owner not in {ROOT, user}:
        return Fault.OF_ANOTHER_USER
    return Fault.WRITABLE_BY_ALL if mode & stat.S_IWOTH else None


def is_open_to_others(mode: int) -> bool:
    """Whether any user other than the owner has any permission on a file."""
    return bool(stat.S_IMODE(mode) & ~stat.S_IRWXU)


class Risk(Enum):
    """A risk that other users pose to a data directory. Waypost uses the directory, but warns about the risk."""

    REPLACED = "a directory above it belongs to another user"
    REPLACED_BY_GROUP = "the group of a directory above it can write to that directory"
    SHARED = "its group can write to it"
    REPAIRED = "other users could access a file, and now they cannot"
    EXPOSED = "other users can access a file, and Waypost could not change its mode"


class Exposure(Struct, frozen=True):
    """A file or directory that other users can access or replace, and the kind of risk."""

    risk: Risk
    path: Path
    mode: int
    """The permission bits of the file, before Waypost changed them."""
    owner: int
    group: int

    @property
    def sentence(self) -> str:
        """A sentence about the risk, for the person who starts the server."""
        if self.risk is Risk.REPLACED:
            return (
                f"The data directory is in {self.path}, which belongs to {user_name(self.owner)}. The owner of "
                f"{self.path} can replace the data directory with another directory."
            )
        if self.risk is Risk.REPLACED_BY_GROUP:
            return (
                f"The data directory is in {self.path}, and the group of that directory can write to it (group id "
                f"{self.group}, mode {self.mode:04o}). Members of the group can replace the data directory with "
                f"another directory. If they do not need this access, run: chmod g-w {self.path}"
            )
        if self.risk is Risk.SHARED:
            return (
                f"The group of the data directory can write to it (group id {self.group}, mode {self.mode:04o}), so "
                f"members of the group can replace its files. If they do not need this access, run: chmod g-w "
                f"{self.path}"
            )
        if self.risk is Risk.REPAIRED:
            return f"Other users could access {self.path} (mode {self.mode:04o}). Now only the file's owner has access."
        return (
            f"Other users can access {self.path} (mode {self.mode:04o}), and Waypost could not change the mode. Run: "
            f"chmod 600 {self.path}"
        )


class PrivateDirectory:
    """An open directory. The object still refers to this directory even if its path later leads to another directory.

    All methods can raise `OSError`.
    """

    def __init__(self, path: Path, descriptor: int, *, user: int, above: tuple[Exposure, ...] = ()) -> None:
        self.path = path
        self._above = above
        self._descriptor = descriptor
        self._user = user

    def refuse_others(self, is_ours: Names) -> None:
        """Raise `UnsafeFile` if another user could have created or changed the directory, or one of Waypost's files."""
        found = os.fstat(self._descriptor)
        if fault := fault_of_directory(found.st_mode, found.st_uid, user=self._user):
            raise UnsafeFile(_words(fault, f"The data directory {self.path}", self.path, found, self._user))
        for name in self._files(is_ours):
            with suppress(FileNotFoundError):  # a running server can remove its files at any time
                found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
                if fault := fault_of_file(found.st_mode, found.st_uid, user=self._user):
                    path = self.path / name
                    raise UnsafeFile(_words(fault, str(path), path, found, self._user))

    def make_private(self, is_ours: Names) -> list[Exposure]:
        """Remove other users' permissions on Waypost's files. Return all risks that were found."""
        found, facts = list(self._above), os.fstat(self._descriptor)
        if facts.st_mode & stat.S_IWGRP:
            found.append(_exposure(Risk.SHARED, self.path, facts))
        for name in self._files(is_ours):
            with suppress(FileNotFoundError), self._opened(name, os.O_RDONLY) as descriptor:
                facts = os.fstat(descriptor)
                if is_open_to_others(facts.st_mode):
                    is_repaired = _has_mode(descriptor, stat.S_IMODE(facts.st_mode) & stat.S_IRWXU)
                    risk = Risk.REPAIRED if is_repaired else Risk.EXPOSED
                    found.append(_exposure(risk, self.path / name, facts))
        return found

    def read(self, name: str) -> bytes:
        """Return the contents of a file. Raises `UnsafeFile` if the file is a link or belongs to another user.

        Root can read files of any owner, so that Waypost's commands, when run as root, work with any user's data
        directory.
        """
        with (
            self._opened(name, os.O_RDONLY, any_owner=self._user == ROOT) as descriptor,
            os.fdopen(os.dup(descriptor), "rb") as file,
        ):
            return file.read()

    def write(self, name: str, text: str, *, replace: bool = True) -> None:
        """Write a file that only its owner can read. The write is atomic, and the file survives a power failure.

        If `replace` is false and the file already exists, the method keeps the existing file.
        """
        temporary, at = f"{Path(name).stem}.{secrets.token_hex(4)}.new", self._descriptor
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, PRIVATE, dir_fd=at)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            else:
                with suppress(FileExistsError):  # another process has just created the file
                    os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        finally:
            self.remove(temporary)
        self.sync()

    def open_lock(self, name: str, *, make: bool = True) -> IO[bytes]:
        """Open a file for locking and appending. If `make` is true and the file does not exist, create it durably."""
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if make else 0)
        with self._opened(name, flags) as descriptor:
            lock = os.fdopen(os.dup(descriptor), "ab", buffering=0)
        self.sync()
        return lock

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def names(self) -> list[str]:
        """Return the names of all entries in the directory."""
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries]

    def sync(self) -> None:
        """Sync the directory to disk, so that changes to its entries survive a power failure."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._descriptor)

    def _files(self, is_ours: Names) -> list[str]:
        return sorted(name for name in self.names() if is_ours(name))

    @contextmanager
    def _opened(self, name: str, flags: int, *, any_owner: bool = False) -> Iterator[int]:
        """Open a file, then check that the file is safe. The function does not block if the file is a pipe. Raises
        `UnsafeFile`.
        """
        path, flags = self.path / name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, PRIVATE, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            raise UnsafeFile(_words(Fault.LINK, str(path), path, found, self._user)) from error
        try:
            found = os.fstat(descriptor)
            owner = self._user if any_owner else found.st_uid
            if fault := fault_of_file(found.st_mode, owner, user=self._user):
                raise UnsafeFile(_words(fault, str(path), path, found, self._user))
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def opened(path: Path, *, make: bool = False) -> Iterator[PrivateDirectory]:
    """Open a directory for the duration of a `with` block. If `make` is true and the directory does not exist, create
    it.

    Raises `UnsafeFile` if another user could replace the directory, or `OSError` if the directory cannot be opened.
    """
    directory = open_directory(path, make=make)
    try:
        yield directory
    finally:
        directory.close()


def open_directory(path: Path, *, make: bool = False) -> PrivateDirectory:
    """Open a directory in the same way as `opened`. The caller must close the directory."""
    user = os.geteuid()
    real, above = _walked(path, user=user, make=make)
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError as error:
        found = real.lstat()
        if fault := fault_of_directory(found.st_mode, found.st_uid, user=user):
            raise UnsafeFile(_words(fault, f"The data directory {path}", path, found, user)) from error
        raise
    try:
        return PrivateDirectory(path, descriptor, user=user, above=tuple(above))
    except BaseException:
        os.close(descriptor)
        raise


def refuse_replaceable(file: Path) -> None:
    """Raise `UnsafeFile` if every user can write to a file, or can replace it with another file, and for a named pipe.

    This function is for files whose location and owner the operator chooses: the settings file, and files with secrets.
    A path that is not a regular file, such as a pipe of the shell, is not checked. Raises `OSError` if the file does
    not exist.
    """
    found = file.stat()
    # The pipe of `<(…)` in a shell has no name in the file system, and its other end is open.
    if stat.S_ISFIFO(found.st_mode) and file.resolve().exists():
        raise UnsafeFile(f"{file} is a named pipe, whose other end may never be opened. Name a regular file.")
    if not stat.S_ISREG(found.st_mode):
        return
    if found.st_mode & stat.S_IWOTH:
        raise UnsafeFile(f"every user can write to {file}. Run: chmod o-w {file}")
    for directory in (file.absolute().parent, file.resolve().parent):
        if fault_of_directory_above(directory.stat().st_mode):
            raise UnsafeFile(
                f"every user can replace {file}, because every user can write to {directory}. Move the file, or run: "
                f"chmod o-w {directory}"
            )


@contextmanager
def as_owner_of(file: os.stat_result) -> Iterator[None]:
    """If the process runs as root, continue with the permissions of a file's owner and group, until the block ends.

    New files then belong to that owner, and a link cannot give root access to files that the owner cannot reach. The
    permissions change for the whole process. If the process does not run as root, nothing changes. Raises `OSError`.
    """
    if os.geteuid() != ROOT or file.st_uid == ROOT:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    try:
        # A process may change its groups only while its user id is root's.
        os.setgroups([file.st_gid])
        os.setegid(file.st_gid)
        os.seteuid(file.st_uid)
        yield
    finally:
        os.seteuid(ROOT)
        os.setegid(group)
        os.setgroups(groups)


def user_name(user: int) -> str:
    """Return the name and id of a user, for use in messages."""
    try:
        return f"{pwd.getpwuid(user).pw_name} (user id {user})"
    except KeyError:
        return f"the user with id {user}"


def _walked(path: Path, *, user: int, make: bool) -> tuple[Path, list[Exposure]]:
    """Return the real path of a directory, and the directories above it in which other users can replace entries.

    The check starts at the root directory and works down, so other users cannot replace a directory that has already
    been checked. Raises `UnsafeFile` and `OSError`.
    """
    here, rest, links = Path("/"), deque(path.absolute().parts[1:]), 0
    above: list[Exposure] = []
    while rest:
        found = here.stat()
        if fault_of_directory_above(found.st_mode):
            raise UnsafeFile(
                f"The data directory {path} is not safe in {here}, where every user can replace it (mode "
                f"{_octal(found.st_mode)}). Name a directory elsewhere with --data, or run: chmod o-w {here}"
            )
        if found.st_uid not in {ROOT, user}:
            above.append(_exposure(Risk.REPLACED, here, found))
        elif found.st_mode & stat.S_IWGRP and is_replaceable_by_group(
            found.st_mode, found.st_gid, own=own_groups(user)
        ):
            above.append(_exposure(Risk.REPLACED_BY_GROUP, here, found))
        name = rest.popleft()
        if name == "..":
            here = here.parent  # correct, because all links in `here` are already resolved
            continue
        at = here / name
        if make and not os.path.lexists(at):
            _make(at)
        found = at.lstat()
        if not stat.S_ISLNK(found.st_mode):
            here = at
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if fault_of_link(found.st_uid, user=user):
            raise UnsafeFile(
                f"The path {path} of the data directory contains the link {at}, which belongs to "
                f"{user_name(found.st_uid)} and can be changed by that user. Name the target of the link with --data."
            )
        target = at.readlink()
        rest.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        here = Path("/") if target.is_absolute() else here
    return here, above


def _make(directory: Path) -> None:
    """Create a directory, and sync it to disk."""
    with suppress(FileExistsError):  # another process has just created the directory
        directory.mkdir(0o700)
    descriptor = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_mode(descriptor: int, mode: int) -> bool:
    """Change the mode of an open file. Return whether the file now has the new mode; some file systems do not support
    modes.
    """
    try:
        os.fchmod(descriptor, mode)
    except OSError:  # the file belongs to root, or the file system is read-only
        return False
    return stat.S_IMODE(os.fstat(descriptor).st_mode) == mode


def _exposure(risk: Risk, path: Path, found: os.stat_result) -> Exposure:
    return Exposure(risk, path, stat.S_IMODE(found.st_mode), owner=found.st_uid, group=found.st_gid)


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _words(fault: Fault, subject: str, path: Path, found: os.stat_result, user: int) -> str:
    """Return the message for an unsafe file or directory, with the fault and a remedy."""
    if fault is Fault.LINK:
        return f"{subject} is a link, which Waypost does not follow. Replace the link with a file, or remove the link."
    if fault is Fault.WRONG_KIND:
        return f"{subject} is not a regular file. Remove {path}, or name another directory with --data."
    if fault is Fault.WRITABLE_BY_ALL:
        is_directory = stat.S_ISDIR(found.st_mode)
        happened = "created files in it" if is_directory else "changed it"
        repair = f"chmod {'700' if is_directory else '600'} {shlex.quote(str(path))}"
        return (
            f"Every user can write to {subject.replace('The ', 'the ', 1)} (mode {_octal(found.st_mode)}), so another "
            f"user may have {happened}. Check the contents, then run: {repair}"
        )
    return (
        f"{subject} belongs to {user_name(found.st_uid)}, but this program runs as {user_name(user)}. Run the "
        f"program as the owner of {path}. If you trust the contents of {path}, you can instead run: "
        f"chown {'-R ' if stat.S_ISDIR(found.st_mode) else ''}{user} {path}"
    )
