"""Access keys: the command `waypost keys`, their storage in the data directory, and the effect of their policies."""

import asyncio
import base64
import contextlib
import json
import os
import re
import sqlite3
import stat
import sys
from datetime import UTC, datetime, timedelta
from functools import partial

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.kit.servers.running import waypost_process
from waypost import cli
from waypost.app.directory import access_keys
from waypost.host.data_directory import DataDirectory
from waypost.server import opening

ON_FREE_PORTS = ("--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0")
DATABASE_FILES = {"waypost.sqlite3", "waypost.sqlite3-next", "waypost.sqlite3-turn"}
ONE_MASTER_KEY, ANOTHER = (base64.urlsafe_b64encode(octets * 32).decode() for octets in (b"\xfb", b"\xbf"))


class Keys:
    """Runs `waypost keys` on one data directory, in this process, which is faster than a subprocess."""

    def __init__(self, data, capsys, monkeypatch):
        self.data = data
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def run(self, *arguments, **environment):
        """Run a command, and return its exit code, its output, and its error output."""
        umask = os.umask(0o022)
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["waypost", "keys", *map(str, arguments), "--data", str(self.data)])
            for name, value in environment.items():
                patch.setenv(name, value)
            with contextlib.ExitStack() as stack:
                stack.callback(os.umask, umask)
                ended = stack.enter_context(pytest.raises(SystemExit))
                cli.main()
        printed = self._capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    def __call__(self, *arguments, **environment):
        """Run a command that must succeed, and return its output."""
        code, out, err = self.run(*arguments, **environment)
        assert code == 0, err
        return out

    def refused(self, *arguments, **environment):
        """Run a command that must fail, and return its error message, which is one line."""
        code, out, err = self.run(*arguments, **environment)
        (message,) = err.splitlines()
        assert (code, out) == (1, "")
        return message.removeprefix("waypost: ")

    def create(self, *arguments, **environment):
        """Create a key, and return it in the form that AWS tools read."""
        return json.loads(self("create", "--json", *arguments, **environment))

    def list(self):
        """Return all keys as a dictionary from id to key."""
        if not (self.data / "waypost.sqlite3").exists():
            return {}
        return {key["id"]: key for key in json.loads(self("list", "--json"))["keys"]}


@pytest.fixture
def keys(system, capsys, monkeypatch):
    """`waypost keys` on the data directory of the running server."""
    return Keys(system.server.data, capsys, monkeypatch)


@pytest.fixture
def own_keys(tmp_path, capsys, monkeypatch):
    """`waypost keys` on a data directory that does not exist yet."""
    return Keys(tmp_path / "data", capsys, monkeypatch)


@pytest.fixture
def policy(tmp_path):
    """A function that writes a policy with the given statements to a file, and returns the file."""

    def policy(*statements):
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
        return file

    return policy


def client(server, key):
    """Return a boto3 client that uses an access key in the form that `keys create --json` prints."""
    arguments = {
        **server.client_arguments,
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
        "aws_session_token": key.get("SessionToken"),
    }
    return boto3.client("connect", **arguments, config=Config(proxies={}, retries={"total_max_attempts": 1}))


