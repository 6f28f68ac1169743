"""`waypost copy` between SQLite and PostgreSQL: the copy serves what the original had, also after kills of the command,
and nothing else is overwritten.
"""

import os
import shutil
import stat
import time

import pytest

from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.places import SETTINGS, Place, killed
from tests.kit.servers.running import waypost
from waypost.cli.outcomes import Exit
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.testing import ServerDied

OTHER = {"sqlite": "postgres", "postgres": "sqlite"}

LARGE = b"Subject: large\r\n\r\n" + b"\xc3\xbc line\r\n" * 200_000
"""A message that is stored in pieces."""


@pytest.fixture(scope="module", params=OTHER)
def store(request):
    if request.config.pluginmanager.has_plugin("tests.kit.stores.on_postgresql"):
        pytest.skip("every server keeps its data in PostgreSQL")
    return request.param


@pytest.fixture(scope="module")
def original(store, tmp_path_factory):
    """A place with an alias link, a message and a waiting delivery, whose server is stopped. No test changes it."""
    place = Place(tmp_path_factory.mktemp("original") / "data", store)
    with place.running() as system:
        place.alias, place.primary = system.linked_pair()
        system.deliver(b"Subject: hello\r\n\r\nHello.\r\n", place.alias)
    yield place
    place.close()


@pytest.fixture
def places(tmp_path, store):
    """A function that returns a new place in the other database."""
    made = []

    def new(name):
        made.append(Place(tmp_path / name, OTHER[store]))
        return made[-1]

    yield new
    for place in made:
        place.close()


def arguments(original, copy):
    """Return the arguments of the command that copies a place to another."""
    to = ["--to-database", copy.url] if copy.url else []
    return ["copy", str(copy.data), *original.options, *to]


def copied(original, copy, **environment):
    return waypost(*arguments(original, copy), **environment)


# What a copy serves


@pytest.mark.long
@pytest.mark.slow
def test_a_copy_serves_what_the_original_had_and_accepts_more(tmp_path, places, store):
    original, copy, settings = Place(tmp_path / "data", store), places("copy"), tmp_path / "waypost.toml"
    with Sink(at_rcpt=lambda _: b"451 4.3.0 later") as sink:
        settings.write_text(SETTINGS.format(sink=sink.to))
        options = ("--config", str(settings))
        with original.running(*options) as system:
            alias, primary = system.linked_pair()
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress="support@out.example")
            messages = [b"Subject: %d\r\n\r\nAn elephant.\r\n" % number for number in range(3)]
            ids = [system.deliver(message, alias) for message in [*messages, LARGE]]
            waiting = system.deliver(b"Subject: out\r\n\r\nOut.\r\n", "support@out.example")
            wait_until(lambda: system.json("search", q="elephant")["messages"])
        made = copied(original, copy)
        assert made.returncode == 0, made.stderr
        assert "Copied 5 messages, 3 email addresses and everything else" in made.stdout
        assert waypost("verify", *copy.options).stdout == f"{copy.data}: nothing is wrong.\n"

        sink.at_rcpt = lambda _: b"250 2.1.5 ok"
        with copy.running(*options) as system:
            for address in (alias, primary):
                assert sorted(system.ids_at(address)) == sorted(ids)
                for message_id, message in zip(ids, [*messages, LARGE], strict=True):
                    assert system.raw(message_id, address).endswith(message)
            (sent,) = sink.wait_for(1)
            assert sent.delivery_id.startswith(waiting)
            new_alias, new_primary = system.linked_pair()
            new = system.deliver(b"Subject: new\r\n\r\nNew.\r\n", new_alias)
            assert system.ids_at(new_primary) == [new]
            found = wait_until(lambda: len(found := system.json("search", q="elephant")["messages"]) == 3 and found)
            assert {one["id"] for one in found} == set(ids[:3])
            wait_until(lambda: system.json("search", q="subject:new")["messages"])
            wait_until(lambda: not system.json("queue")["deliveries"])
        assert set(sink.counts().values()) == {1}
    original.close()


def test_the_files_of_a_copy_are_private_and_its_keys_are_those_of_the_original(original, places):
    copy = places("copy")
    before = os.umask(0)
    try:
        made = copied(original, copy)
    finally:
        os.umask(before)
    assert (made.returncode, made.stderr) == (0, "")
    assert f"\n  waypost serve --data {copy.data}\n" in made.stdout
    assert stat.S_IMODE(copy.data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.data.iterdir()} == {0o600}
    for name in ("master.key", "credentials"):
        assert (copy.data / name).read_bytes() == (original.data / name).read_bytes()
    again = copied(original, copy)
    assert again.returncode == Exit.REFUSED
    assert "is not empty: it has the tables" in again.stderr or "is not an incomplete copy" in again.stderr


# Interruptions


