"""The keys of real servers are rotated while they run, on both databases, also if the command is killed."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import end, logged, waypost, waypost_process
from tests.kit.stores import postgresql
from waypost import testing
from waypost.host.data_directory import DataDirectory
from waypost.host.master_key import MASTER_KEY_VARIABLE, PREVIOUS_KEY_VARIABLE

pytestmark = pytest.mark.slow

KILLED = """
import os, signal, sys
from waypost import cli
from waypost.app.directory import resealing
resealing.AT_ONCE = 2
from {module} import {object} as patched
real, calls = patched.{name}, []
def kill(*arguments, **options):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
patched.{name} = kill
sys.argv = ["waypost", *sys.argv[1:]]
cli.main()
"""
"""A program that runs a command, which is killed (`kill -9`) when it calls a function for the n-th time."""

FILES = ("waypost.host.directory_files", "DirectoryFiles")
STORE = ("waypost.store.common.transaction", "Transaction")
MOMENTS = {
    "before the previous key is written": (*FILES, "write", 1),
    "before the new key is written": (*FILES, "write", 2),
    "before the first secret": (*STORE, "begin_reseal", 1),
    "between the secrets": (*STORE, "reseal_access_keys", 2),
    "before the routes": (*STORE, "reseal_routes", 1),
    "before the previous key is removed": (*FILES, "remove", 1),
}


class Deployment:
    """A data directory and, with PostgreSQL, a database."""

    def __init__(self, data, url=""):
        self.data, self.url = data, url
        self.database = ["--database", url] if url else []
        self.server = testing.Server(data, *self.database)

    def __call__(self, *arguments, **environment):
        done = waypost(*arguments, "--data", self.data, *self.database, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def rotate(self, *options, **environment):
        only = ["--only-server"] if self.url else []
        return json.loads(self("keys", "rotate-master", "--json", *only, *options, **environment))

    def create_keys(self, count=1):
        made = [json.loads(self("keys", "create", "--json")) for _ in range(count)]
        return {one["AccessKeyId"]: one["SecretAccessKey"] for one in made}

    def kill(self, module, kind, name, call):
        """Run the rotation, and kill it when it calls a function for the n-th time."""
        program = KILLED.format(module=module, object=kind, name=name, call=call)
        only = ["--only-server"] if self.url else []
        command = [sys.executable, "-c", program, "keys", "rotate-master", *only, "--data", self.data, *self.database]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture(params=["sqlite", "postgres"])
def deployment(request, tmp_path):
    url = postgresql.new_database() if request.param == "postgres" else ""
    deployment = Deployment(tmp_path / "data", url)
    yield deployment
    end(deployment.server)
    if url:
        postgresql.drop_database(url)


def works(server, keys):
    """Check that a running server accepts calls with these access keys."""
    for key_id, secret in keys.items():
        assert inspected(server, key_id, secret) == 200, key_id


def inspected(server, key_id, secret):
    """Return the status of a request to the inspection API with an access key."""
    connection = http.client.HTTPConnection(server.run.http, timeout=PATIENCE)
    credentials = base64.b64encode(f"{key_id}:{secret}".encode()).decode()
    connection.request("GET", "/_waypost/queue", headers={"Authorization": f"Basic {credentials}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_master_key_is_rotated_while_a_server_runs(deployment):
    deployment.server.start()
    server, data = deployment.server, deployment.data
    keys = deployment.create_keys(2)
    works(server, keys)
    before = (data / "master.key").read_bytes()
    assert deployment.rotate() == {"is_complete": True, "resealed": len(keys) + 1}
    assert (data / "master.key").read_bytes() != before
    assert not (data / "master.key.previous").exists()
    later = deployment.create_keys()
    works(server, keys | later)  # the server finds the new key by itself
    assert not logged(server, "failed", "store_failed")
    server.stop()
    server.start()
    works(server, keys | later)
    server.stop()
    (data / "master.key").write_bytes(before)
    refused = waypost("keys", "list", "--data", data, *deployment.database)
    assert "were sealed with another master key" in refused.stderr


def test_two_commands_that_rotate_at_the_same_time_lose_no_key(deployment):
    deployment.server.start()
    keys = deployment.server.data / "master.key"
    before = keys.read_bytes()
    with DataDirectory(deployment.server.data).master_keys.rotating():
        refused = waypost("keys", "rotate-master", "--data", deployment.data, *deployment.database)
    assert refused.returncode != 0
    assert "Another command rotates the master key" in refused.stderr
    assert keys.read_bytes() == before
    deployment.server.stop()


@pytest.mark.long
def test_a_previous_key_that_belongs_to_no_rotation_is_named_by_each_command_and_by_the_server(deployment):
    deployment.server.start()
    deployment.server.stop()
    data, before = deployment.data, (deployment.data / "master.key").read_bytes()
    other = data / "master.key.previous"
    other.write_bytes(base64.urlsafe_b64encode(b"o" * 32))
    other.chmod(0o600)
    for command in (["keys", "list"], ["keys", "rotate-master"], ["verify"], ["serve", "--smtp", "127.0.0.1:0"]):
        run = waypost_process if command[0] == "serve" else waypost
        refused = run(*command, "--data", data, *deployment.database)
        assert refused.returncode != 0
        assert "The previous master key (master.key.previous" in refused.stderr + refused.stdout
    assert (data / "master.key").read_bytes() == before
    other.unlink()
    assert deployment.rotate()["is_complete"]
    other.write_bytes(base64.urlsafe_b64encode(b"o" * 32))  # after a rotation, it does no harm
    other.chmod(0o600)
    said = deployment("keys", "rotate-master")
    assert "so nothing was left of the last rotation but the previous key" in said
    assert not other.exists()


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_rotation_that_is_killed_is_continued_and_every_secret_can_be_read_at_any_time(deployment, moment):
    deployment.server.start()
    keys = deployment.create_keys(3)
    works(deployment.server, keys)
    deployment.kill(*MOMENTS[moment])
    works(deployment.server, keys)
    keys |= deployment.create_keys()
    deployment.server.stop()
    deployment.server.start()
    works(deployment.server, keys)
    assert deployment.rotate()["is_complete"]
    assert not (deployment.data / "master.key.previous").exists()
    works(deployment.server, keys)
    assert deployment.rotate()["resealed"] == len(keys) + 1  # another rotation


def findings(deployment):
    """Return the subjects of the warnings of `waypost doctor`, which cannot reach its DNS."""
    file = deployment.data.parent / "waypost.toml"
    file.write_text('dns = "127.0.0.1:1"\nhttp = "127.0.0.1:0"\nsmtp = "127.0.0.1:0"\n', encoding="utf-8")
    done = waypost("doctor", "--json", "--config", file, "--data", deployment.data, *deployment.database)
    return {one["check"] for one in json.loads(done.stdout)["findings"] if one["level"] == "warning"}


@pytest.mark.long
def test_a_backup_during_a_rotation_is_restored_with_both_keys(deployment, tmp_path):
    deployment.server.start()
    keys = deployment.create_keys(2)
    deployment.kill(*MOMENTS["before the routes"])
    done = waypost("backup", tmp_path / "backup", "--data", deployment.data, *deployment.database)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "backup" / "master.key.previous").exists()
    assert waypost("verify", tmp_path / "backup").returncode == 0
    deployment.server.stop()
    url = postgresql.new_database() if deployment.url else ""
    restored = Deployment(tmp_path / "restored", url)
    done = waypost("restore", tmp_path / "backup", "--data", restored.data, *restored.database)
    assert done.returncode == 0, done.stderr
    restored.server.start()
    works(restored.server, keys)
    assert restored.rotate()["is_complete"]
    works(restored.server, keys)
    assert waypost("verify", "--data", restored.data, *restored.database).returncode == 0
    end(restored.server)
    if url:
        postgresql.drop_database(url)


@pytest.fixture
def pair(tmp_path):
    """Two data directories of servers on one PostgreSQL database, with the same master key."""
    url = postgresql.new_database()
    first, second = Deployment(tmp_path / "first", url), Deployment(tmp_path / "second", url)
    first.server.start()
    second.data.mkdir()
    (second.data / "master.key").write_bytes((first.data / "master.key").read_bytes())
    second.server.start()
    yield first, second
    for each in (first, second):
        end(each.server)
    postgresql.drop_database(url)


@pytest.mark.long
def test_servers_on_one_database_get_the_new_key_before_it_is_used(pair):
    first, second = pair
    keys = first.create_keys(2)
    done = json.loads(first("keys", "rotate-master", "--json"))
    assert done == {"is_complete": False, "resealed": 0}
    keys |= first.create_keys() | second.create_keys()  # they are sealed with the key that all servers have
    for each in pair:
        works(each.server, keys)
    for name in ("master.key", "master.key.previous"):
        (second.data / name).write_bytes((first.data / name).read_bytes())
        (second.data / name).chmod(0o600)
    done = json.loads(first("keys", "rotate-master", "--json"))
    assert done == {"is_complete": True, "resealed": len(keys) + 1}
    keys |= first.create_keys() | second.create_keys()
    for each in pair:
        works(each.server, keys)
        assert not logged(each.server, "failed", "store_failed")
    assert "keys" in findings(second)
    assert json.loads(second("keys", "rotate-master", "--json")) == {"is_complete": True, "resealed": 0}
    assert not (second.data / "master.key.previous").exists()
    assert "keys" not in findings(second)


@pytest.mark.long
def test_a_master_key_in_the_environment_is_rotated(tmp_path, monkeypatch):
    old, new = (base64.urlsafe_b64encode(octets * 32).decode() for octets in (b"o", b"n"))
    deployment = Deployment(tmp_path / "data")
    monkeypatch.setenv(MASTER_KEY_VARIABLE, old)
    deployment.server.start()
    keys = deployment.create_keys()
    refused = waypost("keys", "rotate-master", "--data", deployment.data)
    assert refused.stderr.startswith(f"waypost: The master key is in {MASTER_KEY_VARIABLE}. Make a new key")
    deployment.server.stop()
    monkeypatch.setenv(MASTER_KEY_VARIABLE, new)
    monkeypatch.setenv(PREVIOUS_KEY_VARIABLE, old)
    deployment.server.start()
    keys |= deployment.create_keys()
    works(deployment.server, keys)
    assert deployment.rotate() == {"is_complete": True, "resealed": len(keys) + 1}
    deployment.server.stop()
    monkeypatch.delenv(PREVIOUS_KEY_VARIABLE)
    deployment.server.start()
    works(deployment.server, keys)
    assert not (deployment.data / "master.key").exists()
    deployment.server.stop()


@pytest.mark.long
def test_the_secrets_for_mail_are_rotated_and_a_reload_reads_them(deployment):
    deployment.server.start()
    shown = json.loads(deployment("keys", "rotate-mail", "--json"))
    assert shown["begins_at"] < shown["previous_accepted_until"]
    os.kill(deployment.server.run.pid, signal.SIGHUP)
    wait_until(lambda: logged(deployment.server, "reopened"))
    text = deployment("keys", "rotate-mail")
    assert text.startswith("The new secrets sign from ")
    assert DataDirectory(deployment.data).running()