def refusal(call, **members):
    """Make a call that must be refused, and return the code and the message of the error."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def is_accepted(server, key):
    try:
        return bool(client(server, key).list_instances())
    except ClientError as error:
        code = error.response["Error"]["Code"]
    assert code == "UnrecognizedClientException"
    return False


def test_a_key_may_make_only_the_calls_that_its_policy_allows(system, keys, policy):
    instance, address = f"arn:aws:connect:us-east-1:000000000000:instance/{system.instance_id}", system.new_address()
    file = policy(
        {"Effect": "Allow", "Action": ["connect:Describe*", "connect:Delete*"], "Resource": f"{instance}*"},
        {"Effect": "Deny", "Action": "connect:DeleteEmailAddress", "Resource": "*"},
    )
    limited = client(system.server, keys.create("--policy", file, "--name", "ann"))
    path = {"InstanceId": system.instance_id, "EmailAddressId": system.ids[address]}
    user, arn = "User: arn:aws:iam::000000000000:user/ann", f"{instance}/email-address/{path['EmailAddressId']}"
    assert limited.describe_email_address(**path)["EmailAddress"] == address
    code, message = refusal(limited.update_email_address_metadata, **path, DisplayName="x")
    assert code == "AccessDeniedException"
    assert message == (
        f"{user} is not authorized to perform: connect:UpdateEmailAddressMetadata on resource: {arn} "
        "because no identity-based policy allows the connect:UpdateEmailAddressMetadata action"
    )
    code, message = refusal(limited.delete_email_address, **path)
    assert code == "AccessDeniedException"
    assert message == (
        f"{user} is not authorized to perform: connect:DeleteEmailAddress on resource: {arn} "
        "with an explicit deny in an identity-based policy"
    )
    assert refusal(limited.list_instances)[0] == "AccessDeniedException"


UNREADABLE = {
    "not JSON": (b"{", "not valid JSON"),
    "not an object": (b"[]", "must be a JSON object"),
    "no statement": (b"{}", "no Statement"),
    "no effect": (b'{"Statement":{"Action":"*","Resource":"*"}}', "Effect is missing"),
    "not UTF-8": (b"\xff", "it is not UTF-8"),
    "too long": (b'{"Statement":[], "Id":"%s"}' % (b"x" * 7000), "characters"),
    "an unknown operator": (
        b'{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"aws:username":"a"}}}}',
        "no operator StringIs",
    ),
}


@pytest.mark.parametrize(("octets", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_invalid_policy_creates_no_key(own_keys, tmp_path, octets, message):
    (tmp_path / "policy.json").write_bytes(octets)
    assert message in own_keys.refused("create", "--policy", tmp_path / "policy.json")
    assert own_keys.list() == {}


IMPOSSIBLE = {
    "a missing policy file": (
        ("--policy", "/nowhere/policy.json"),
        "policy.json cannot be read: No such file",
    ),
    "a directory instead of a policy file": (("--policy", "/"), "cannot be read: Is a directory"),
    "a short account": (("--account", "12"), "twelve digits"),
    "a name with a space": (("--name", "two words"), "user name"),
    "a lifetime of zero": (("--expires", "0h"), "--expires must be a number with d, h, m or s"),
    "a lifetime without a unit": (("--expires", "12"), "--expires must be"),
}


@pytest.mark.parametrize(("arguments", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_invalid_options_create_no_key(own_keys, arguments, message):
    assert message in own_keys.refused("create", *arguments)
    assert own_keys.list() == {}


@pytest.mark.parametrize("command", ["activate", "deactivate", "delete"])
def test_the_error_for_an_unknown_key_names_it(own_keys, command):
    own_keys.create()
    for key_id in ("AKIANOTHERE", "no such", "\udcff"):
        assert own_keys.refused(command, key_id) == f"There is no access key {key_id!a}."


@pytest.mark.parametrize("command", [("list",), ("activate", "A"), ("deactivate", "A"), ("delete", "A")])
def test_the_error_for_a_missing_data_directory_names_it_and_creates_none(own_keys, command):
    assert own_keys.refused(*command).startswith(f"There is no Waypost data in {own_keys.data}.")
    assert not own_keys.data.exists()


def test_each_account_has_separate_instances(system, keys):
    address = system.new_address()
    other = client(system.server, keys.create("--account", "222222222222"))
    assert other.list_instances()["InstanceSummaryList"] == []
    settings = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}
    own = other.create_instance(**settings)
    assert own["Arn"] == f"arn:aws:connect:us-east-1:222222222222:instance/{own['Id']}"
    path = {"InstanceId": system.instance_id, "EmailAddressId": system.ids[address]}
    assert refusal(other.describe_email_address, **path)[0] == "ResourceNotFoundException"
    assert refusal(system.connect.describe_instance, InstanceId=own["Id"])[0] == "ResourceNotFoundException"


def test_temporary_credentials_are_valid_only_with_their_session_token(system, keys):
    session, another = keys.create("--expires", "1h"), keys.create("--expires", "1h")
    assert session["AccessKeyId"].startswith("ASIA")
    assert is_accepted(system.server, session)
    for token in (None, "", another["SessionToken"]):
        assert not is_accepted(system.server, {**session, "SessionToken": token})
    permanent = keys.create()
    assert permanent.keys() == {"Version", "AccessKeyId", "SecretAccessKey"}
    assert not is_accepted(system.server, {**permanent, "SessionToken": session["SessionToken"]})


def test_a_change_of_a_key_applies_to_the_next_call(system, keys):
    key = keys.create()
    assert is_accepted(system.server, key)
    for command, state in (("deactivate", "inactive"), ("activate", "active"), ("deactivate", "inactive")):
        assert keys(command, key["AccessKeyId"]) == f"The access key {key['AccessKeyId']} is now {state}.\n"
        assert is_accepted(system.server, key) is (state == "active")
    assert keys("delete", key["AccessKeyId"]) == f"The access key {key['AccessKeyId']} was deleted.\n"
    assert not is_accepted(system.server, key)
    assert key["AccessKeyId"] not in keys.list()


def test_keys_list_shows_everything_except_secrets(own_keys, policy):
    file = policy({"Effect": "Allow", "Action": "connect:*", "Resource": "*"})
    made = [
        own_keys.create("--name", "ann", "--policy", file),
        own_keys.create("--account", "222222222222", "--expires", "12h"),
        own_keys.create(),
    ]
    own_keys("deactivate", made[2]["AccessKeyId"])
    found = own_keys.list()
    assert set(found) == {key["AccessKeyId"] for key in made}
    limited, session, inactive = (found[key["AccessKeyId"]] for key in made)
    assert (limited["name"], limited["policy"]) == ("ann", json.loads(file.read_text()))
    assert (session["account"], session["expires_at"]) == ("222222222222", made[1]["Expiration"])
    assert (inactive["status"], session["status"], inactive["expires_at"]) == ("inactive", "active", None)
    text = own_keys("list")
    assert re.search(f"{made[0]['AccessKeyId']}  active .* ann  has a policy\n", text)
    assert re.search(f"{made[1]['AccessKeyId']}  active .* may do everything, expires 20", text)
    shown = text + own_keys("list", "--json")
    for key in made:
        assert key["SecretAccessKey"] not in shown
        assert key.get("SessionToken", key["SecretAccessKey"]) not in shown


def test_keys_create_shows_the_secret_once(own_keys):
    code, out, err = own_keys.run("create", "--expires", "90m", "--account", "222222222222")
    assert code == 0
    assert re.fullmatch(
        r"aws_access_key_id = ASIA\w{16}\naws_secret_access_key = \S{40}\naws_session_token = \S{64}\n", out
    )
    assert "The key may do everything in account 222222222222, until " in err
    assert "The secret is not shown again." in err


def test_the_database_contains_no_unencrypted_secret(system, keys):
    made = [keys.create("--expires", "1h"), keys.create()]
    assert all(is_accepted(system.server, key) for key in made)
    secrets = {key["SecretAccessKey"] for key in made} | {made[0]["SessionToken"], system.server.profile.key.secret}
    files = [file for file in system.server.data.iterdir() if file.name.startswith("waypost.sqlite3")]
    octets = b"".join(file.read_bytes() for file in files)
    assert all(key["AccessKeyId"].encode() in octets for key in made)
    for secret in secrets:
        spellings = {secret, secret[:20], base64.b64encode(secret.encode()).decode(), secret.encode().hex()}
        assert not [spelling for spelling in spellings if spelling.encode() in octets]
    assert not [file for file in files if (system.server.data / "master.key").read_bytes().strip() in file.read_bytes()]


def test_only_the_owner_can_use_the_files_that_a_command_creates(own_keys):
    own_keys.create()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in own_keys.data.iterdir()}
    assert modes == dict.fromkeys(["master.key", *DATABASE_FILES], 0o600)
    assert stat.S_IMODE(own_keys.data.stat().st_mode) == 0o700


def test_aws_tools_can_create_keys_with_credential_process(system, tmp_path, monkeypatch):
    command = f"{sys.executable} -m waypost keys create --json --expires 1h --data {system.server.data}"
    config = f"[default]\nregion = us-east-1\ncredential_process = {command}\n"
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    session = boto3.Session()
    connect = session.client("connect", endpoint_url=system.server.url, config=Config(proxies={}))
    assert connect.describe_instance(InstanceId=system.instance_id)
    assert session.get_credentials().token


@pytest.mark.parametrize("spelling", [ONE_MASTER_KEY, ONE_MASTER_KEY.rstrip("="), f" {ONE_MASTER_KEY}\n"])
def test_the_master_key_can_come_from_the_environment(own_keys, spelling):
    made = own_keys.create(WAYPOST_MASTER_KEY=ONE_MASTER_KEY)
    assert made["AccessKeyId"] in own_keys("list", WAYPOST_MASTER_KEY=spelling)
    assert {file.name for file in own_keys.data.iterdir()} == DATABASE_FILES


@pytest.mark.parametrize(
    "value", ["x", "A" * 42, "A" * 44, ONE_MASTER_KEY[:-4], ONE_MASTER_KEY + "AAAA", "ü", "secret key"]
)
def test_a_master_key_of_the_wrong_length_is_refused(own_keys, value):
    message = own_keys.refused("create", WAYPOST_MASTER_KEY=value)
    assert message.startswith("WAYPOST_MASTER_KEY must be 32 bytes in base64url.")
    assert value not in message.removeprefix("WAYPOST_MASTER_KEY")


def test_a_truncated_master_key_file_is_refused(own_keys):
    own_keys.create()
    (own_keys.data / "master.key").write_text("cut")
    assert f"{own_keys.data / 'master.key'} must be 32 bytes" in own_keys.refused("list")


@pytest.mark.parametrize("command", ["list", "deactivate", "activate", "delete"])
def test_a_master_key_other_than_that_of_the_database_is_refused(own_keys, command):
    made = own_keys.create(WAYPOST_MASTER_KEY=ONE_MASTER_KEY)
    arguments = () if command == "list" else (made["AccessKeyId"],)
    message = own_keys.refused(command, *arguments, WAYPOST_MASTER_KEY=ANOTHER)
    assert "were sealed with another master key" in message
    assert "was created with" in message
    assert made["SecretAccessKey"] not in message


def test_a_server_does_not_start_with_another_master_key(own_keys):
    own_keys.create(WAYPOST_MASTER_KEY=ONE_MASTER_KEY)
    done = waypost_process("serve", "--data", own_keys.data, *ON_FREE_PORTS, WAYPOST_MASTER_KEY=ANOTHER)
    messages = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.returncode, done.stdout, len(messages)) == (1, "", 1)
    assert "another master key" in messages[0]


def test_no_access_key_is_created_with_another_master_key(own_keys):
    own_keys.create(WAYPOST_MASTER_KEY=ONE_MASTER_KEY)
    assert "another master key" in own_keys.refused("create", WAYPOST_MASTER_KEY=ANOTHER)


PROFILE = "[{0}]\naws_access_key_id = AKIA{0}\naws_secret_access_key = {1}\naws_account_id = {2}\nregion = us-east-1\n"


def write_credentials(server, *profiles):
    """Write a credentials file like those of old versions, which had no access keys in the store; return its keys."""
    server.data.mkdir()
    (server.data / "credentials").write_text("".join(PROFILE.format(*profile) for profile in profiles))
    return [{"AccessKeyId": f"AKIA{name}", "SecretAccessKey": secret} for name, secret, _ in profiles]


def test_keys_of_an_old_credentials_file_are_imported_once(new_server, capsys, monkeypatch):
    keys = Keys(new_server.data, capsys, monkeypatch)
    old = write_credentials(
        new_server, ("ONE", "one", "111111111111"), ("TWO", "two", "222222222222"), ("THREE", "three", "111111111111")
    )
    new_server.start()
    assert [is_accepted(new_server, key) for key in old] == [True, True, True]
    assert {key["account"] for key in keys.list().values()} == {"111111111111", "222222222222"}
    keys("deactivate", "AKIAONE")
    keys("delete", "AKIATWO")
    new_server.stop()
    new_server.start()
    assert [is_accepted(new_server, key) for key in old] == [False, False, True]
    assert keys.list().keys() == {"AKIAONE", "AKIATHREE"}


def test_a_deleted_key_is_not_restored_even_if_it_was_the_last(new_server, capsys, monkeypatch):
    new_server.start()
    own = new_server.profile.key
    Keys(new_server.data, capsys, monkeypatch)("delete", own.id)
    new_server.stop()
    new_server.start()
    assert not is_accepted(new_server, {"AccessKeyId": own.id, "SecretAccessKey": own.secret})


def test_a_key_created_before_the_first_start_does_not_prevent_the_import_of_old_keys(new_server, capsys, monkeypatch):
    (old,) = write_credentials(new_server, ("ONE", "one", "111111111111"))
    Keys(new_server.data, capsys, monkeypatch).create()
    new_server.start()
    assert is_accepted(new_server, old)


def test_two_profiles_may_have_the_same_key(new_server):
    (key, _) = write_credentials(new_server, ("ONE", "one", "111111111111"), ("TWO", "two", "111111111111"))
    file = new_server.data / "credentials"
    file.write_text(file.read_text().replace("AKIATWO", "AKIAONE").replace("two", "one"))
    try:
        new_server.start()
    finally:
        new_server._process.stdout.close()
    assert is_accepted(new_server, key)


def test_the_credentials_file_has_the_root_key_of_the_owner_s_account(new_server, capsys, monkeypatch):
    keys = Keys(new_server.data, capsys, monkeypatch)
    keys.create("--expires", "1h", "--name", "root")
    keys.create("--name", "ann")
    keys.create("--account", "222222222222", "--name", "root")
    made = keys.list()
    new_server.start()
    credentials = new_server.data / "credentials"
    owner, written = new_server.profile.key, credentials.read_text()
    assert owner.id not in made
    assert owner.account == "000000000000"
    new_server.stop()
    # If the credentials file is lost, the server writes it again, with the same key.
    credentials.unlink()
    new_server.start()
    assert credentials.read_text() == written
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert keys.list().keys() == {*made, owner.id}


def test_a_new_key_belongs_to_the_owner_s_account(new_server, capsys, monkeypatch):
    new_server._options = ("--account", "123456789012")
    new_server.start()
    made = Keys(new_server.data, capsys, monkeypatch).create()
    assert Keys(new_server.data, capsys, monkeypatch).list()[made["AccessKeyId"]]["account"] == "123456789012"


def test_a_new_key_belongs_to_the_owner_s_account_without_a_credentials_file(new_server, capsys, monkeypatch):
    new_server._options = ("--account", "123456789012")
    new_server.start()
    new_server.stop()
    DataDirectory(new_server.data).credentials.unlink()
    keys = Keys(new_server.data, capsys, monkeypatch)
    made = json.loads(keys("create", "--json"))
    assert keys.list()[made["AccessKeyId"]]["account"] == "123456789012"


def test_temporary_credentials_are_deleted_a_day_after_they_expire(own_keys):
    made = own_keys.create("--expires", "10m")["AccessKeyId"]
    other = own_keys.create("--expires", "1h")["AccessKeyId"]

    def purged(later):
        purge = partial(access_keys.purge, now=datetime.now(UTC) + later)
        asyncio.run(opening.administer(DataDirectory(own_keys.data), purge))
        return own_keys.list()

    assert purged(timedelta(hours=24)).keys() == {made, other}
    assert purged(timedelta(hours=24, minutes=10)).keys() == {other}


def test_a_missing_master_key_is_not_replaced(own_keys):
    own_keys.create()
    (own_keys.data / "master.key").unlink()
    message = own_keys.refused("list")
    assert "master.key is missing" in message
    assert "WAYPOST_MASTER_KEY" in message
    assert not (own_keys.data / "master.key").exists()


def test_the_server_makes_readable_files_private_at_its_start(new_server):
    new_server.start()
    new_server.stop()
    files = ("waypost.sqlite3", "credentials", "master.key")
    for name in files:
        (new_server.data / name).chmod(0o644)
    new_server.start()
    assert {stat.S_IMODE((new_server.data / name).stat().st_mode) for name in files} == {0o600}


def test_a_command_does_not_migrate_the_database_of_a_running_older_server(own_keys):
    own_keys.create()
    database = own_keys.data / "waypost.sqlite3"
    with contextlib.closing(sqlite3.connect(database)) as older, older:
        older.execute("DELETE FROM migrations WHERE number = (SELECT max(number) FROM migrations)")
    with DataDirectory(own_keys.data).held():
        before = database.read_bytes()
        assert "Another Waypost server is using" in own_keys.refused("list")
        assert database.read_bytes() == before


def basic(key):
    return key["AccessKeyId"], key["SecretAccessKey"]


INSPECTORS = {
    "another action": ({"Effect": "Allow", "Action": "connect:*", "Resource": "*"}, 403),
    "the action": ({"Effect": "Allow", "Action": "waypost:Inspect", "Resource": "*"}, 200),
    "all actions of Waypost": ({"Effect": "Allow", "Action": "waypost:*", "Resource": "*"}, 200),
    "all other actions": ({"Effect": "Allow", "NotAction": "waypost:Inspect", "Resource": "*"}, 403),
    "a denial": ({"Effect": "Deny", "Action": "waypost:Inspect", "Resource": "*"}, 403),
    "a condition that is not satisfied": (
        {
            "Effect": "Allow",
            "Action": "waypost:Inspect",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:username": "bob"}},
        },
        403,
    ),
}


@pytest.mark.parametrize(("statement", "status"), INSPECTORS.values(), ids=INSPECTORS)
def test_a_key_may_read_mail_only_if_its_policy_allows_it(system, keys, policy, statement, status):
    key = keys.create("--policy", policy(statement))
    response = system.get("instance", key=basic(key), region="us-east-1")
    assert response.status == status
    if status == 403:
        message = f"The policy of access key {key['AccessKeyId']} does not allow waypost:Inspect."
        assert response.json() == {"error": message}


@pytest.mark.parametrize("of_tag", [False, True], ids=["by its ARN", "by its tag"])
def test_a_key_that_is_denied_an_address_cannot_use_the_inspection_api(system, keys, policy, of_tag):
    ceo = system.new_address("ceo")
    message_id = system.deliver(b"Subject: merger\r\n\r\nHello.\r\n", ceo)
    path = {"InstanceId": system.instance_id, "EmailAddressId": system.ids[ceo]}
    arn = system.connect.describe_email_address(**path)["EmailAddressArn"]
    denied = {"Effect": "Deny", "Action": "*", "Resource": arn}
    if of_tag:
        denied |= {"Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/secret": "yes"}}}
    key = basic(keys.create("--policy", policy({"Effect": "Allow", "Action": "*", "Resource": "*"}, denied)))
    for page in (
        "messages",
        f"messages/{message_id}",
        f"messages/{message_id}/raw",
        "explain",
        "queue",
        "dead-letters",
    ):
        assert system.get(page, address=ceo, key=key).status == 403
    assert system.get("trace", what=ceo, key=key).status == 403


BLOCKS = {
    "aws:SourceIp": ("IpAddress", "127.0.0.0/8"),
    "aws:SecureTransport": ("Bool", "false"),
    "aws:username": ("StringEquals", "ann"),
}


@pytest.mark.parametrize("key", BLOCKS)
def test_a_conditional_deny_also_applies_to_the_inspection_api(system, keys, policy, key):
    operator, value = BLOCKS[key]
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    file = policy(everything, {**everything, "Effect": "Deny", "Condition": {operator: {key: value}}})
    denied = keys.create("--policy", file, "--name", "ann")
    assert refusal(client(system.server, denied).list_instances)[0] == "AccessDeniedException"
    assert system.get("instance", key=basic(denied)).status == 403


def test_the_inspection_api_refuses_temporary_credentials_and_inactive_keys(system, keys):
    session, inactive = keys.create("--expires", "1h"), keys.create()
    assert system.get("instance", key=basic(inactive)).status == 200
    keys("deactivate", inactive["AccessKeyId"])
    for key in (session, inactive):
        assert system.get("instance", key=basic(key)).status == 401


def test_mail_of_another_account_cannot_be_read(system, keys):
    address = system.new_address()
    message_id = system.deliver(b"Subject: hello\r\n\r\nHello.\r\n", address)
    key = basic(keys.create("--account", "222222222222"))
    for path in ("messages", f"messages/{message_id}", f"messages/{message_id}/raw"):
        assert system.get(path, address=address).status == 200
        assert system.get(path, address=address, key=key).status == 404
