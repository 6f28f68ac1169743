"""Backups of a real server under load, restored elsewhere: everything that was acknowledged is there, byte for byte."""

import copy
import itertools
import json
import os
import re
import shutil
import smtplib
import stat
import threading
from collections import Counter

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.places import SETTINGS, Place, killed
from tests.kit.servers.running import ACCEPTED, waypost, waypost_process
from waypost.cli.outcomes import Exit
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.store import migrations
from waypost.testing import ServerDied

STORES = ["sqlite", "postgres"]


@pytest.fixture(scope="module", params=STORES)
def store(request):
    if request.param == "sqlite" and request.config.pluginmanager.has_plugin("tests.kit.stores.on_postgresql"):
        pytest.skip("every server keeps its data in PostgreSQL")
    return request.param


@pytest.fixture
def places(tmp_path, store):
    """A function that returns a new place for data."""
    made = []

    def new(name):
        made.append(Place(tmp_path / name, store))
        return made[-1]

    yield new
    for place in made:
        place.close()


@pytest.fixture(scope="module")
def original(store, tmp_path_factory):
    """A place with an alias link and a message, whose server is stopped, and its backup. No test changes it."""
    directory = tmp_path_factory.mktemp("original")
    place = Place(directory / "data", store)
    with place.running() as system:
        alias, _ = system.linked_pair()
        system.deliver(b"Subject: hello\r\n\r\nHello.\r\n", alias)
    made = waypost("backup", directory / "backup", *place.options)
    assert made.returncode == 0, made.stderr
    yield place
    place.close()


@pytest.fixture
def deployment(original, tmp_path):
    """The original, with its own copy of the data directory."""
    place = copy.copy(original)
    place.data = tmp_path / "data"
    shutil.copytree(original.data, place.data)
    return place


@pytest.fixture
def backup(original, tmp_path):
    """The directory of a backup of the original."""
    shutil.copytree(original.data.with_name("backup"), tmp_path / "backup")
    return tmp_path / "backup"


# The restore drill


