"""Two real servers share a PostgreSQL database. Each sees the changes of the other, and they do not conflict."""

import json
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.config
import botocore.exceptions
import psycopg
import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.running import MASTER_KEY, banner, restart, running_on, waypost_process
from tests.kit.stores import postgresql
from waypost import cli, testing
from waypost.host.data_directory import DataDirectory
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.store import migrations

pytestmark = pytest.mark.slow

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
PASSWORD = "pass%2Fword-of-the-database"
OTHER_KEY = MASTER_KEY[::-1].replace("=", "") + "="
ROUNDS = 40


@pytest.fixture(scope="module")
def url():
    """A database for this module. Its URL contains a password, which this PostgreSQL server does not check."""
    made = postgresql.new_database().replace("postgres@", f"postgres:{PASSWORD}@")
    assert PASSWORD in made
    yield made
    postgresql.drop_database(made)


@pytest.fixture(scope="module")
def pair(url, tmp_path_factory):
    """Two servers that were started at the same time on an empty database."""
    directory = tmp_path_factory.mktemp("nodes")
    with running_on(url, directory / "one", directory / "other") as systems:
        yield systems


@pytest.fixture
def admin(url):
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def command(monkeypatch, capsys):
    """A function that runs a command in this process, which is faster; returns exit code, output and error output."""

    def run(*arguments, key=MASTER_KEY):
        monkeypatch.setattr(sys, "argv", ["waypost", *map(str, arguments)])
        monkeypatch.setenv(MASTER_KEY_VARIABLE, key)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def error_of(command):
    """A function that runs a command that must exit with 1, and returns its error message, which is one line."""

    def run(*arguments, **environment):
        code, out, sentence = command(*arguments, **environment)
        assert (code, out, sentence.count("\n")) == (1, "", 1)
        return sentence

    return run


def count(admin, table, condition="true"):
    return admin.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()[0]


def everything(admin):
    """Return all rows of all tables, with the ids of the transactions that wrote them."""
    tables = admin.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    return {
        name: admin.execute(f"SELECT xmin::text, ctid::text, t::text FROM {name} AS t ORDER BY ctid").fetchall()
        for (name,) in tables.fetchall()
    }


# Nodes of one deployment


def test_two_nodes_that_start_at_the_same_time_create_one_key_and_one_instance(pair, admin):
    one, other = pair
    assert one.instance_id == other.instance_id
    assert one.server.profile == other.server.profile
    assert count(admin, "access_keys", "user_name = 'root'") == 1
    assert count(admin, "instances") == 1
    steps = len(migrations.known("postgres"))
    assert admin.execute("SELECT count(*), count(DISTINCT number) FROM migrations").fetchone() == (steps, steps)


def test_another_node_creates_only_its_own_files_and_its_banner_shows_no_password(pair, url, admin, tmp_path):
    keys = count(admin, "access_keys")
    with running_on(url, tmp_path / "third") as (third,):
        assert third.server.profile == pair[0].server.profile
        assert third.instance_id == pair[0].instance_id
        assert third.server.run.pid not in {system.server.run.pid for system in pair}
        assert third.server.run.http not in {system.server.run.http for system in pair}
        files = sorted(path.name for path in third.server.data.iterdir())
    assert (count(admin, "access_keys"), count(admin, "instances")) == (keys, 1)
    assert files == ["credentials", "database", "lock", "run.json"]
    key = {MASTER_KEY_VARIABLE: MASTER_KEY}
    shown = banner("--data", third.server.data, "--database", url, **key)
    assert f"  access key   in {third.server.data / 'credentials'}\n" in shown
    assert "  data         postgresql://postgres@/" in shown
    kept = (third.server.data / "database").read_text(encoding="utf-8")
    assert "password" not in (shown + kept + third.server.log.read_text(encoding="utf-8")).lower()


def test_a_data_directory_of_one_database_refuses_another_database(error_of, tmp_path):
    directory = DataDirectory(tmp_path / "third")
    directory.make()
    directory.remember_database("postgresql://me@host/production")
    sentence = error_of("keys", "list", "--data", directory.path, "--database", "postgresql://me@host/typo")
    assert "belongs to a server that uses another database, postgresql://me@host/production." in sentence


def test_a_server_for_tests_does_not_use_the_database_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WAYPOST_SERVE_DATABASE", "postgresql://me@nowhere.invalid/production")
    server = testing.Server(tmp_path / "data")
    server.start()
    assert server.stop() == 0
    assert "nowhere" not in DataDirectory(server.data).data_at


