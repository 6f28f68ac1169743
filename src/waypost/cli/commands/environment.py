"""`waypost env` prints what a shell must set and unset so that SDKs, the AWS CLI and mail clients use the running
server.

An SDK also reads profiles, proxies and switches from its environment, and some of them win over an endpoint and an
access key. `eval` runs the output of the command even if the command fails. It prints `false` then, so that a command
after `&&` is not run and does not go to AWS.
"""

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from typer.core import TyperCommand

from waypost.cli.client import DEFAULT_DATA, Client, Data, Json
from waypost.cli.outcomes import print_json

UNSET = (
    "AWS_PROFILE",  # of another account; Go and JavaScript prefer it to an access key, others fail if it is not there
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",  # belongs to another access key
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",  # an SDK may prefer it to an access key
)
"""Variables that make an SDK use other credentials than the server's access key, or refuse that key."""

SWITCHES = {
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",  # true, also in a profile, would send the calls to AWS
    "AWS_USE_FIPS_ENDPOINT": "false",  # Amazon Connect's endpoint rules refuse true beside an endpoint of one's own
    "AWS_USE_DUALSTACK_ENDPOINT": "false",
    "AWS_PAGER": "",  # the AWS CLI would wait in it
}
"""Variables that override the same settings in a profile of the AWS configuration file."""


class Evaluated(TyperCommand):
    """A command whose output a shell evaluates. Where it fails it prints `false`, whatever the reason."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the options; a wrong one is a failure, too."""
        is_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BaseException as error:
            _print_false(error, is_json=is_json)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            _print_false(error, is_json=bool(ctx.params.get("as_json")))
            raise


def _print_false(error: BaseException, *, is_json: bool) -> None:
    if not is_json and getattr(error, "exit_code", 1) != 0:  # 0 is that of --help
        typer.echo("false")


def env(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Print what points SDK, AWS CLI and mail client at the running server: eval "$(waypost env)".

    With --json, null marks variables that must not be set.
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
    typer.echo("\n".join([f"unset {' '.join(UNSET)}", *exports]))


def without_proxy(addresses: Iterable[str], environment: Mapping[str, str]) -> str:
    """The value of NO_PROXY: its present value, in either spelling, and the hosts of these addresses (HOST:PORT each).

    An IPv6 address is listed with brackets and without: clients compare it with one or the other.
    """
    given = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = [address.rpartition(":")[0] for address in addresses]
    names = [*given.split(","), *hosts, *(host.strip("[]") for host in hosts)]
    return ",".join(dict.fromkeys(name.strip() for name in names if name.strip()))