class Load:
    """Clients that send mail and create email addresses until they are stopped."""

    SENDERS = 3

    def __init__(self, system, recipients):
        self.acknowledged = []
        """The recipient, the id and the bytes of each accepted message."""
        self.created = []
        """The ids of the created email addresses."""
        self._system, self._recipients = system, recipients
        self._stops = threading.Event()
        senders = [threading.Thread(target=self._send, args=[number]) for number in range(self.SENDERS)]
        self._threads = [*senders, threading.Thread(target=self._create)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stops.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number):
        with smtplib.SMTP(*self._system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
            client.ehlo()
            for count, recipient in enumerate(itertools.cycle(self._recipients)):
                if self._stops.is_set():
                    return
                # A few messages are so large that they are stored in pieces.
                lines = b"\xc3\xbc line\r\n" * (200_000 if count % 50 == number else 3)
                message = b"Subject: %d of sender %d\r\n\r\n" % (count, number) + lines
                client.mail("a@client.example")
                client.rcpt(recipient)
                code, text = client.data(message)
                assert code == 250
                self.acknowledged.append((recipient, ACCEPTED.fullmatch(text)["id"].decode(), message))

    def _create(self):
        while not self._stops.is_set():
            address = self._system.new_address("made")
            self.created.append(self._system.ids[address])


def all_of(system, address):
    """Return the number of times that each message is in an inbox, which is read page by page."""
    found, page = Counter(), system.ids_at(address, limit=500)
    while page:
        found.update(page)
        page = system.ids_at(address, limit=500, after=page[-1])
    return found


def queued(system):
    """Return the ids of the queued deliveries."""
    found, page = [], system.json("queue", limit=500)["deliveries"]
    while page:
        found += [line["id"] for line in page]
        page = system.json("queue", limit=500, after=found[-1])["deliveries"]
    return found


def check_inboxes(system, alias, primary, accepted):
    """Check that the inboxes of an alias and its primary have the accepted messages once and byte for byte."""
    inboxes = {address: all_of(system, address) for address in (alias, primary)}
    assert {count for found in inboxes.values() for count in found.values()} == {1}
    assert inboxes[alias].keys() == inboxes[primary].keys()
    for _, message_id, message in accepted:
        for address in (alias, primary):
            assert system.raw(message_id, address).endswith(message)


@pytest.mark.long
@pytest.mark.slow
def test_a_backup_under_load_is_restored_with_everything_that_was_acknowledged(places, tmp_path):
    original, restored = places("data"), places("copy")
    target = tmp_path / "backup"
    settings = tmp_path / "waypost.toml"
    with Sink(at_rcpt=lambda _: b"451 4.3.0 later") as sink:
        settings.write_text(SETTINGS.format(sink=sink.to))
        options = ("--config", str(settings))
        with original.running(*options) as system:
            alias, primary = system.linked_pair()
            out = "support@out.example"
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=out)
            with Load(system, [alias, out]) as load:
                wait_until(lambda: len(load.acknowledged) >= 60 and len(load.created) >= 3)
                before, created = list(load.acknowledged), list(load.created)
                made = waypost_process("backup", target, *original.options)
                after = len(load.acknowledged)
                wait_until(lambda: len(load.acknowledged) > after)
        assert made.returncode == 0, made.stderr
        assert after > len(before), "the server accepted no mail during the backup"

        assert waypost("verify", target).stdout == f"{target}: nothing is wrong.\n"
        printed = waypost("restore", target, *restored.options)
        assert printed.returncode == 0, printed.stderr
        assert f"\n  waypost serve --data {restored.data} --hold-queue yes\n" in printed.stdout
        checked = waypost("verify", *restored.options)
        assert (checked.returncode, checked.stdout) == (0, f"{restored.data}: nothing is wrong.\n")

        offered = []
        sink.at_rcpt = lambda recipient: offered.append(recipient) or b"250 2.1.5 ok"
        of_route = {message_id: message for recipient, message_id, message in before if recipient == out}
        with restored.running(*options, "--hold-queue", "yes") as system:
            check_inboxes(system, alias, primary, [one for one in before if one[0] == alias])
            for email_address_id in created:
                system.connect.describe_email_address(InstanceId=system.instance_id, EmailAddressId=email_address_id)
            waiting = queued(system)
            assert {delivery_id.partition(".")[0] for delivery_id in waiting} >= of_route.keys()
            assert system.json("queue")["is_held"]
            system.deliver(b"Subject: new\r\n\r\nNew.\r\n", out)
            assert len(queued(system)) == len(waiting) + 1
        assert (offered, sink.taken) == ([], [])

        with restored.running(*options) as system:
            taken = sink.wait_for(len(waiting) + 1)
            wait_until(lambda: not queued(system))
            assert not system.json("queue")["is_held"]
        counts = sink.counts()
        assert set(counts.values()) == {1}
        assert counts.keys() > set(waiting)
        for one in taken:
            message = of_route.get(one.delivery_id.partition(".")[0])
            assert message is None or one.octets.endswith(message)


# What a backup consists of


def test_only_its_owner_can_read_a_backup(deployment, tmp_path):
    before = os.umask(0)
    try:
        waypost("backup", tmp_path / "backup", *deployment.options)
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "backup").rglob("*")}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in found.items() if path.is_dir()} <= {0o700}
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700


def test_a_restored_data_directory_is_private_and_has_the_same_keys(deployment, backup, places):
    restored = places("copy")
    before = os.umask(0)
    try:
        assert waypost("restore", backup, *restored.options).returncode == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(restored.data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in restored.data.iterdir()} == {0o600}
    for name in ("master.key", "credentials"):
        assert (restored.data / name).read_bytes() == (deployment.data / name).read_bytes()


def test_the_manifest_counts_the_rows(backup):
    manifest = json.loads((backup / "manifest.json").read_text())
    rows = {name: table["rows"] for name, table in manifest["copied"]["tables"].items()}
    assert rows["messages"] == 1
    assert rows["deliveries"] == rows["email_addresses"] == rows["alias_link_ends"] == 2
    names = {str(path.relative_to(backup)) for path in backup.rglob("*") if path.is_file()}
    assert names == {"manifest.json", *manifest["files"]}


