"""Attachments are written to new files with safe names, completely or not at all."""

import pytest

from waypost.cli import saving
from waypost.cli.client import NoServer, ServerRefused

NAMES = {
    "its own name": ("invoice.pdf", "invoice.pdf"),
    "spaces and letters of all languages": ("Grüße  an 顧客.txt", "Grüße an 顧客.txt"),
    "a path": ("../../etc/passwd", "passwd"),
    "a path of Windows": ("C:\\Windows\\system.ini", "system.ini"),
    "an absolute path": ("/etc/passwd", "passwd"),
    "a hidden file": (".bashrc", "bashrc"),
    "only dots": ("..", "part-2.pdf"),
    "an option of a command": ("-rf", "_-rf"),
    "an escape sequence": ("a\x1b[31m.pdf", "a_[31m.pdf"),
    "a line end": ("a\nb.pdf", "a_b.pdf"),
    "a right-to-left override": ("exe.\u202egpj", "exe._gpj"),
    "a NUL": ("a.pdf\0.exe", "a.pdf_.exe"),
    "no name": (None, "part-2.pdf"),
    "an empty name": ("", "part-2.pdf"),
}


@pytest.mark.parametrize(("given", "name"), NAMES.values(), ids=NAMES)
def test_the_name_of_a_file_is_safe(given, name):
    assert saving.file_name(given, 2, "application/pdf") == name


def test_a_long_name_is_shortened():
    name = saving.file_name("ü" * 300 + ".pdf", 2, "application/pdf")
    assert len(name.encode()) <= 240
    assert name.endswith(".pdf")


def test_a_part_of_an_unknown_type_has_no_extension():
    assert saving.file_name(None, 3, "x/unknown") == "part-3"


def test_a_file_is_written_to_a_directory_that_is_created(tmp_path):
    with saving.opened(tmp_path / "new") as folder:
        assert folder.save("a.txt", [b"one ", b"two"]) == tmp_path / "new" / "a.txt"
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"one two"
    assert [*(tmp_path / "new").iterdir()] == [tmp_path / "new" / "a.txt"]
    assert (tmp_path / "new" / "a.txt").stat().st_mode & 0o077 == 0


def test_a_file_that_exists_is_never_overwritten(tmp_path):
    (tmp_path / "a.tar.gz").write_text("mine")
    (tmp_path / "a.tar-2.gz").symlink_to(tmp_path / "elsewhere")
    with saving.opened(tmp_path) as folder:
        assert folder.save("a.tar.gz", [b"new"]) == tmp_path / "a.tar-3.gz"
        assert folder.save("a.tar.gz", [b"newer"]) == tmp_path / "a.tar-4.gz"
    assert (tmp_path / "a.tar.gz").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_no_partial_file_is_left(tmp_path):
    def parts():
        yield b"half"
        raise NoServer("The server does not answer.")

    with saving.opened(tmp_path) as folder, pytest.raises(NoServer):
        folder.save("a.txt", parts())
    assert not any(tmp_path.iterdir())


def test_a_directory_that_is_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ServerRefused, match="is a symbolic link"), saving.opened(tmp_path / "link"):
        pass


@pytest.mark.parametrize("name", ["file", "no/such"])
def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ServerRefused, match=f"The directory .*{name} cannot be used: "), saving.opened(tmp_path / name):
        pass
