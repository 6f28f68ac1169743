"""Deliveries into a Maildir: readers see only complete files, each message once, even after a crash; and each failure
has its meaning.
"""

import asyncio
import errno
import json
import mailbox
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import force_setattr

from tests.kit.examples import examples
from tests.kit.peers.webhook_receiver import PART, RECEIVED_AT, a_parcel, a_route
from waypost.delivery.maildir import STORED_WITH_LF, LfLines, MaildirTransport
from waypost.delivery.maildir_directories import why_not_usable
from waypost.domain.mail.delivery import Policy, Protocol, Queued, Stage, Then, Trouble, decide
from waypost.domain.mail.routes import LineEnds
from waypost.host import private_files
from waypost.server.open_files import FILES_OF_AN_ATTEMPT

ROOT = Path(__file__).parents[2]


def deliver(path, parcel=None, *, hostname="mx.example", transport=None, **options):
    transport = transport or MaildirTransport(hostname)
    return asyncio.run(transport.attempt(parcel or a_parcel(), a_route(f"maildir:{path}", **options)))


def as_stored(parcel, octets):
    """The expected content of the file: with LF if every line of the message ends in CRLF, otherwise unchanged."""
    whole = parcel.header + octets
    return whole.replace(b"\r\n", b"\n") if are_lines(whole) else whole


def are_lines(octets):
    *lines, rest = octets.split(b"\r\n")
    return rest == b"" and not any(b"\r" in line or b"\n" in line for line in lines)


def decided(result):
    queued = Queued(delivery_id="x", attempts=0, queued_at=RECEIVED_AT)
    return decide(queued, result, RECEIVED_AT, Policy())


