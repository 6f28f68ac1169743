"""Directories of files that no other user of this machine may change: refuses unsafe ones, and opens their files.

Whoever can write to a directory can put a file or a link of their own there: another database, a key that they know, or
a link to a file that would be overwritten. So a directory and its files must belong to the user who uses them, or to
root. The rules are functions of an owner and a mode, as `os.stat` has them. `opened` checks the directory and all
directories above it, and opens it once: files are opened within it, never through a link, so that what was checked is
what is used.
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
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

ROOT = 0
"""The user id of the superuser, who can change every file anyway."""

PRIVATE = 0o600
"""The mode of a file that only its owner may read and write."""

Names = Callable[[str], bool]
"""Whether a file name is one of Waypost's. A directory may have others, which are left alone."""

_LINKS = 40
"""Symbolic links that one path may lead through, as on Linux."""


class UnsafeFile(Exception):
    """Another user could have changed a file, or put it there. The message names it and says what to do."""


class Fault(Enum):
    """Why a file or directory is not used."""

    LINK = "it is a link"
    WRONG_KIND = "it is something else than a file, or a directory where one is needed"
    OF_ANOTHER_USER = "it belongs to another user"
    WRITABLE_BY_ALL = "every user may write to it"


def fault_of_directory(mode: int, owner: int, *, user: int) -> Fault | None:
    """Why `user` must not keep files in a directory; None if it is safe from all but root and its group."""
    if not stat.S_ISDIR(mode):
        return Fault.WRONG_KIND
    if owner not in {ROOT, user}:
        return Fault.OF_ANOTHER_USER
    return Fault.WRITABLE_BY_ALL if mode & stat.S_IWOTH else None


def fault_of_directory_above(mode: int) -> Fault | None:
    """Why nothing in a directory is safe. With the sticky bit, as in /tmp, a user can replace only their own files."""
    return Fault.WRITABLE_BY_ALL if mode & stat.S_IWOTH and not mode & stat.S_ISVTX else None


def is_replaceable_by_group(mode: int, group: int, *, own: Collection[int]) -> bool:
    """Whether members of a directory's group can put something else in the place of what is in it.

    `own` are groups that nobody else is in. With the sticky bit, members can replace only their own files.
    """
    return bool(mode & stat.S_IWGRP) and not mode & stat.S_ISVTX and group not in own


def own_groups(user: int) -> set[int]:
    """The ids of groups that a user need not fear: root's, and their own, as many systems make one for each user."""
    own = {ROOT}
    with suppress(KeyError):
        entry = pwd.getpwuid(user)
        group = grp.getgrgid(entry.pw_gid)
        if group.gr_name == entry.pw_name and set(group.gr_mem) <= {entry.pw_name}:
            own.add(entry.pw_gid)
    return own


def fault_of_link(owner: int, *, user: int) -> Fault | None:
    """Why a symbolic link on the way to a directory is not followed: who made it can make it lead elsewhere."""
    return None if owner in {ROOT, user} else Fault.OF_ANOTHER_USER


def fault_of_file(mode: int, owner: int, *, user: int) -> Fault | None:
    """Why `user` must not use a file of a directory."""
    if stat.S_ISLNK(mode):
        return Fault.LINK
    if not stat.S_ISREG(mode):
        return Fault.WRONG_KIND
    if owner not in {ROOT, user}:
        return Fault.OF_ANOTHER_USER
    return Fault.WRITABLE_BY_ALL if mode & stat.S_IWOTH else None


def is_open_to_others(mode: int) -> bool:
    """Whether the group or all users may do anything with a file."""
    return bool(stat.S_IMODE(mode) & ~stat.S_IRWXU)


class Risk(Enum):
    """A risk from other users for a directory that is used all the same."""

    REPLACED = "a directory above it belongs to another user"
    REPLACED_BY_GROUP = "the group of a directory above it may write to that"
    SHARED = "its group may write to it"
    MENDED = "others could use a file, and cannot any more"
    EXPOSED = "others can use a file, and its mode could not be changed"


@dataclass(frozen=True, slots=True)
class Exposure:
    """A file or directory that other users can reach, with the risk."""

    risk: Risk
    path: Path
    mode: int
    """Its permission bits, before they were changed."""
    owner: int
    group: int

    @property
    def sentence(self) -> str:
        """The sentence about it, for people."""
        if self.risk is Risk.REPLACED:
            return (
                f"The data directory is in {self.path}, which belongs to {user_name(self.owner)}: that user can put "
                "another directory in the place of the data directory."
            )
        if self.risk is Risk.REPLACED_BY_GROUP:
            return (
                f"The data directory is in {self.path}, and the group of that may write to it (group id {self.group}, "
                f"mode {self.mode:04o}): its members can put another directory in the place of the data directory. "
                f"If nothing needs that: chmod g-w {self.path}"
            )
        if self.risk is Risk.SHARED:
            return (
                f"The group of the data directory may write to it (group id {self.group}, mode {self.mode:04o}): its "
                f"members can replace files. If nothing needs that: chmod g-w {self.path}"
            )
        if self.risk is Risk.MENDED:
            return f"Other users could use {self.path} (mode {self.mode:04o}); now only its owner can."
        return (
            f"Other users can use {self.path} (mode {self.mode:04o}), and its mode cannot be changed from here: "
            f"chmod 600 {self.path}"
        )