@pytest.mark.long
@pytest.mark.slow
def test_a_copy_that_was_killed_several_times_is_completed(original, places, store):
    copy = places("copy")
    module = f"waypost.store.{OTHER[store]}.copies"
    target = "SqliteTarget" if store == "postgres" else "PostgresTarget"
    begun = "a server has stored data there" if store == "postgres" else "master.key is missing"
    incomplete = "has an incomplete copy of another database. Run `waypost copy` again to complete the copy"
    moments = [
        ("waypost.host.data_directory", "DataDirectory", "write_kept", 0, begun),
        (module, target, "tables", 0, incomplete),
        (module, target, "put", 0, incomplete),
        (module, target, "put", 4, incomplete),
        (module, target, "put", 4, incomplete),
        (module, target, "build", 0, incomplete),
        ("waypost.server", "copies", "_refuse_different", 0, incomplete),
        (module, target, "complete", 0, incomplete),
    ]
    for *function, after, why in moments:
        killed(*function, *arguments(original, copy), after=after)
        with pytest.raises(ServerDied) as refused:
            copy.server().start()
        assert why in str(refused.value).splitlines()[-1]
    assert copied(original, copy).returncode == 0
    with copy.running() as system:
        assert len(system.inbox(original.primary)) == 1


def test_a_killed_copy_of_other_data_is_refused(original, places, tmp_path, store):
    copy, other = places("copy"), Place(tmp_path / "other", store)
    shutil.copytree(original.data, other.data)
    (other.data / "credentials").write_text("# other\n")
    copy.data.mkdir(mode=0o700)
    shutil.copy(other.data / "credentials", copy.data)
    refused = copied(original, copy)
    assert refused.returncode == Exit.REFUSED
    assert f"{copy.data}/credentials is not that of the original, so {copy.data} has other data." in refused.stderr
    assert [path.name for path in copy.data.iterdir()] == ["credentials"]
    other.close()


# Refusals


def test_a_directory_with_files_is_refused(original, places):
    copy = places("copy")
    copy.data.mkdir()
    (copy.data / "precious").touch()
    refused = copied(original, copy)
    assert refused.returncode == Exit.REFUSED
    assert refused.stderr == (f"waypost: {copy.data} is not empty: it contains precious. Name a new directory.\n")
    assert [path.name for path in copy.data.iterdir()] == ["precious"]


def test_a_copy_in_the_same_kind_of_database_is_refused(original, tmp_path, store):
    to = ["--to-database", "postgresql://nobody@localhost/other"] if store == "postgres" else []
    refused = waypost("copy", tmp_path / "copy", *original.options, *to)
    assert refused.returncode == Exit.REFUSED
    assert "already" in refused.stderr
    assert "use `waypost backup` and `waypost restore`" in refused.stderr
    assert not (tmp_path / "copy").exists()


def test_a_copy_in_the_directory_of_the_original_is_refused(original, places):
    copy = places("copy")
    copy.data = original.data
    refused = copied(original, copy)
    assert refused.returncode == Exit.REFUSED
    assert f"{original.data} has the original data. Name a new directory for the copy." in refused.stderr


def test_a_wrong_url_is_refused_without_its_password(original, tmp_path):
    refused = waypost("copy", tmp_path / "copy", *original.options, "--to-database", "mysql://user:secret@host/name")
    assert refused.returncode == Exit.REFUSED
    assert refused.stderr.startswith("waypost: --to-database must be a URL such as postgresql://USER@HOST/NAME")
    assert "secret" not in refused.stderr


def test_a_copy_without_original_data_is_refused_and_creates_nothing(tmp_path):
    refused = waypost("copy", tmp_path / "copy", "--data", tmp_path / "none")
    assert refused.returncode == Exit.REFUSED
    assert f"There is no Waypost data in {tmp_path / 'none'}." in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_data_of_a_running_server_is_not_copied(places, tmp_path, store, monkeypatch):
    original, copy = Place(tmp_path / "data", store), places("copy")
    monkeypatch.setattr(time, "monotonic", advancing(time.monotonic))
    with original.running():
        refused = copied(original, copy)
    assert refused.returncode == Exit.REFUSED
    expected = "Another Waypost server is using" if store == "sqlite" else "is used by servers: "
    assert expected in refused.stderr
    assert copy.is_empty()
    original.close()


def advancing(clock):
    """Return a clock that goes on by a minute with each look."""
    looks = 0

    def now():
        nonlocal looks
        looks += 1
        return clock() + 60 * looks

    return now


@pytest.mark.slow
def test_a_key_from_the_environment_goes_with_the_copy_by_the_environment(places, tmp_path, store):
    original, copy = Place(tmp_path / "data", store), places("copy")
    key = "dGhpcnR5LXR3byBvY3RldHMsIGFuZCBubyBzZWNyZXQ="
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(MASTER_KEY_VARIABLE, key)
        with original.running():
            pass
    refused = copied(original, copy)
    assert refused.returncode == Exit.REFUSED
    assert copied(original, copy, **{MASTER_KEY_VARIABLE: key}).returncode == 0
    assert not (copy.data / "master.key").exists()
    assert waypost("verify", *copy.options, **{MASTER_KEY_VARIABLE: key}).returncode == 0
    original.close()
