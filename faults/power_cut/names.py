"""Undoes changes of names: files and directories that were created, renamed, linked and removed.

A name is a place: a directory's inode and a name in it. As with contents, all changes are undone, and those that
survive are made again. Then the real directories are changed accordingly.
"""

import os
from pathlib import Path

from faults.power_cut.lost import Choice, Lost
from faults.power_cut.records import Change, Names

Places = dict[tuple[int, str], int]
"""The inode at each place that has one."""

_COUNTED = {
    Change.CREATION: "creations",
    Change.REMOVAL: "removals",
    Change.RENAME: "renames",
    Change.LINK: "links",
}


class Tree:
    """All names below a directory, and the removed files and directories that the library has kept."""

    def __init__(self, root: Path, kept: Path) -> None:
        self._root, self._kept = root, kept
        self.places: Places = {}
        self.paths: dict[int, Path] = {}
        """One path of each inode."""
        self._look()

    def _look(self) -> None:
        self.places, self.paths = {}, {self._root.stat().st_ino: self._root}
        for top in (self._root, self._kept):
            for directory, names, files in os.walk(top):
                parent = Path(directory)
                inode = parent.stat().st_ino
                for name in (*names, *files):
                    found = (parent / name).lstat().st_ino
                    self.paths.setdefault(found, parent / name)
                    if parent != self._kept:
                        self.places[inode, name] = found

    def change_to(self, wanted: Places, changed: set[tuple[int, str]]) -> None:
        """Change the names at some places. Raises `OSError`."""
        differing = [place for place in changed if self.places.get(place, 0) != wanted.get(place, 0)]
        for place in differing:
            if place in self.places:
                self._set_aside(self.paths[place[0]] / place[1], self.places[place])
                self._look_again_if_moved(place)
        missing = {place for place in differing if wanted.get(place)}
        while missing:
            placed = {place for place in missing if self._puts(place, wanted[place])}
            if not placed:
                return  # the other places are in directories that are lost
            missing -= placed
            self._look()

    def _look_again_if_moved(self, place: tuple[int, str]) -> None:
        inode = self.places.pop(place)
        if inode in self.paths:
            self._look()

    def _set_aside(self, path: Path, inode: int) -> None:
        kept = self._kept / str(inode)
        if path.is_dir() and not path.is_symlink():
            path.rename(kept)
            return
        if not os.path.lexists(kept):
            os.link(path, kept, follow_symlinks=False)
        path.unlink()

    def _puts(self, place: tuple[int, str], inode: int) -> bool:
        directory, path = self.paths.get(place[0]), self.paths.get(inode)
        if directory is None or path is None or self.is_lost(directory):
            return False
        if path.is_dir() and not path.is_symlink():
            path.rename(directory / place[1])
        else:
            os.link(path, directory / place[1], follow_symlinks=False)
        return True

    def is_lost(self, path: Path) -> bool:
        """Whether a path is of a file or a directory that no name leads to after the cut."""
        return path.is_relative_to(self._kept)


def settle(tree: Tree, changes: list[Names], choice: Choice, lost: Lost) -> None:
    """Change the names below a directory to what is left of them after a power cut, and count what is lost."""
    uncertain = [number for number, change in enumerate(changes) if not change.is_durable]
    if not uncertain:
        return
    changes = changes[uncertain[0] :]
    places = dict(tree.places)
    for change in reversed(changes):
        for entry in reversed(change.entries):
            entry.after = places.get(entry.place, 0)
        for entry in change.entries:
            places[entry.place] = entry.before
    stale: set[tuple[int, str]] = set()
    for change in changes:
        if change.is_durable or (choice.keeps(change) and not any(entry.place in stale for entry in change.entries)):
            places.update({entry.place: entry.after for entry in change.entries})
            continue
        stale.update(entry.place for entry in change.entries)
        if any(entry.before != entry.after for entry in change.entries):
            name = _COUNTED[change.change]
            setattr(lost, name, getattr(lost, name) + 1)
    tree.change_to(places, {entry.place for change in changes for entry in change.entries})
