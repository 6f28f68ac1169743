"""`waypost env` prints shell commands that make SDKs, the AWS CLI and mail clients use the running server.

The shell's `eval` runs the output of `waypost env` even if `waypost env` has failed. If it fails, `waypost env`
therefore prints `false`. Otherwise the shell would run a command that follows `&&`, and that command would call the
real AWS.
"""

import inspect
import os
import shlex
from typing import Any

import click

from waypost.cli.client import DEFAULT_DATA, Client, Data, Json
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Command
from waypost.client import environment
from waypost.host.credentials_file import Profile


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
    instance_id = server.get("instance", region=server.region)["id"] or ""
    profile = Profile(server.key, server.region)
    variables = environment.variables(server.run, profile, instance_id=instance_id, environment=os.environ)
    if as_json:
        print_json(variables | dict.fromkeys(environment.UNSET))
        return
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    click.echo("\n".join([f"unset {' '.join(environment.UNSET)}", *exports]))


env_command = Evaluated("env", env, help=inspect.getdoc(env))
