"""Files that no other user may change: the rules as tables, and the files that are opened, created and refused."""

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.host import private_files
from waypost.host.private_files import Fault, Risk, UnsafeFile

DIRECTORY, FILE, LINK, PIPE = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO
ROOT, ME, OTHER = 0, 1000, 54321
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")


def every_name(name):
    """Treat all files of a directory as Waypost's."""
    return bool(name)


# The rules


@pytest.mark.parametrize(
    ("mode", "owner", "user", "fault"),
    [
        (DIRECTORY | 0o700, ME, ME, None),
        (DIRECTORY | 0o755, ME, ME, None),
        (DIRECTORY | 0o2775, ROOT, ME, None),  # like the volumes of containers
        (DIRECTORY | 0o700, ROOT, ROOT, None),
        (DIRECTORY | 0o700, OTHER, ME, Fault.OF_ANOTHER_USER),
        (DIRECTORY | 0o700, ME, ROOT, Fault.OF_ANOTHER_USER),
        (DIRECTORY | 0o777, ME, ME, Fault.WRITABLE_BY_ALL),
        (DIRECTORY | 0o702, ROOT, ME, Fault.WRITABLE_BY_ALL),
        (DIRECTORY | 0o1777, ROOT, ME, Fault.WRITABLE_BY_ALL),  # another user could have created a key there before
        (FILE | 0o700, ME, ME, Fault.WRONG_KIND),
        (LINK | 0o777, ME, ME, Fault.WRONG_KIND),
    ],
)
def test_a_directory_is_safe_if_it_is_ours_or_roots_and_not_writable_by_all(mode, owner, user, fault):
    assert private_files.fault_of_directory(mode, owner, user=user) is fault


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        (DIRECTORY | 0o755, None),
        (DIRECTORY | 0o775, None),
        (DIRECTORY | 0o1777, None),  # /tmp
        (DIRECTORY | 0o777, Fault.WRITABLE_BY_ALL),
        (DIRECTORY | 0o2777, Fault.WRITABLE_BY_ALL),
    ],
)
def test_a_directory_above_is_safe_unless_every_user_can_replace_its_entries(mode, fault):
    assert private_files.fault_of_directory_above(mode) is fault


@pytest.mark.parametrize(
    ("mode", "owner", "user", "fault"),
    [
        (FILE | 0o600, ME, ME, None),
        (FILE | 0o664, ME, ME, None),  # Waypost makes it private
        (FILE | 0o444, ROOT, ME, None),
        (FILE | 0o600, OTHER, ME, Fault.OF_ANOTHER_USER),
        (FILE | 0o600, ME, ROOT, Fault.OF_ANOTHER_USER),
        (FILE | 0o602, ME, ME, Fault.WRITABLE_BY_ALL),
        (FILE | 0o666, ROOT, ME, Fault.WRITABLE_BY_ALL),
        (LINK | 0o777, ME, ME, Fault.LINK),
        (PIPE | 0o600, ME, ME, Fault.WRONG_KIND),
        (DIRECTORY | 0o700, ME, ME, Fault.WRONG_KIND),
    ],
)
def test_a_file_is_safe_if_it_is_ours_or_roots_and_not_writable_by_all(mode, owner, user, fault):
    assert private_files.fault_of_file(mode, owner, user=user) is fault


def test_a_link_in_the_path_is_followed_if_it_is_ours_or_roots():
    assert [private_files.fault_of_link(owner, user=ME) for owner in (ROOT, ME, OTHER)] == [
        None,
        None,
        Fault.OF_ANOTHER_USER,
    ]


@given(mode=st.integers(0, 0o177777), owner=st.integers(0, 5), user=st.integers(0, 5))
def test_no_rule_allows_a_file_of_another_user_or_a_file_that_all_can_write(mode, owner, user):
    for rule in (private_files.fault_of_directory, private_files.fault_of_file):
        if rule(mode, owner, user=user) is None:
            assert owner in {ROOT, user}
            assert not mode & 0o002


@pytest.mark.parametrize(
    ("mode", "is_open"), [(0o600, False), (0o400, False), (0o700, False), (0o640, True), (0o601, True), (0o2600, True)]
)
def test_a_file_is_open_to_others_if_they_have_any_permission_on_it(mode, is_open):
    assert private_files.is_open_to_others(FILE | mode) is is_open


@pytest.mark.parametrize("risk", Risk)
def test_the_sentence_about_each_risk_names_the_file(risk):
    reported = private_files.Exposure(risk, Path("/srv/waypost"), 0o2775, owner=OTHER, group=7).sentence
    assert "/srv/waypost" in reported
    assert reported[0].isupper()


# Opening and creating files


@pytest.fixture
def directory(tmp_path):
    with private_files.opened(tmp_path / "above" / "private", make=True) as opened:
        yield opened


