"""`waypost env` prints shell commands that make SDKs, the AWS CLI and mail clients use the running server.

An SDK also reads profiles, proxies and other settings from environment variables. Some of these variables override the
endpoint or the access key, so the printed commands unset or change them. The shell's `eval` runs the output of `waypost
env` even if `waypost env` has failed. If it fails, `waypost env` therefore prints `false`. Otherwise the shell would
run a command that follows `&&`, and that command would call the real AWS.
"""

import inspect
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import click

from waypost.cli.client import DEFAULT_DATA, Client, Data, Json
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Command

UNSET = (
    "AWS_PROFILE",  # Go and JavaScript prefer a profile to an access key; other SDKs fail if the profile is missing
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",  # belongs to another access key
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",  # an SDK may prefer it to an access key
)
"""Environment variables that could make an SDK use credentials other than the server's access key, or refuse to use
that key."""

SWITCHES = {
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",  # with true, even in a profile, an SDK would call AWS
    "AWS_USE_FIPS_ENDPOINT": "false",  # Amazon Connect's endpoint rules refuse true together with a custom endpoint
    "AWS_USE_DUALSTACK_ENDPOINT": "false",
    "AWS_PAGER": "",  # the AWS CLI would wait for input in its pager
}
"""Environment variables that the command sets, with their values. These variables override the same settings in a
profile of the AWS configuration file."""


class Evaluated(Command):
    """A command whose output a shell evaluates. If the command fails for any reason, it prints `false`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the options, and print `false` if an option is invalid."""
        is_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BaseException as error:
            _print_false(error, is_json=is_json)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and print `false` if it fails."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            _print_false(error, is_json=bool(ctx.params.get("as_json")))
            raise


def _print_false(error: BaseException, *, is_json: bool) -> None:
    if not is_json and getattr(error, "exit_code", 1) != 0:  # --help exits with 0
        click.echo("false")


def env(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Print shell commands that make AWS SDKs, the AWS CLI and mail clients use the running server.

    In a shell, run: eval "$(waypost env)". With --json, the value null means that the variable must be unset.
    """
    server = Client(data)
    run = server.run
    variables = {
        "AWS_ENDPOINT_URL_CONNECT": f"http://{run.http}",
        "AWS_ACCESS_KEY_ID": server.key.id,
        "AWS_SECRET_ACCESS_KEY": server.key.secret,
        "AWS_REGION": server.region,
        "AWS_DEFAULT_REGION": server.region,
        "WAYPOST_INSTANCE_ID": server.get("instance", region=server.region)["id"] or "",
        "WAYPOST_SMTP": run.smtp,
        "WAYPOST_HTTP": run.http,
    }
    also = {"WAYPOST_SMTPS": run.smtps, "WAYPOST_LMTP": run.lmtp, "WAYPOST_CERTIFICATE": run.certificate}
    variables |= {name: address for name, address in also.items() if address}
    no_proxy = without_proxy([run.http, run.smtp, run.smtps, run.lmtp], os.environ)
    variables |= SWITCHES | {"NO_PROXY": no_proxy, "no_proxy": no_proxy}
    if as_json:
        print_json(variables | dict.fromkeys(UNSET))
        return
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    click.echo("\n".join([f"unset {' '.join(UNSET)}", *exports]))


def without_proxy(addresses: Iterable[str], environment: Mapping[str, str]) -> str:
    """Return a value for NO_PROXY: the hosts that it already contains, and the hosts of `addresses` (each HOST:PORT).

    The existing hosts come from both `no_proxy` and `NO_PROXY` in `environment`. An IPv6 address is listed both with
    and without brackets, because some clients expect brackets and others do not.
    """
    given = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = [address.rpartition(":")[0] for address in addresses]
    names = [*given.split(","), *hosts, *(host.strip("[]") for host in hosts)]
    return ",".join(dict.fromkeys(name.strip() for name in names if name.strip()))


env_command = Evaluated("env", env, help=inspect.getdoc(env))
