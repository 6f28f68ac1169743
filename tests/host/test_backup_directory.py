"""The directory of a backup: it is whole or absent, and every change of a file is found and named."""

import hashlib
import json
import os
import stat

import pytest
from msgspec.structs import replace

from waypost.app.ports.backups import CopiedStore, CopiedTable
from waypost.host import backup_directory
from waypost.host.backup_directory import BadBackup, FileFacts, Manifest

MANIFEST = Manifest(
    waypost="0.2.0",
    store="postgres",
    began_at="2026-11-22T12:00:00.000Z",
    ended_at="2026-11-22T12:00:01.000Z",
    master_key="file",
    copied=CopiedStore(
        schema=14,
        tables={"messages": CopiedTable(3, {"id": "text", "sender": "text"})},
        counters={"refusals.number": 7},
    ),
    files={"tables/messages.copy": FileFacts(1, "0" * 64), "master.key": FileFacts(45, "1" * 64)},
)


NAME = "tables/messages.copy"


def written_to(directory, text):
    (directory / "manifest.json").write_text(text)
    return directory


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    assert backup_directory.read_manifest(written_to(tmp_path, backup_directory.text_of(MANIFEST))) == MANIFEST


def test_every_changed_byte_of_a_manifest_is_found(tmp_path):
    octets = backup_directory.text_of(MANIFEST).encode()
    for place in range(len(octets)):
        changed = octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]
        (tmp_path / "manifest.json").write_bytes(changed)
        with pytest.raises(BadBackup, match=r"manifest\.json is damaged|does not know"):
            backup_directory.read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '{"sha256": 1}', '{"sha256": "", "form": 1, "copied": 1}']
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path, text):
    with pytest.raises(BadBackup, match=r"manifest\.json is damaged"):
        backup_directory.read_manifest(written_to(tmp_path, text))


@pytest.mark.parametrize("name", ["../master.key", "/etc/passwd", "tables/../../x.copy", "run.json", "tables/x.copy/y"])
def test_a_manifest_cannot_name_files_of_other_places(tmp_path, name):
    manifest = replace(MANIFEST, files={name: FileFacts(1, "0" * 64)})
    with pytest.raises(BadBackup, match=r"manifest\.json is damaged"):
        backup_directory.read_manifest(written_to(tmp_path, backup_directory.text_of(manifest)))


@pytest.mark.parametrize("name", ["messages; DROP TABLE x", "messages (id) TO PROGRAM 'id'", "../messages", ""])
def test_a_manifest_cannot_have_names_that_are_parts_of_statements(tmp_path, name):
    table = CopiedTable(3, {"id": "text"})
    of_table = {"files": {**MANIFEST.files, f"tables/{name}.copy": FileFacts(1, "0" * 64)}}
    for copied, other in (
        (CopiedStore(schema=14, tables={name: table}, counters={}), of_table),
        (CopiedStore(schema=14, tables={"messages": CopiedTable(3, {name: "text"})}, counters={}), {}),
        (CopiedStore(schema=14, tables={"messages": table}, counters={f"messages.{name}": 1}), {}),
        (CopiedStore(schema=14, tables={"other": table}, counters={}), {}),  # it has no file
    ):
        manifest = replace(MANIFEST, copied=copied, **other)
        with pytest.raises(BadBackup, match=r"manifest\.json is damaged"):
            backup_directory.read_manifest(written_to(tmp_path, backup_directory.text_of(manifest)))


def test_a_pipe_a_device_or_a_huge_file_instead_of_a_manifest_is_refused_at_once(tmp_path):
    path = tmp_path / "manifest.json"
    os.mkfifo(path)
    for target in ("/dev/zero", "huge"):
        with pytest.raises(BadBackup, match=r"manifest\.json is no manifest of a backup"):
            backup_directory.read_manifest(tmp_path)
        path.unlink()
        path.symlink_to(target)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadBackup, match=r"manifest\.json is no manifest of a backup"):
        backup_directory.read_manifest(tmp_path)


def test_a_pipe_a_device_or_a_file_of_another_size_in_a_backup_is_found_without_reading_it(tmp_path):
    (tmp_path / "tables").mkdir()
    file = tmp_path / NAME
    manifest = replace(MANIFEST, files={NAME: FileFacts(1, "0" * 64)})
    os.mkfifo(file)
    assert list(backup_directory.wrong_files(tmp_path, manifest)) == [(NAME, "It is not a regular file.")]
    file.unlink()
    file.symlink_to("/dev/zero")
    assert list(backup_directory.wrong_files(tmp_path, manifest)) == [(NAME, "It is not a regular file.")]
    file.unlink()
    with file.open("wb") as huge:
        huge.truncate(1 << 40)
    (found,) = backup_directory.wrong_files(tmp_path, manifest)
    assert found == (NAME, "The file has 1,099,511,627,776 bytes instead of 1.")


def test_a_form_of_a_later_version_is_refused_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(backup_directory, "FORM", 2)
    written_to(tmp_path, backup_directory.text_of(MANIFEST))
    monkeypatch.undo()
    with pytest.raises(BadBackup, match="a form of backup that this version of Waypost does not know"):
        backup_directory.read_manifest(tmp_path)


def test_a_directory_without_a_manifest_is_no_backup(tmp_path):
    with pytest.raises(BadBackup, match="is not a whole backup"):
        backup_directory.read_manifest(tmp_path)


def test_a_backup_gets_its_name_when_it_is_complete(tmp_path):
    target = tmp_path / "backup"
    with backup_directory.written(target) as place:
        assert not target.exists()
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        (place / "master.key").write_text("key")
    assert (target / "master.key").read_text() == "key"
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_directory_is_replaced(tmp_path):
    target = tmp_path / "backup"
    target.mkdir()
    with backup_directory.written(target) as place:
        (place / "master.key").write_text("key")
    assert [path.name for path in target.iterdir()] == ["master.key"]


def test_a_failed_backup_leaves_nothing(tmp_path):
    def fails():
        with backup_directory.written(tmp_path / "backup") as place:
            (place / "master.key").write_text("key")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_files_is_refused_and_not_changed(tmp_path):
    names = [f"file-{number}" for number in range(7)]
    for name in names:
        (tmp_path / name).touch()
    with (
        pytest.raises(BadBackup, match=r"contains file-0, file-1, file-2, file-3, file-4 and 2 more\."),
        backup_directory.written(tmp_path),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_directory_that_is_filled_during_the_backup_is_not_replaced(tmp_path):
    target = tmp_path / "backup"

    def meets_another():
        with backup_directory.written(target):
            target.mkdir()
            (target / "other").touch()

    with pytest.raises(BadBackup, match="cannot be written: Directory not empty"):
        meets_another()
    assert [path.name for path in tmp_path.rglob("*")] == ["backup", "other"]


def test_a_mount_point_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), "is_mount", lambda path: path == tmp_path)
    with pytest.raises(BadBackup, match="is a mount point"), backup_directory.written(tmp_path):
        pass


def test_a_file_and_a_link_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(BadBackup, match="is not a directory"), backup_directory.written(tmp_path / name):
            pass


def test_the_checksum_of_the_manifest_is_that_of_the_text_without_it(tmp_path):
    """The page about backups describes this."""
    members = json.loads(backup_directory.text_of(MANIFEST))
    stated = members.pop("sha256")
    assert stated == hashlib.sha256((json.dumps(members, indent=2) + "\n").encode()).hexdigest()