def test_only_the_owner_can_access_a_new_directory_and_its_files_with_any_umask(tmp_path):
    before = os.umask(0)
    try:
        with private_files.opened(tmp_path / "above" / "private", make=True) as directory:
            directory.write("key", "secret")
            directory.open_lock("lock").close()
    finally:
        os.umask(before)
    made = [tmp_path / "above", directory.path, directory.path / "key", directory.path / "lock"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700, 0o700, 0o600, 0o600]


def test_writing_a_file_replaces_a_link_and_does_not_change_the_links_target(directory, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory.path / "run.json").symlink_to(victim)
    directory.write("run.json", "{}")
    assert victim.read_text() == "precious"
    assert directory.read("run.json") == b"{}"


def test_a_file_that_must_not_be_replaced_is_not_written_through_a_link(directory, tmp_path):
    (directory.path / "key").symlink_to(tmp_path / "nowhere")
    directory.write("key", "secret", replace=False)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("use", ["read", "open_lock"])
@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda path: path.symlink_to(path.with_name("other")), "is a link, which Waypost does not follow"),
        (os.mkfifo, "is not a regular file"),
        (
            lambda path: (path.touch(), path.chmod(0o666)),
            r"Every user can write to .*/file \(mode 0666\), so another user may have changed it",
        ),
    ],
)
def test_an_unsafe_file_is_not_opened(directory, use, create, message):
    (directory.path / "other").write_text("x")
    create(directory.path / "file")
    with pytest.raises(UnsafeFile, match=message):
        getattr(directory, use)("file")
    with pytest.raises(UnsafeFile, match=message):
        directory.refuse_others(every_name)


def test_files_that_do_not_belong_to_waypost_are_ignored(directory, tmp_path):
    (directory.path / "lost+found").mkdir()
    (directory.path / "notes").symlink_to(tmp_path)
    directory.refuse_others(lambda name: name == "key")
    assert directory.make_private(lambda name: name == "key") == []


def test_files_that_others_can_access_are_made_private_and_reported(directory):
    for name, mode in (("open", 0o644), ("grouped", 0o660), ("private", 0o600), ("fixed", 0o400)):
        (directory.path / name).touch()
        (directory.path / name).chmod(mode)
    found = directory.make_private(every_name)
    assert [(one.risk, one.path.name, one.mode) for one in found] == [
        (Risk.REPAIRED, "grouped", 0o660),
        (Risk.REPAIRED, "open", 0o644),
    ]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()} == {
        "open": 0o600,
        "grouped": 0o600,
        "private": 0o600,
        "fixed": 0o400,
    }


def test_a_mode_that_cannot_be_changed_is_reported(directory, monkeypatch):
    (directory.path / "open").touch(0o644)
    (directory.path / "open").chmod(0o644)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)  # as on a file system without modes
    assert [one.risk for one in directory.make_private(every_name)] == [Risk.EXPOSED]


def test_a_directory_that_its_group_can_write_to_is_reported(tmp_path):
    tmp_path.chmod(0o2770)
    with private_files.opened(tmp_path) as directory:
        directory.refuse_others(every_name)
        assert [(one.risk, one.mode) for one in directory.make_private(every_name)] == [(Risk.SHARED, 0o2770)]


def test_an_open_directory_stays_the_same_directory_when_its_path_is_replaced(tmp_path):
    path = tmp_path / "private"
    with private_files.opened(path, make=True) as directory:
        path.rename(tmp_path / "moved")
        path.mkdir()
        directory.write("key", "secret")
    assert (tmp_path / "moved" / "key").read_text() == "secret"
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("replace", [True, False])
def test_a_written_file_and_its_directory_are_synced_to_disk(directory, monkeypatch, replace):
    """A later power failure must not undo the write, so the directory is synced after its last change."""
    steps = []
    for name in ("fsync", "replace", "link", "unlink"):
        real = getattr(os, name)

        def recorded(*arguments, name=name, real=real, **options):
            is_directory = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            steps.append(f"{name} of {'directory' if is_directory else 'file'}")
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, recorded)
    directory.write("key", "secret", replace=replace)
    change = "replace" if replace else "link"
    assert steps == ["fsync of file", f"{change} of file", "unlink of file", "fsync of directory"]


def test_a_new_directory_and_all_new_directories_above_it_are_synced_to_disk(tmp_path, monkeypatch):
    real, synced = os.fsync, []

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with private_files.opened(tmp_path / "a" / "b", make=True):
        pass
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    with private_files.opened(tmp_path / "a" / "b", make=True):
        pass
    assert len(synced) == 2


# The path to the directory


def test_our_own_links_in_the_path_are_followed(tmp_path):
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to("../x/../" + tmp_path.name + "/real")
    (tmp_path.parent / "x").mkdir(exist_ok=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "link")
    for path_with_links in ("real", "link", "absolute", "absolute/../real", "../" + tmp_path.name + "/link/."):
        with private_files.opened(tmp_path / path_with_links) as directory:
            directory.write("found", path_with_links)
        assert (tmp_path / "real" / "found").read_text() == path_with_links


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"), private_files.opened(tmp_path / "link"):
        pass