class PrivateDirectory:
    """An open directory. It stays the same directory, even if its path is replaced later. Its methods raise
    `OSError`.
    """

    def __init__(self, path: Path, descriptor: int, *, user: int, above: tuple[Exposure, ...] = ()) -> None:
        self.path = path
        self._above = above
        self._descriptor = descriptor
        self._user = user

    def refuse_others(self, is_ours: Names) -> None:
        """Raise `UnsafeFile` if the directory, or a file of it that is ours by its name, could be another user's."""
        found = os.fstat(self._descriptor)
        if fault := fault_of_directory(found.st_mode, found.st_uid, user=self._user):
            raise UnsafeFile(_words(fault, f"The data directory {self.path}", self.path, found, self._user))
        for name in self._files(is_ours):
            with suppress(FileNotFoundError):  # a server removes its own files
                found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
                if fault := fault_of_file(found.st_mode, found.st_uid, user=self._user):
                    path = self.path / name
                    raise UnsafeFile(_words(fault, str(path), path, found, self._user))

    def make_private(self, is_ours: Names) -> list[Exposure]:
        """Remove the rights of others from Waypost's files. Returns what others can do, or could do before."""
        found, facts = list(self._above), os.fstat(self._descriptor)
        if facts.st_mode & stat.S_IWGRP:
            found.append(_exposure(Risk.SHARED, self.path, facts))
        for name in self._files(is_ours):
            with suppress(FileNotFoundError), self._opened(name, os.O_RDONLY) as descriptor:
                facts = os.fstat(descriptor)
                if is_open_to_others(facts.st_mode):
                    is_mended = _has_mode(descriptor, stat.S_IMODE(facts.st_mode) & stat.S_IRWXU)
                    risk = Risk.MENDED if is_mended else Risk.EXPOSED
                    found.append(_exposure(risk, self.path / name, facts))
        return found

    def read(self, name: str) -> bytes:
        """The octets of a file. Raises `UnsafeFile` if it is a link, or belongs to another user.

        Root may read the files of all users, so that its commands work on the directory of a server of any user.
        """
        with (
            self._opened(name, os.O_RDONLY, any_owner=self._user == ROOT) as descriptor,
            os.fdopen(os.dup(descriptor), "rb") as file,
        ):
            return file.read()

    def write(self, name: str, text: str, *, replace: bool = True) -> None:
        """Write a file that only its owner can read, whole or not at all; it is there after a power cut, too.

        If `replace` is false, one that is there stays.
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
                with suppress(FileExistsError):  # another process was quicker
                    os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        finally:
            self.remove(temporary)
        self.sync()

    def open_lock(self, name: str, *, make: bool = True) -> IO[bytes]:
        """A file to be locked and appended to; with `make` it is made if it is not there, durably."""
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if make else 0)
        with self._opened(name, flags) as descriptor:
            lock = os.fdopen(os.dup(descriptor), "ab", buffering=0)
        self.sync()
        return lock

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def names(self) -> list[str]:
        """What is in it."""
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries]

    def sync(self) -> None:
        """Sync it, so that changes in it survive a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Use it no more."""
        os.close(self._descriptor)

    def _files(self, is_ours: Names) -> list[str]:
        return sorted(name for name in self.names() if is_ours(name))

    @contextmanager
    def _opened(self, name: str, flags: int, *, any_owner: bool = False) -> Iterator[int]:
        """A file that was checked after it was opened. Opening a pipe does not block."""
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
    """Open a directory, if no other user can replace it. With `make` it is made if it is not there.

    Raises `UnsafeFile`, `OSError`.
    """
    directory = open_directory(path, make=make)
    try:
        yield directory
    finally:
        directory.close()


def open_directory(path: Path, *, make: bool = False) -> PrivateDirectory:
    """The same; the caller closes it."""
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
    """Raise `UnsafeFile` if every user may write to a file, or may put another one in its place.

    For files whose place and owner are the administrator's choice: settings, and secrets that they name. A path that is
    not a file, such as a pipe, is not checked. Raises `OSError` if it is not there.
    """
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        return
    if found.st_mode & stat.S_IWOTH:
        raise UnsafeFile(f"every user may write to {file}. Take that right away: chmod o-w {file}")
    for directory in (file.absolute().parent, file.resolve().parent):
        if fault_of_directory_above(directory.stat().st_mode):
            raise UnsafeFile(
                f"every user may replace {file}, because all may write to {directory}. Put it elsewhere, or: "
                f"chmod o-w {directory}"
            )


@contextmanager
def as_owner_of(file: os.stat_result) -> Iterator[None]:
    """If the user is root, work with the rights of the owner and group of a file. Nothing changes for other users.

    New files belong to that user then, and a link leads root no further than that user could go. It holds for the whole
    process. Raises `OSError`.
    """
    if os.geteuid() != ROOT or file.st_uid == ROOT:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    try:
        # Only while this user id is root's may the groups be changed.
        os.setgroups([file.st_gid])
        os.setegid(file.st_gid)
        os.seteuid(file.st_uid)
        yield
    finally:
        os.seteuid(ROOT)
        os.setegid(group)
        os.setgroups(groups)


def user_name(user: int) -> str:
    """A user, for people."""
    try:
        return f"{pwd.getpwuid(user).pw_name} (user id {user})"
    except KeyError:
        return f"the user with id {user}"


def _walked(path: Path, *, user: int, make: bool) -> tuple[Path, list[Exposure]]:
    """The real path, and the directories on the way in which others can replace entries.

    Raises `UnsafeFile`, `OSError`.

    It goes from the top down: what was checked cannot be replaced by others later.
    """
    here, rest, links = Path("/"), deque(path.absolute().parts[1:]), 0
    above: list[Exposure] = []
    while rest:
        found = here.stat()
        if fault_of_directory_above(found.st_mode):
            raise UnsafeFile(
                f"The data directory {path} is not safe in {here}, where every user may put another in its place (mode "
                f"{_octal(found.st_mode)}). Name a directory elsewhere with --data, or: chmod o-w {here}"
            )
        if found.st_uid not in {ROOT, user}:
            above.append(_exposure(Risk.REPLACED, here, found))
        elif found.st_mode & stat.S_IWGRP and is_replaceable_by_group(
            found.st_mode, found.st_gid, own=own_groups(user)
        ):
            above.append(_exposure(Risk.REPLACED_BY_GROUP, here, found))
        name = rest.popleft()
        if name == "..":
            here = here.parent  # which is where it leads: there is no link in it
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
                f"The data directory {path} is reached by the link {at}, which belongs to {user_name(found.st_uid)}: "
                "that user can make it lead elsewhere. Name the directory that it leads to with --data."
            )
        target = at.readlink()
        rest.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        here = Path("/") if target.is_absolute() else here
    return here, above


def _make(directory: Path) -> None:
    """Create a directory durably."""
    with suppress(FileExistsError):  # another process was quicker
        directory.mkdir(0o700)
    descriptor = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_mode(descriptor: int, mode: int) -> bool:
    """Change the mode of an open file, and say whether it has it now: some file systems have no modes."""
    try:
        os.fchmod(descriptor, mode)
    except OSError:  # it is root's, or on a file system that is read-only
        return False
    return stat.S_IMODE(os.fstat(descriptor).st_mode) == mode


def _exposure(risk: Risk, path: Path, found: os.stat_result) -> Exposure:
    return Exposure(risk, path, stat.S_IMODE(found.st_mode), owner=found.st_uid, group=found.st_gid)


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _words(fault: Fault, subject: str, path: Path, found: os.stat_result, user: int) -> str:
    """A refusal, for people: what is wrong with a file or directory, and what to do."""
    if fault is Fault.LINK:
        return f"{subject} is a link, and Waypost follows none there. Put the file itself in its place, or remove it."
    if fault is Fault.WRONG_KIND:
        return f"{subject} is no file. Remove it, or name another directory with --data."
    if fault is Fault.WRITABLE_BY_ALL:
        is_directory = stat.S_ISDIR(found.st_mode)
        happened = "put files there" if is_directory else "changed it"
        mend = f"chmod {'700' if is_directory else '600'} {shlex.quote(str(path))}"
        return (
            f"Every user can write to {subject.replace('The ', 'the ', 1)} (mode {_octal(found.st_mode)}), so others "
            f"may have {happened}. Check its contents, then run: {mend}"
        )
    return (
        f"{subject} belongs to {user_name(found.st_uid)}, but this program runs as {user_name(user)}. Run it as that "
        f"user; or, if you know who put it there: chown {'-R ' if stat.S_ISDIR(found.st_mode) else ''}{user} {path}"
    )
