"""Runs a command, and turns its errors into a sentence and an exit code."""

import os
import sys
from collections.abc import Sequence

import click

from waypost.cli.outcomes import Exit
from waypost.config.types import BadSetting
from waypost.host.data_directory import DataDirectoryError, NotRunning


def run(arguments: Sequence[str]) -> None:
    """Run the command that the arguments name, and exit."""
    from waypost.cli import administration, client, secret_files

    try:
        secret_files.read_into(os.environ)
        _run(arguments)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except KeyboardInterrupt:
        sys.exit(1)
    except (NotRunning, client.NoServer) as error:
        click.echo(f"waypost: {error}", err=True)
        sys.exit(Exit.NO_SERVER)
    except (BadSetting, DataDirectoryError, client.ServerRefused, administration.Refused) as error:
        click.echo(f"waypost: {error}", err=True)
        sys.exit(Exit.REFUSED)


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["serve"]:
        from waypost.cli.commands import serving

        options = serving.options_in([one for one in arguments if one not in serving.FLAGS])
        if options is not None:
            file = serving.settings_file(options)
            ready_json, attached, check = (flag in arguments for flag in serving.FLAGS)
            serving.run(options, file, ready_json=ready_json, attached=attached, check=check)
            return
    from waypost.cli.program import app

    app(list(arguments), prog_name="waypost")