def test_backup_says_what_it_contains_and_warns_about_the_keys(deployment, tmp_path):
    made = waypost("backup", tmp_path / "backup", *deployment.options)
    assert re.fullmatch(
        rf"The backup {tmp_path}/backup has 1 message and 2 email addresses, as of \S+Z\.\n", made.stdout
    )
    assert "contains the master key and the owner's access key" in made.stderr


def test_a_key_from_the_environment_is_not_in_the_backup(places, tmp_path):
    place, restored, target = places("data"), places("copy"), tmp_path / "backup"
    key = "dGhpcnR5LXR3byBvY3RldHMsIGFuZCBubyBzZWNyZXQ="
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(MASTER_KEY_VARIABLE, key)
        with place.running():
            made = waypost("backup", target, *place.options)
        assert (made.returncode, (target / "master.key").exists()) == (0, False)
        assert f"the key is in {MASTER_KEY_VARIABLE}" in made.stderr
        assert waypost("verify", target).returncode == 0
    refused = waypost("restore", target, *restored.options)
    assert refused.returncode == Exit.REFUSED
    assert f"the server had its key in {MASTER_KEY_VARIABLE}. Set this variable" in refused.stderr
    assert restored.is_empty()
    assert waypost("restore", target, *restored.options, **{MASTER_KEY_VARIABLE: key}).returncode == 0


# Damage


def flipped(path):
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def longer(path):
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("damage", [flipped, truncated, longer, os.remove], ids=lambda damage: damage.__name__)
def test_each_damaged_file_is_named_and_nothing_is_restored(backup, places, damage):
    restored = places("copy")
    for path in [path for path in backup.rglob("*") if path.is_file()]:
        before = path.read_bytes()
        if not before and damage in (flipped, truncated):
            continue
        damage(path)
        checked, refused = waypost("verify", backup), waypost("restore", backup, *restored.options)
        path.write_bytes(before)
        assert (checked.returncode, refused.returncode) == (Exit.REFUSED, Exit.REFUSED)
        assert str(path.relative_to(backup)) in checked.stdout + checked.stderr
        assert str(path) in refused.stderr
        assert restored.is_empty()
    assert waypost("verify", backup).returncode == 0


def test_verify_prints_json_for_programs(backup):
    assert json.loads(waypost("verify", backup, "--json").stdout) == {"is_sound": True, "findings": []}
    (backup / "credentials").unlink()
    ended = waypost("verify", backup, "--json")
    assert ended.returncode == Exit.REFUSED
    assert json.loads(ended.stdout) == {
        "is_sound": False,
        "findings": [{"id": "credentials", "what": "The file is missing."}],
    }


def test_verify_finds_data_that_was_sealed_with_another_key(deployment):
    (deployment.data / "master.key").write_text("dGhpcnR5LXR3byBvY3RldHMsIGFuZCBubyBzZWNyZXQ=")
    found = waypost("verify", *deployment.options)
    assert found.returncode == Exit.REFUSED
    assert "were sealed with another master key" in found.stdout


# Interruptions


@pytest.mark.parametrize("name", ["facts_of", "text_of", "sync_all"])
def test_a_killed_backup_is_no_backup(deployment, places, tmp_path, name):
    target = tmp_path / "backup"
    killed("waypost.host", "backup_directory", name, "backup", target, *deployment.options)
    assert not target.exists()
    (left,) = tmp_path.glob("backup.*.new")
    restored = places("copy")
    if name != "sync_all":  # by then, the backup is whole, but perhaps not on the disk
        assert waypost("verify", left).returncode == Exit.REFUSED
        assert waypost("restore", left, *restored.options).returncode == Exit.REFUSED
        assert restored.is_empty()
    assert waypost("backup", target, *deployment.options).returncode == 0
    assert waypost("verify", target).returncode == 0


DATABASE_OF = {
    "sqlite": ("waypost.host", "backup_directory", "copy_file"),
    "postgres": ("waypost.store.postgres", "backups", "_continue_counters"),
}
"""The functions that write the database of a restored backup, or write its last part."""


