"""A server whose disk fails never says that it has stored what a power cut then takes away, and recovers."""

import errno
import smtplib
from concurrent.futures import ThreadPoolExecutor

import botocore.exceptions
import pytest

from faults import preload
from faults.disk import ALWAYS, DiskFaults
from faults.power_cut import PowerCut
from tests.kit.patience import PATIENCE
from tests.kit.servers.running import ACCEPTED, System, waypost_process
from waypost import testing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(preload.why_not()), reason=preload.why_not()),
]

LOG = "data/waypost.sqlite3-wal"


class Faulty:
    """A server on SQLite whose disk can fail and lose its power, with one email address."""

    def __init__(self, base):
        (base / "files").mkdir()
        self.disk = DiskFaults(base / "files", base / "control")
        self.power = PowerCut(base / "files", base / "cut")
        self.server = testing.Server(base / "files" / "data")
        self.server.log = base / "server.log"
        self.start()
        self.address = self.system.new_address()

    def start(self):
        with preload.loaded(self.disk, self.power):
            self.server.start()
        self.system = System(self.server)

    def restart(self, *, seed=None, **options):
        """Kill the server, cut the power if there is a seed, and start the server."""
        self.server.kill()
        self.system.connect.close()
        self.disk.clear()
        if seed is not None:
            self.power.cut(seed, **options)
        self.start()

    def send(self, text):
        """Send a message, and return the code of the last reply, and the id if the server has accepted it."""
        with smtplib.SMTP(*self.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
            client.ehlo()
            client.mail("a@client.example")
            code, reply = client.rcpt(self.address)
            if code == 250:
                code, reply = client.data(f"Subject: {text}\r\n\r\nHello.\r\n".encode())
        return code, ACCEPTED.fullmatch(reply)["id"].decode() if code == 250 else None

    def call(self):
        """Make a call that changes something, and return its HTTP status."""
        try:
            self.system.new_address()
        except botocore.exceptions.ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]
        return 200

    @property
    def inbox(self):
        return self.system.ids_at(self.address)


@pytest.fixture
def faulty(tmp_path):
    server = Faulty(tmp_path)
    yield server
    server.system.connect.close()
    server.disk.clear()
    server.server.kill()


def test_a_message_that_got_451_because_an_fsync_failed_is_not_there_after_a_kill(faulty):
    """Its sender sends it again, so the inbox would have it twice."""
    is_other = True
    while is_other:  # a write of the server itself may come before the message
        rule = faulty.disk.fail("fsync", errno.EIO, LOG)
        is_other = faulty.send("refused")[0] == 250
    assert faulty.disk.hits(rule) == 1
    before = faulty.inbox
    faulty.restart()
    assert faulty.inbox == before


@pytest.mark.long
@pytest.mark.parametrize("is_followed", [False, True], ids=["at the end", "before another message"])
def test_a_message_that_got_451_is_there_if_it_could_not_be_overwritten_and_no_other_commit_follows(
    faulty, is_followed
):
    """docs/durability.md says so: its sender sends it again, so the inbox has it twice. No other message is lost."""
    faulty.send("before")
    before, writes = faulty.inbox, 0
    while True:  # until only the write that overwrites the commit fails
        faulty.disk.fail("fsync", errno.EIO, LOG, times=ALWAYS)
        rule = faulty.disk.fail("write", errno.EROFS, LOG, after=writes, times=ALWAYS)
        assert faulty.send("refused") == (451, None)
        if faulty.disk.hits(rule) == 1:
            break
        faulty.disk.clear()
        writes += 1
    if is_followed:
        faulty.disk.clear()
        code, accepted = faulty.send("accepted")
        assert code == 250
        faulty.restart()
        assert sorted(faulty.inbox) == sorted([*before, accepted])
    else:
        faulty.restart()
        assert len(faulty.inbox) == len(before) + 1


@pytest.mark.long
def test_mail_accepted_by_the_server_that_was_started_after_a_failed_fsync_and_a_kill_survives_a_power_cut(faulty):
    """What the second server finds in the log is in memory only, so the disk would not have what precedes the mail."""
    faulty.disk.fail("fsync", errno.EIO, LOG, times=ALWAYS)
    assert faulty.send("refused") == (451, None)
    faulty.restart()
    code, accepted = faulty.send("accepted")
    assert code == 250
    faulty.restart(seed=1)
    assert accepted in faulty.inbox


@pytest.mark.long
def test_a_server_does_not_start_while_the_log_cannot_be_synced(faulty):
    faulty.send("hello")
    faulty.server.kill()
    faulty.disk.fail("fsync", errno.EIO, LOG, times=ALWAYS)
    with pytest.raises(testing.ServerDied, match=r"waypost\.sqlite3 cannot be opened: .*Input/output error"):
        faulty.start()
    faulty.disk.clear()
    faulty.start()
    assert len(faulty.inbox) == 1


@pytest.mark.long
@pytest.mark.parametrize("seed", [8, 11])
def test_a_power_cut_after_a_command_does_not_make_the_log_seem_to_be_lost(tmp_path, seed):
    """SQLite removes its log and the file `-shm`, and does not sync the directory. The cut kept `-shm` alone."""
    (tmp_path / "files").mkdir()
    data = tmp_path / "files" / "data"
    with preload.loaded():
        server = testing.Server(data)
        server.log = tmp_path / "server.log"
        server.start()
        server.stop()
    power = PowerCut(tmp_path / "files", tmp_path / "cut")
    made = waypost_process("keys", "create", "--data", data, **power.environment())
    assert made.returncode == 0, made.stderr
    power.cut(seed)
    listed = waypost_process("keys", "list", "--data", data)
    assert listed.returncode == 0, listed.stderr


@pytest.mark.long
def test_each_disk_error_is_told_to_clients_and_has_no_effect_after_it(faulty):
    accepted = []
    for call, error in (
        ("write", errno.ENOSPC),
        ("write", errno.EDQUOT),
        ("write", errno.EIO),
        ("fsync", errno.EIO),
        ("fsync", errno.ENOSPC),
    ):
        faulty.disk.fail(call, error, LOG, times=ALWAYS)
        assert (faulty.send("refused")[0], faulty.call()) == (451, 503), (call, error)
        faulty.disk.clear()
        accepted.append(faulty.send("accepted")[1])
        assert faulty.call() == 200
    faulty.disk.make_read_only()
    assert (faulty.send("refused")[0], faulty.call()) == (451, 503)
    faulty.disk.clear()
    faulty.disk.shorten("*", times=ALWAYS)
    faulty.disk.fail("fsync", errno.EIO, "data/waypost.sqlite3", times=ALWAYS)  # of checkpoints
    faulty.disk.fail("open", errno.EMFILE, times=ALWAYS)
    accepted += [faulty.send(f"accepted {number}")[1] for number in range(3)]
    faulty.restart(seed=2, tear=512)
    assert sorted(faulty.inbox) == sorted(accepted)


@pytest.mark.long
def test_a_client_gets_no_reply_while_an_fsync_hangs(faulty):
    rule = faulty.disk.hang(LOG)
    with ThreadPoolExecutor(1) as threads:
        sent = threads.submit(faulty.send, "hello")
        faulty.disk.wait_for_hit(rule)
        assert not sent.done()
        faulty.disk.clear()
        code, message_id = sent.result(PATIENCE)
    assert code == 250
    faulty.restart(seed=3)
    assert faulty.inbox == [message_id]