def test_a_node_and_its_commands_remember_their_database(command, pair, url, tmp_path):
    directory = DataDirectory(tmp_path / "third")
    directory.make()
    directory.remember_database(url)
    again = testing.Server(directory.path)
    restart(again)
    assert again.profile == pair[0].server.profile
    code, listed, _ = command("keys", "list", "--json", "--data", again.data)
    assert code == 0
    assert pair[0].server.profile.key.id in [key["id"] for key in json.loads(listed)["keys"]]
    assert again.stop() == 0
    assert not directory.database.exists()


def test_a_key_that_is_created_on_one_node_is_valid_on_the_other_immediately(command, pair, url):
    one, other = pair
    code, made, _ = command("keys", "create", "--json", "--data", one.server.data, "--database", url)
    assert code == 0
    key = json.loads(made)
    credentials = (key["AccessKeyId"], key["SecretAccessKey"])
    assert [system.get("instance", key=credentials).status for system in (other, one)] == [200, 200]
    arguments = other.server.client_arguments | {
        "aws_access_key_id": credentials[0],
        "aws_secret_access_key": credentials[1],
    }
    client = boto3.client("connect", **arguments, config=botocore.config.Config(proxies={}))
    assert [each["Id"] for each in client.list_instances()["InstanceSummaryList"]] == [one.instance_id]
    client.close()


@pytest.mark.parametrize("key", [OTHER_KEY, ""], ids=["wrong", "missing"])
def test_a_node_with_a_wrong_or_missing_master_key_changes_nothing(pair, url, admin, tmp_path, key):
    before = everything(admin)
    refused = waypost_process("serve", "--data", tmp_path / "third", "--database", url, **{MASTER_KEY_VARIABLE: key})
    assert refused.returncode == 1
    *_, sentence = refused.stderr.splitlines()
    assert sentence.startswith("waypost: The secrets in this database (seal check) were sealed with another master")
    assert "Traceback" not in refused.stderr
    assert "password" not in refused.stdout + refused.stderr
    assert everything(admin) == before
    assert not (tmp_path / "third" / "database").exists()


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (OTHER_KEY, "The secrets in this database (seal check) were sealed with another master key."),
        ("", "There is no Waypost data in "),
    ],
    ids=["wrong", "missing"],
)
@pytest.mark.usefixtures("pair")
def test_no_access_key_is_created_with_a_wrong_or_missing_master_key(error_of, url, admin, key, sentence):
    before = everything(admin)
    command = ("keys", "create", "--data", "nowhere", "--database", url)
    assert error_of(*command, key=key).startswith(f"waypost: {sentence}")
    assert everything(admin) == before


# A data directory belongs to one database


def test_a_data_directory_with_a_sqlite_database_refuses_a_postgresql_database(error_of, url, tmp_path):
    (tmp_path / "waypost.sqlite3").touch()
    sentence = (
        f"waypost: {tmp_path} has its own database, waypost.sqlite3, but another one is given by --database or "
        "WAYPOST_SERVE_DATABASE. Omit these, or choose another directory with --data.\n"
    )
    assert error_of("keys", "list", "--data", tmp_path, "--database", url) == sentence
    refused = waypost_process("serve", "--data", tmp_path, "--database", url, **{MASTER_KEY_VARIABLE: MASTER_KEY})
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith(sentence)
    assert not (tmp_path / "database").exists()


# Each node reads the changes of the other


def test_an_alias_link_of_one_node_applies_to_the_next_message_on_the_other(pair):
    one, other = pair
    alias, primary = one.new_address("help"), one.new_address("support")
    link = {
        "InstanceId": one.instance_id,
        "EmailAddressId": one.ids[primary],
        "AliasConfiguration": {"EmailAddressId": one.ids[alias]},
    }
    forwarded = []
    for _ in range(20):
        one.connect.associate_email_address_alias(**link)
        forwarded.insert(0, other.deliver(HELLO, alias))
        assert one.ids_at(primary) == forwarded
        other.connect.disassociate_email_address_alias(**link)
        one.deliver(HELLO, alias)
        assert other.ids_at(primary) == forwarded
    assert len(other.ids_at(alias)) == 40


def test_exactly_one_of_four_conflicting_associations_on_two_nodes_succeeds(pair):
    winners = conflicting_rounds(pair, ROUNDS)
    assert winners == [1] * ROUNDS


