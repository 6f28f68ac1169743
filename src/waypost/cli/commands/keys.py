"""`waypost keys` creates, lists, deactivates, activates and deletes access keys, with or without a running server."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import click

from waypost.app.directory import access_keys
from waypost.cli.administration import Refused, administer, run
from waypost.cli.client import DEFAULT_DATA, Data, Json
from waypost.cli.outcomes import print_json, print_note
from waypost.cli.parameters import Argument, Group, Option
from waypost.config.settings import ROWS
from waypost.config.types import DURATION, understood
from waypost.domain import moments
from waypost.host.data_directory import DataDirectory
from waypost.host.master_key import PREVIOUS_KEY_VARIABLE, is_master_key_in_environment

app = Group(help="Manage access keys, which allow programs to call the API.")

KeyId = Annotated[str, Argument(metavar="ID", help="The access key's id, as shown by `waypost keys list`.")]

Database = Annotated[
    str,
    Option(
        "--database",
        help="The server's PostgreSQL database, if the server uses PostgreSQL.",
        envvar=ROWS["database"].variable,
    ),
]

DEFAULT_DATABASE = ROWS["database"].default


@app.command()
def create(
    policy: Annotated[
        Path | None,
        Option("--policy", help="A file with an IAM identity policy. Without this option, the key allows all actions."),
    ] = None,
    account: Annotated[
        str,
        Option(
            "--account", help="The AWS account id (twelve digits). The default is the account of the server's owner."
        ),
    ] = "",
    name: Annotated[
        str, Option("--name", help="The key's IAM user name, which policies and error messages use.")
    ] = "user",
    expires: Annotated[
        str,
        Option(
            "--expires",
            help="The lifetime of temporary credentials, such as 12h. Temporary credentials have a session token.",
        ),
    ] = "",
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Create an access key. The key's secret is shown only once."""
    from waypost.host import sealing
    from waypost.host.clock import now

    account = account or _owners_account(data, database)
    key, session_token = sealing.new_access_key(
        account=account,
        user_name=name,
        policy=_read(policy) if policy else None,
        now=now(),
        lifetime=understood(DURATION, expires, "--expires") if expires else None,
    )
    is_new = not database and not DataDirectory(Path(data)).has_database
    administer(data, database, partial(access_keys.create, key=key), make=True)
    if is_new:
        print_note(f"Created a new Waypost data directory: {data}", as_json=as_json)
    if as_json:  # in the form that AWS tools read from a `credential_process`
        credentials: dict[str, Any] = {"Version": 1, "AccessKeyId": key.id, "SecretAccessKey": key.secret}
        if key.expires_at:
            credentials |= {"SessionToken": session_token, "Expiration": moments.iso8601(key.expires_at)}
        print_json(credentials)
        return
    click.echo(f"aws_access_key_id = {key.id}\naws_secret_access_key = {key.secret}")
    if session_token:
        click.echo(f"aws_session_token = {session_token}")
    allowed = f"everything that {policy} allows" if policy else "everything"
    until = f", until {moments.iso8601(key.expires_at)}" if key.expires_at else ""
    click.echo(f"The key may do {allowed} in account {account}{until}. The secret is not shown again.", err=True)