@pytest.mark.parametrize("when", ["before the keys", "in the database"])
def test_no_server_starts_from_a_killed_restore(backup, places, store, when):
    restored = places("copy")
    first = ("waypost.host.data_directory", "DataDirectory", "write_kept")
    killed(*(first if when == "before the keys" else DATABASE_OF[store]), "restore", backup, *restored.options)
    server = restored.server()
    with pytest.raises(ServerDied, match="a server has stored data there, according to"):
        server.start()
    assert waypost("restore", backup, *restored.options).returncode == Exit.REFUSED
    shutil.rmtree(restored.data)
    assert waypost("restore", backup, *restored.options).returncode == 0
    with restored.running() as system:
        assert system.json("messages")["messages"]


def test_a_failed_restore_leaves_an_empty_place(backup, places, monkeypatch, store):
    restored = places("copy")

    def fails(*_, **__):
        raise OSError(28, "No space left on device", "the disk")

    if store == "sqlite":
        monkeypatch.setattr("waypost.host.backup_directory.copy_file", fails)
    else:
        monkeypatch.setattr("waypost.store.postgres.backups._continue_counters", fails)
    refused = waypost("restore", backup, *restored.options)
    assert (refused.returncode, refused.stderr) == (1, "waypost: the disk cannot be used: No space left on device.\n")
    assert restored.is_empty()


# Refusals


def test_a_backup_into_a_directory_with_files_is_refused(deployment, tmp_path):
    target = tmp_path / "full"
    target.mkdir()
    (target / "precious").touch()
    refused = waypost("backup", target, *deployment.options)
    assert refused.returncode == Exit.REFUSED
    assert refused.stderr == (
        f"waypost: {target} is not empty: it contains precious. Name a new or an empty directory.\n"
    )


def test_a_backup_that_would_fill_the_disk_is_refused(deployment, tmp_path, monkeypatch, store):
    if store == "postgres":
        pytest.skip("the size of the files is not known before")
    monkeypatch.setattr("waypost.host.disk.free_octets", lambda _: 100)
    refused = waypost("backup", tmp_path / "backup", *deployment.options)
    assert refused.returncode == Exit.REFUSED
    assert re.search(r"backup has 0 MiB free, but the backup needs \d+ MiB\.", refused.stderr)
    assert not list(tmp_path.glob("backup*"))


def test_a_restore_into_a_directory_with_files_is_refused(backup, places):
    restored = places("copy")
    restored.data.mkdir()
    (restored.data / "precious").touch()
    refused = waypost("restore", backup, *restored.options)
    assert refused.returncode == Exit.REFUSED
    assert f"{restored.data} is not empty: it contains precious." in refused.stderr
    assert [path.name for path in restored.data.iterdir()] == ["precious"]


def test_a_restore_over_a_deployment_is_refused(deployment, backup):
    refused = waypost("restore", backup, *deployment.options)
    assert refused.returncode == Exit.REFUSED
    assert "is not empty: it contains" in refused.stderr


def test_a_backup_of_a_newer_schema_is_refused_with_a_sentence(backup, places, monkeypatch, store):
    restored = places("copy")
    fewer = migrations.known(store)[:-1]
    monkeypatch.setattr(migrations, "known", lambda _: fewer)
    refused = waypost("restore", backup, *restored.options)
    assert refused.returncode == Exit.REFUSED
    newest = fewer[-1].number
    assert f"this version knows schemas only up to {newest}. Restore the backup with version" in refused.stderr
    assert restored.is_empty()


def test_a_backup_without_data_is_refused_and_creates_nothing(tmp_path):
    refused = waypost("backup", tmp_path / "backup", "--data", tmp_path / "none")
    assert refused.returncode == Exit.REFUSED
    assert f"There is no Waypost data in {tmp_path / 'none'}." in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_verify_of_a_data_directory_in_place_of_a_backup_names_the_option(deployment):
    refused = waypost("verify", deployment.data)
    assert refused.returncode == Exit.REFUSED
    assert f"To verify a data directory, run: waypost verify --data {deployment.data}" in refused.stderr