def test_a_parent_directory_that_all_can_write_to_is_refused_unless_it_is_sticky(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777)
    refused = r"is not safe in .*/place, where every user can replace it \(mode 0777\)"
    for below in ("data", "deeper/data"):
        with pytest.raises(UnsafeFile, match=refused), private_files.opened(place / below, make=True):
            pass
    assert list(place.iterdir()) == []
    place.chmod(0o1777)
    with private_files.opened(place / "data", make=True) as directory:
        assert directory.make_private(every_name) == []


@AS_ROOT
def test_a_link_of_another_user_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.chown(tmp_path / "link", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(UnsafeFile, match=r"the link .*/link, which belongs to the user with id 54321"):
        private_files.open_directory(tmp_path / "link")


@AS_ROOT
def test_a_directory_above_that_belongs_to_another_user_is_reported(tmp_path):
    os.chown(tmp_path, OTHER, OTHER)
    with private_files.opened(tmp_path / "data", make=True) as directory:
        (reported,) = directory.make_private(every_name)
    assert (reported.risk, reported.path, reported.owner) == (Risk.REPLACED, tmp_path, OTHER)


@AS_ROOT
@pytest.mark.parametrize(
    ("group", "mode", "is_reported"), [(OTHER, 0o2775, True), (OTHER, 0o3775, False), (0, 0o775, False)]
)
def test_a_directory_above_in_which_a_group_can_replace_entries_is_reported(tmp_path, group, mode, is_reported):
    os.chown(tmp_path, -1, group)
    tmp_path.chmod(mode)
    with private_files.opened(tmp_path / "data", make=True) as directory:
        reported = directory.make_private(every_name)
    assert [(each.risk, each.path, each.group, each.mode) for each in reported] == [
        (Risk.REPLACED_BY_GROUP, tmp_path, OTHER, 0o2775)
    ] * is_reported
    assert all(
        f"(group id {OTHER}, mode 2775). Members of the group can replace the data directory" in each.sentence
        for each in reported
    )


@pytest.mark.parametrize(
    ("mode", "group", "fault"),
    [
        (DIRECTORY | 0o775, OTHER, True),
        (DIRECTORY | 0o2775, OTHER, True),
        (DIRECTORY | 0o1775, OTHER, False),
        (DIRECTORY | 0o755, OTHER, False),
        (DIRECTORY | 0o775, ROOT, False),
        (DIRECTORY | 0o775, ME, False),
    ],
)
def test_a_group_can_replace_the_entries_of_a_directory_unless_the_user_is_its_only_member(mode, group, fault):
    """The user ME has a group with the same id, which has no other members."""
    assert private_files.is_replaceable_by_group(mode, group, own={ROOT, ME}) is fault


def test_a_users_own_group_has_the_users_name_and_no_other_member(monkeypatch):
    users = {
        1000: pwd.struct_passwd(("ann", "x", 1000, 1000, "", "/", "/")),
        1001: pwd.struct_passwd(("bob", "x", 1001, 50, "", "/", "/")),
    }
    groups = {1000: grp.struct_group(("ann", "x", 1000, [])), 50: grp.struct_group(("staff", "x", 50, []))}
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", groups.__getitem__)
    assert private_files.own_groups(1000) == {ROOT, 1000}
    assert private_files.own_groups(1001) == {ROOT}
    assert private_files.own_groups(4711) == {ROOT}
    groups[1000] = grp.struct_group(("ann", "x", 1000, ["ann", "carl"]))
    assert private_files.own_groups(1000) == {ROOT}


@AS_ROOT
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_file_or_directory_of_another_user_is_refused(tmp_path, kind):
    (tmp_path / "key").touch(0o600)
    os.chown(tmp_path if kind == "directory" else tmp_path / "key", OTHER, OTHER)
    with (
        private_files.opened(tmp_path) as directory,
        pytest.raises(UnsafeFile, match="54321, but this program runs as"),
    ):
        directory.refuse_others(every_name)


# Settings files and secret files


def test_a_file_that_every_user_can_write_or_replace_is_refused(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    file, link = place / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(file)
    private_files.refuse_replaceable(link)
    place.chmod(0o777)
    for path in (file, link):
        with pytest.raises(UnsafeFile, match=r"every user can replace .*chmod o-w .*/place$"):
            private_files.refuse_replaceable(path)
    place.chmod(0o1777)
    private_files.refuse_replaceable(file)
    file.chmod(0o602)
    with pytest.raises(UnsafeFile, match=r"every user can write to .*/link"):
        private_files.refuse_replaceable(link)


def test_a_pipe_from_a_command_can_be_a_settings_file():
    reading, writing = os.pipe()
    try:
        private_files.refuse_replaceable(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
        os.close(writing)