@app.command("list")
def listed(data: Data = DEFAULT_DATA, database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """List all access keys, the oldest first, without their secrets."""
    keys = administer(data, database, lambda tx: tx.access_keys())
    if as_json:
        print_json({"keys": [_shown(key) for key in keys]})
        return
    for key in map(_shown, keys):
        until = f", expires {key['expires_at']}" if key["expires_at"] else ""
        may = "may do everything" if key["may_do_everything"] else "has a policy"
        click.echo(f"{key['id']}  {key['status']:8}  account {key['account']}  {key['name']}  {may}{until}")


@app.command()
def deactivate(key_id: KeyId, data: Data = DEFAULT_DATA, database: Database = DEFAULT_DATABASE) -> None:
    """Deactivate an access key. The server refuses the key until you activate it again."""
    administer(data, database, partial(access_keys.set_active, access_key_id=key_id, active=False))
    click.echo(f"The access key {key_id} is now inactive.")


@app.command()
def activate(key_id: KeyId, data: Data = DEFAULT_DATA, database: Database = DEFAULT_DATABASE) -> None:
    """Activate an access key that was deactivated."""
    administer(data, database, partial(access_keys.set_active, access_key_id=key_id, active=True))
    click.echo(f"The access key {key_id} is now active.")


@app.command()
def delete(key_id: KeyId, data: Data = DEFAULT_DATA, database: Database = DEFAULT_DATABASE) -> None:
    """Delete an access key."""
    administer(data, database, partial(access_keys.delete, access_key_id=key_id))
    click.echo(f"The access key {key_id} was deleted.")


@app.command("rotate-master")
def rotate_master(
    only_server: Annotated[
        bool,
        Option(
            "--only-server",
            help="With PostgreSQL: no other server needs the new key, so seal the secrets with it at once.",
        ),
    ] = False,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Replace the master key, and seal all secrets with the new one, whether or not servers run.

    If the command is interrupted, run it again: it continues. On PostgreSQL, the first run only makes the new key, so
    that you can copy it to the other servers.
    """
    from waypost.server import key_rotation

    directory = DataDirectory(Path(data))
    keys = directory.master_keys
    done = run(key_rotation.rotate_master(directory, database=database, is_only_server=only_server), database)
    if as_json:
        print_json({"is_complete": done.is_complete, "resealed": done.resealed})
    elif done.is_complete and not done.resealed:
        click.echo(
            "All secrets were already sealed with the newest master key, so nothing was left of the last rotation but "
            f"the previous key, {keys.previous_at}. It is not needed any more. To replace the master key now, run "
            "this command again."
        )
    elif done.is_complete:
        click.echo(f"All secrets are sealed with the new master key. Secrets that were sealed again: {done.resealed}.")
        if is_master_key_in_environment():
            click.echo(f"Remove {PREVIOUS_KEY_VARIABLE} from the environment of all servers.")
    else:
        click.echo(
            f"There is a new master key in {keys.newest_file}, with which nothing is sealed yet. Copy it and "
            f"{keys.previous_file} to the data directories of all other servers, and run this command again."
        )


@app.command("rotate-mail")
def rotate_mail(data: Data = DEFAULT_DATA, database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """Replace the secrets that sign rewritten senders (SRS) and loop tokens, whether or not servers run.

    The new secrets sign after five minutes. What the previous ones have signed is accepted for 31 more days.
    """
    from waypost.domain.mailauth import mail_secrets
    from waypost.server import key_rotation

    begins_at = run(key_rotation.rotate_mail(DataDirectory(Path(data)), database=database), database)
    until = begins_at + mail_secrets.ACCEPTED
    begins, ends = moments.iso8601(begins_at), moments.iso8601(until)
    if as_json:
        print_json({"begins_at": begins, "previous_accepted_until": ends})
        return
    click.echo(f"The new secrets sign from {begins}. The previous ones are accepted until {ends}.")


def _shown(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "account": key.account,
        "name": key.user_name,
        "status": _status(key),
        "created_at": moments.iso8601(key.created_at),
        "expires_at": moments.iso8601(key.expires_at) if key.expires_at else None,
        "may_do_everything": key.allows_all,
        "policy": json.loads(key.document),
    }


def _owners_account(data: str, database: str) -> str:
    """Return the account of the server's owner.

    If there is a credentials file, this is the account of the access key in that file. Otherwise, it is the owner's
    account that is recorded in the store or, if none is recorded, the default account.
    """
    directory = DataDirectory(Path(data))
    if directory.credentials.exists():
        return directory.profiles()[0].key.account
    found = administer(data, database, access_keys.owners_account) if database or directory.has_database else None
    return found or ROWS["account"].default


def _status(key: Any) -> str:
    from waypost.host.clock import now

    if not key.active:
        return "inactive"
    return "expired" if key.is_expired(now()) else "active"


def _read(policy: Path) -> str:
    try:
        return policy.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Refused(f"The policy {policy} cannot be read: {reason}.") from error