def files(path, *directories):
    return sorted(file for name in directories or ("tmp", "new", "cur") for file in (path / name).iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Maildir"


def test_the_file_consists_of_the_trace_header_and_the_exact_bytes_of_the_message(path):
    parcel = a_parcel(b"\x00\r\n.\r\n\xff\nlast")
    result = deliver(path, parcel)
    assert (result.protocol, result.stage, result.peer) == (Protocol.MAILDIR, Stage.STORED, str(path))
    (file,) = files(path)
    assert file.parent == path / "new"
    assert file.read_bytes() == parcel.header + b"\x00\r\n.\r\n\xff\nlast"
    assert file.name == f"{int(RECEIVED_AT.timestamp())}.{parcel.delivery.id}.waypost"


@settings(max_examples=examples(30))
@given(st.binary(max_size=3 * PART))
def test_any_bytes_arrive_unchanged(octets):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "Maildir"
        parcel = a_parcel(octets)
        assert deliver(path, parcel).stage is Stage.STORED
        assert files(path)[0].read_bytes() == as_stored(parcel, octets)


# Line endings

LINES = b"Subject: Hello\r\n\r\n.\r\n\xff\r\n"
AS_RECEIVED = "with the line ends as received, because not every line ends in CRLF"
LINE_ENDS = {
    "every line ends in CRLF": (LINES, "with LF line ends"),
    "no body": (b"Subject: Hello\r\n", "with LF line ends"),
    "an empty message": (b"", "with LF line ends"),
    "an empty line": (b"\r\n", "with LF line ends"),
    "a NUL": (LINES + b"\x00\r\n", "with LF line ends"),
    "the last line has no end": (LINES + b"last", AS_RECEIVED),
    "a CR at the end": (LINES + b"last\r", AS_RECEIVED),
    "a bare LF": (LINES + b"a\nb\r\n", AS_RECEIVED),
    "a bare CR": (LINES + b"a\rb\r\n", AS_RECEIVED),
    "a bare LF at the beginning": (b"\n" + LINES, AS_RECEIVED),
    "a CR before CRLF": (LINES + b"a\r\r\n", AS_RECEIVED),
    "only LF": (LINES.replace(b"\r\n", b"\n"), AS_RECEIVED),
}


@pytest.mark.parametrize(("octets", "text"), LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("before", [0, PART - 1, PART, 3 * PART + 7])
def test_lines_end_in_lf_only_if_every_line_of_the_message_ends_in_crlf_and_the_trace_says_so(
    path, octets, text, before
):
    octets = b"x" * (before - 2) + b"\r\n" + octets if before else octets
    parcel = a_parcel(octets)
    result = deliver(path, parcel)
    (file,) = files(path)
    assert (result.stage, result.text) == (Stage.STORED, text)
    assert file.read_bytes() == as_stored(parcel, octets)
    assert (b"\r" in file.read_bytes()) is (text == AS_RECEIVED)
    assert f"at stored: {text}" in decided(result).because


@given(octets=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x"]), max_size=12).map(b"".join))
def test_the_conversion_of_line_endings_does_not_depend_on_how_the_message_is_split(octets):
    at_once, one_by_one = LfLines(), LfLines()
    whole = at_once.feed(octets)
    parts = b"".join(one_by_one.feed(octets[at : at + 1]) for at in range(len(octets)))
    assert at_once.are_whole is one_by_one.are_whole is are_lines(octets)
    if are_lines(octets):
        assert whole == parts
        assert whole.replace(b"\n", b"\r\n") == octets


@pytest.mark.parametrize("octets", [LINES, LINES + b"a\nb"], ids=["every line ends in CRLF", "a bare LF"])
def test_the_message_is_stored_unchanged_if_the_route_requires_it(path, octets):
    parcel = a_parcel(octets)
    result = deliver(path, parcel, line_ends=LineEnds.AS_RECEIVED)
    assert files(path)[0].read_bytes() == parcel.header + octets
    assert result.text == "with the line ends as received, as the route requires"


def test_a_large_message_is_read_once_and_the_first_reading_ends_at_a_bare_line_ending(path):
    read = []

    def counted(octets):
        parcel = a_parcel(octets)
        parts = parcel.octets

        async def counting():
            async for part in parts():
                read.append(len(part))
                yield part

        force_setattr(parcel, "octets", counting)
        return parcel

    text = b"x" * 62 + b"\r\n"
    deliver(path, counted(text * 16_384))
    assert sum(read) == 1 << 20
    read.clear()
    deliver(path, counted(b"\n" + text * 16_384), hostname="other")
    assert sum(read) <= (1 << 20) + 1 + PART


NOBODY = 65534
DOVECOT = """
base_dir = {here}/run
state_dir = {here}/state
log_path = /dev/stderr
ssl = no
mail_location = maildir:{here}/Maildir
mail_uid = {nobody}
mail_gid = {nobody}
"""
PROCMAIL, DOVEADM = shutil.which("procmail"), shutil.which("doveadm")


@pytest.mark.skipif(PROCMAIL is None, reason="procmail is not installed: apt-get install procmail")
def test_procmail_matches_a_header_line_in_a_delivered_file(path, tmp_path):
    deliver(path, a_parcel(LINES))
    (file,) = files(path)
    rules = tmp_path / "rules"
    rules.write_text(
        f"SHELL=/bin/sh\nDEFAULT={tmp_path}/missed\nLOGFILE={tmp_path}/log\n:0\n* ^Subject: Hello$\n{tmp_path}/found\n"
    )
    rules.chmod(0o600)
    with file.open("rb") as message:
        subprocess.run([PROCMAIL, "-m", rules], stdin=message, check=True)
    assert not (tmp_path / "missed").exists()
    assert b"Subject: Hello\n" in (tmp_path / "found").read_bytes()


@pytest.mark.skipif(DOVEADM is None, reason="Dovecot is not installed: apt-get install dovecot-core")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start Dovecot with the mail owner's user id")
@pytest.mark.parametrize("line_ends", LineEnds)
def test_dovecot_reads_a_delivered_file_with_both_kinds_of_line_endings(line_ends):
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        here.chmod(0o755)  # Dovecot does not read root's mail
        deliver(here / "Maildir", a_parcel(LINES.replace(b"\xff", b"text")), line_ends=line_ends)
        for each in (here / "Maildir", *(here / "Maildir").rglob("*")):
            os.chown(each, NOBODY, NOBODY)
        config = here / "dovecot.conf"
        config.write_text(DOVECOT.format(here=here, nobody=NOBODY))
        command = [DOVEADM, "-c", config, "-f", "json", "fetch", "hdr.subject body", "all"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env={"USER": "nobody"})
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout)
    assert (found["hdr.subject"], found["body"].splitlines()) == ("Hello", [".", "text"])


def test_the_mailbox_module_reads_the_maildir(path):
    deliver(path)
    deliver(path, a_parcel(b"Subject: second\r\n\r\n", number=2))
    box = mailbox.Maildir(path, create=False)
    assert sorted(message["Subject"] for message in box) == ["Hello", "second"]
    assert {message.get_subdir() for message in box} == {"new"}
    assert {message["Delivered-To"] for message in box} == {"support@example.com"}


def test_only_the_owner_may_read_the_files_and_directories(path):
    deliver(path)
    assert {file.stat().st_mode & 0o777 for file in files(path)} == {0o600}
    assert {each.stat().st_mode & 0o777 for each in (path, *path.iterdir())} == {0o700}


@pytest.mark.parametrize(
    ("directory", "suffix"), [("new", ""), ("cur", ""), ("cur", ":2,S"), ("cur", ",S=90,W=94:2,RS"), ("cur", ":2,")]
)
def test_a_message_that_was_already_delivered_is_not_delivered_twice(path, directory, suffix):
    """The situation after a crash, if the file was stored but the result was not recorded."""
    deliver(path)
    (file,) = files(path)
    file.rename(path / directory / (file.name + suffix))
    before = files(path)
    result = deliver(path)
    assert result.stage is Stage.STORED
    assert result.text == "The file already existed."
    assert decided(result).then is Then.DELIVERED
    assert files(path) == before


def test_each_delivery_has_its_own_file(path):
    for number in range(3):
        deliver(path, a_parcel(number=number))
    assert len(files(path, "new")) == 3


def test_another_server_of_the_deployment_recognizes_a_delivered_file(path):
    deliver(path, hostname="one.example")
    assert deliver(path, hostname="two.example/:" + 400 * "c").text == "The file already existed."
    assert len(files(path, "new")) == 1


def test_simultaneous_attempts_leave_one_file(path):
    async def scenario():
        transport = MaildirTransport("mx.example")
        route = a_route(f"maildir:{path}")
        return await asyncio.gather(*(transport.attempt(a_parcel(), route) for _ in range(8)))

    assert {result.stage for result in asyncio.run(scenario())} == {Stage.STORED}
    assert len(files(path)) == 1


KILLED = """
import asyncio, sys
from msgspec.structs import force_setattr
from tests.kit.peers.webhook_receiver import a_parcel, a_route
from waypost.delivery.maildir import MaildirTransport

parcel = a_parcel(b"x" * 300_000)
async def part_of_it():
    async for part in whole():
        yield part
        print("written", flush=True)
        await asyncio.Event().wait()

whole = parcel.octets
force_setattr(parcel, "octets", part_of_it)
asyncio.run(MaildirTransport("mx.example").attempt(parcel, a_route(f"maildir:{sys.argv[1]}")))
"""


def test_a_server_that_is_killed_while_it_writes_leaves_no_file_that_readers_see(path):
    child = subprocess.Popen([sys.executable, "-c", KILLED, path], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"written\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert [file.parent.name for file in files(path)] == ["tmp"]
    assert deliver(path, a_parcel(b"x" * 300_000)).stage is Stage.STORED
    (file,) = files(path, "new", "cur")
    assert file.read_bytes().endswith(b"x" * 300_000)


def test_a_cancelled_attempt_leaves_no_file(path):
    async def scenario():
        written = asyncio.Event()
        parcel = a_parcel()

        async def endless():
            yield b"x"
            written.set()
            await asyncio.Event().wait()

        force_setattr(parcel, "octets", endless)
        task = asyncio.create_task(MaildirTransport("mx.example").attempt(parcel, a_route(f"maildir:{path}")))
        await written.wait()
        assert len(files(path, "tmp")) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert files(path) == []


# Failures, and the decisions that follow. No failure is attributed to the message.


def no_parent(path, _):
    return path / "none" / "Maildir"


def a_file_in_its_place(path, _):
    path.write_bytes(b"")


def a_file_in_place_of_new(path, _):
    path.mkdir()
    (path / "new").write_bytes(b"")


def a_link_in_place_of_tmp(path, _):
    path.mkdir()
    (path.parent / "elsewhere").mkdir()
    (path / "tmp").symlink_to(path.parent / "elsewhere")


def a_link_to_nothing(path, _):
    path.symlink_to("nowhere")


def failing(what, number, path, monkeypatch):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, what, fail)


def no_permission(path, monkeypatch):
    """Simulate missing permissions, which root would not notice."""
    path.mkdir()
    failing("mkdir", errno.EACCES, path, monkeypatch)


FAILURES = {
    "the parent directory is missing": (no_parent, Stage.CONNECT, "The parent directory of the Maildir does not exist"),
    "a file in place of the Maildir": (a_file_in_its_place, Stage.CONNECT, "The path is not a directory"),
    "a file in place of new/": (a_file_in_place_of_new, Stage.CONNECT, "The path is not a directory: "),
    "a link in place of tmp/": (a_link_in_place_of_tmp, Stage.CONNECT, "The path is not a directory: "),
    "a broken link": (a_link_to_nothing, Stage.CONNECT, "The path is not a directory"),
    "no permission": (no_permission, Stage.CONNECT, "Permission denied: "),
    "the disk is full at the first byte": (partial(failing, "write", errno.ENOSPC), Stage.CONNECT, "No space left"),
    "the disk is broken": (partial(failing, "fsync", errno.EIO), Stage.CONNECT, "Input/output error"),
    "the quota is reached at the end": (partial(failing, "rename", errno.EDQUOT), Stage.BODY, "Disk quota exceeded"),
}


@pytest.mark.parametrize(("breaking", "stage", "text"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_reported_and_the_delivery_is_retried(path, monkeypatch, breaking, stage, text):
    broken = breaking(path, monkeypatch) or path
    result = deliver(broken)
    monkeypatch.undo()
    assert (result.stage, result.trouble) == (stage, Trouble.FAILED)
    assert text in result.text
    assert "\n" not in result.text
    decision = decided(result)
    assert (decision.then, decision.is_of_destination) == (Then.RETRY, True)
    assert timedelta(minutes=1) <= decision.at - RECEIVED_AT <= timedelta(minutes=1.1)
    assert not (broken / "tmp").is_dir() or files(broken, "tmp") == []


@pytest.mark.parametrize("directory", ["new", "cur"])
def test_a_message_that_an_interrupted_attempt_left_is_synced_where_it_is_before_it_counts_as_stored(
    path, monkeypatch, directory
):
    """Otherwise a power failure can take it away. A mail reader moves files to cur/ without a sync."""
    deliver(path)
    (file,) = files(path)
    if directory == "cur":
        file.rename(path / "cur" / f"{file.name}:2,S")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    assert deliver(path).text == "The file already existed."
    assert synced == [(path / directory).stat().st_ino]


@pytest.mark.parametrize("call", range(1, 8))
def test_a_disk_failure_leaves_no_incomplete_file_and_the_next_attempt_stores_one_copy(path, monkeypatch, call):
    """The calls of fsync are for four directories, then for the file, and then for its name."""
    real, left = os.fsync, [call]

    def fsync(descriptor):
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    first = deliver(path)
    assert first.trouble is Trouble.FAILED
    made = [each.is_dir() for each in (path, path / "tmp", path / "new", path / "cur")]
    assert made == [number < call for number in range(1, 5)], "a directory that was not synced must be created again"
    assert not (path / "tmp").is_dir() or files(path, "tmp") == []
    assert deliver(path).stage is Stage.STORED
    (file,) = files(path)
    assert file.read_bytes() == as_stored(a_parcel(), b"".join(asyncio.run(all_of(a_parcel()))))


async def all_of(parcel):
    return [part async for part in parcel.octets()]


def test_a_disk_that_fills_while_the_message_is_written_leaves_no_file(path, monkeypatch):
    real, left = os.write, [3]

    def write(descriptor, octets):
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, octets[:1000])

    monkeypatch.setattr(os, "write", write)
    result = deliver(path, a_parcel(b"x" * 100_000))
    monkeypatch.undo()
    assert (result.stage, result.trouble, result.text) == (Stage.BODY, Trouble.FAILED, "No space left on device")
    assert files(path) == []


def test_a_partial_write_is_continued(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, octets: real(descriptor, octets[:7]))
    parcel = a_parcel(b"0123456789" * 100)
    deliver(path, parcel)
    monkeypatch.undo()
    assert files(path)[0].read_bytes() == parcel.header + b"0123456789" * 100


def test_a_message_with_missing_bytes_is_not_stored(path):
    result = deliver(path, a_parcel(b"short", size=6))
    assert (result.stage, result.trouble) == (Stage.BODY, Trouble.FAILED)
    assert "5 bytes were read of a message of 6 bytes" in result.text
    assert files(path) == []


def test_an_unreadable_message_is_not_stored(path):
    parcel = a_parcel()

    async def broken():
        yield b"x"
        raise RuntimeError("the store is gone")

    force_setattr(parcel, "octets", broken)
    result = deliver(path, parcel)
    assert (result.stage, result.trouble, result.text) == (
        Stage.BODY,
        Trouble.FAILED,
        "RuntimeError: the store is gone",
    )
    assert files(path) == []


# Links: the owner of a Maildir cannot redirect the server into directories in which the owner may not write

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
OWNER, OTHER = 54321, 54322


@pytest.mark.parametrize("name", ["tmp", "new", "cur"])
def test_a_link_inside_a_maildir_is_not_followed(path, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.mkdir()
    (path / name).symlink_to(elsewhere)
    result = deliver(path)
    assert result.trouble is Trouble.FAILED
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_is_replaced_by_a_link_during_a_delivery_does_not_redirect_it(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    parcel = a_parcel()

    async def exchanged():
        yield b"x" * (parcel.message.size - 2) + b"\r\n"
        for name in ("new", "tmp"):
            (path / name).rename(path / f"{name}.kept")
            (path / name).symlink_to(elsewhere)

    force_setattr(parcel, "octets", exchanged)
    assert deliver(path, parcel).stage is Stage.STORED
    assert list(elsewhere.iterdir()) == []
    assert len(files(path, "new.kept")) == 1


@AS_ROOT
@pytest.mark.parametrize(
    ("of_link", "of_directory", "is_used"), [(0, OWNER, True), (OWNER, OWNER, True), (OWNER, OTHER, False)]
)
def test_a_maildir_that_is_a_link_is_used_only_if_the_link_has_a_permitted_owner(
    path, tmp_path, of_link, of_directory, is_used
):
    real = tmp_path / "real"
    real.mkdir()
    os.chown(real, of_directory, of_directory)
    path.symlink_to(real)
    os.chown(path, of_link, of_link, follow_symlinks=False)
    result = deliver(path)
    assert (result.trouble is None) is is_used
    assert bool(list(real.iterdir())) is is_used
    if not is_used:
        assert (
            result.text
            == f"The path is a link, and the link's owner does not own the directory that the link points to: {path}"
        )


@pytest.fixture
def home():
    """A home directory that other users may search but not read, as is common, with the Maildir of its user."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        home = Path(above, "bob")
        home.mkdir(mode=0o711)
        maildir = home / "Maildir"
        maildir.mkdir(mode=0o700)
        os.chown(maildir, OWNER, OWNER)
        yield home


@AS_ROOT
def test_mail_is_delivered_into_a_maildir_whose_parent_is_searchable_but_not_readable(home):
    maildir = home / "Maildir"
    with private_files.as_owner_of(maildir.stat()):
        assert why_not_usable(maildir) == ""
        result = deliver(maildir)
    assert (result.stage, result.text) == (Stage.STORED, STORED_WITH_LF)
    assert len(files(maildir, "new")) == 1


@AS_ROOT
def test_a_link_to_a_maildir_works_in_a_directory_that_is_not_readable(home):
    link = home / "link"
    link.symlink_to(home / "Maildir")
    with private_files.as_owner_of((home / "Maildir").stat()):
        assert why_not_usable(link) == ""
        assert deliver(link).stage is Stage.STORED


def next_to_the_maildir(home):
    return home / "other"


def below_a_directory_that_is_not_searchable(home):
    home.chmod(0o700)
    return home / "Maildir"


def without_new(home):
    (home / "Maildir").chmod(0o500)
    return home / "Maildir"


def with_new_of_another_user(home):
    (home / "Maildir" / "new").mkdir()
    return home / "Maildir"


def of_another_user(home):
    other = home / "other"
    other.mkdir(mode=0o700)
    os.chown(other, OTHER, OTHER)
    return other


def a_link_of_another_user(home):
    link = home / "link"
    link.symlink_to(of_another_user(home))
    (home / "other").chmod(0o777)
    os.chown(link, OTHER + 1, OTHER + 1, follow_symlinks=False)
    return link


@AS_ROOT
@pytest.mark.parametrize(
    "unusable",
    [
        next_to_the_maildir,
        below_a_directory_that_is_not_searchable,
        without_new,
        with_new_of_another_user,
        of_another_user,
        a_link_of_another_user,
    ],
)
def test_the_check_of_a_route_gives_the_same_reason_as_a_failed_delivery(home, unusable):
    owner = (home / "Maildir").stat()
    maildir = unusable(home)
    with private_files.as_owner_of(owner):
        found = why_not_usable(maildir)
        result = deliver(maildir)
    assert result.trouble is Trouble.FAILED
    assert found
    assert found.partition(":")[0] == result.text.partition(":")[0]


def test_the_check_of_a_route_creates_no_files(path):
    assert why_not_usable(path) == ""
    assert not path.exists()
    path.mkdir()
    assert why_not_usable(path) == ""
    assert list(path.iterdir()) == []


def test_an_attempt_opens_at_most_the_number_of_files_that_the_server_reserves(path):
    parcel, counts = a_parcel(), []

    async def counted():
        counts.append(open_descriptors())
        yield b"x" * (parcel.message.size - 2) + b"\r\n"
        counts.append(open_descriptors())

    deliver(path, a_parcel(number=2))  # opens the files that the loop and its threads need
    force_setattr(parcel, "octets", counted)

    async def scenario():
        before = open_descriptors()
        result = await MaildirTransport("mx.example").attempt(parcel, a_route(f"maildir:{path}"))
        return before, result

    before, result = asyncio.run(scenario())
    assert result.stage is Stage.STORED
    assert max(counts) - before == FILES_OF_AN_ATTEMPT


def open_descriptors():
    return len(list(Path("/dev/fd").iterdir()))


def test_no_file_descriptor_stays_open(path):
    deliver(path)
    before = open_descriptors()
    deliver(path, a_parcel(number=2))
    deliver(path, a_parcel(number=2))
    (path / "cur").rename(path / "kept")
    (path / "cur").write_bytes(b"")
    deliver(path, a_parcel(number=3))
    assert open_descriptors() == before