def conflicting_rounds(systems, rounds):
    """In each round, make four associations at the same time that exclude one another.

    Check that the alias links are those of the calls that succeeded, and return the number of such calls by round.
    """
    ids = [systems[0].ids[systems[0].new_address()] for _ in range(5)]
    barrier = threading.Barrier(4)
    clients = [client_of(systems[i % len(systems)]) for i in range(4)]
    winners = []

    def associate(client, primary, alias):
        barrier.wait(PATIENCE)
        try:
            client.associate_email_address_alias(**link(primary, alias))
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        return primary, alias

    def link(primary, alias):
        return {
            "InstanceId": systems[0].instance_id,
            "EmailAddressId": primary,
            "AliasConfiguration": {"EmailAddressId": alias},
        }

    with ThreadPoolExecutor(4) as threads:
        for _ in range(rounds):
            common, *others = random.sample(ids, 5)
            pairs = [(common, each) if random.random() < 0.5 else (each, common) for each in others]
            outcomes = list(threads.map(associate, clients, *zip(*pairs, strict=True)))
            done = [outcome for outcome in outcomes if outcome != "ResourceConflictException"]
            seen = [
                (each, described) for each in ids for described in aliases_of(random.choice(clients), systems, each)
            ]
            assert seen == done
            winners.append(len(done))
            for pair in done:
                random.choice(clients).disassociate_email_address_alias(**link(*pair))
    for client in clients:
        client.close()
    return winners


def aliases_of(client, systems, email_address_id):
    described = client.describe_email_address(InstanceId=systems[0].instance_id, EmailAddressId=email_address_id)
    return [each["EmailAddressId"] for each in described["AliasConfigurations"]]


def client_of(system):
    """Return a new boto3 client, because a client is used by only one thread."""
    config = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1})
    return boto3.client("connect", **system.server.client_arguments, config=config)


# The password


def kept_of(url, directory):
    """Return the database URL that a data directory stores, and that the banner shows."""
    made = DataDirectory(directory)
    made.make()
    made.remember_database(url)
    return made.data_at


@pytest.mark.parametrize("password", ["secret", "se:cr:et", "se%2Fcret", "$ecret=&", "%23secret"])
def test_a_data_directory_stores_no_password(password, tmp_path):
    for url in (f"postgresql://me:{password}@host/name", f"postgresql://me@host/name?user=me&password={password}"):
        assert kept_of(url, tmp_path / "node").startswith("postgresql://me@host/name")
        assert "ret" not in kept_of(url, tmp_path / "node")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host:1?dbname=n&user=me&password=secret", "postgresql://host:1?dbname=n&user=me"),
        ("postgresql://?host=h&password=secret", "postgresql://?host=h"),
        ("postgresql://h?dbname=n&sslrootcert=/a/b&password=secret", "postgresql://h?dbname=n&sslrootcert=/a/b"),
        ("postgresql://me@h/n?pass%77ord=secret", "postgresql://me@h/n"),
    ],
)
def test_a_data_directory_stores_no_password_from_the_query_of_a_url(url, shown, tmp_path):
    assert kept_of(url, tmp_path / "node") == shown


@pytest.mark.parametrize("password", ["sec#ret", "sec?ret", "sec[ret"])
def test_a_data_directory_stores_no_part_of_a_password_with_special_characters(password, tmp_path):
    url = f"postgresql://me:{password}@host/name"
    assert psycopg.conninfo.conninfo_to_dict(url)["password"] == password
    assert kept_of(url, tmp_path / "node") == "postgresql://me@host/name"


@pytest.mark.parametrize(
    "database",
    [
        "postgresql://me:secret@127.0.0.1:1/name",
        "postgresql://me:secret@127.0.0.1:1/name?sslmode=nonsense",
        "postgresql://me:secret@127.0.0.1:1/name?nonsense=1",
        "postgresql://me:sec ret@127.0.0.1:nonsense/name",
        "postgresql://me:sec%zzret@127.0.0.1/name",
        "postgresql://me:sec/ret@127.0.0.1/name",
        "postgresql://me:sec@xyzzy@127.0.0.1/name",
    ],
)
def test_no_error_shows_the_password(error_of, database, tmp_path):
    sentence = error_of("keys", "list", "--data", tmp_path, "--database", database)
    assert "sec" not in sentence
    assert "xyzzy" not in sentence
