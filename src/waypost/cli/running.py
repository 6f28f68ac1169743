"""Runs a command, and turns its errors into a sentence and an exit code."""

import itertools
import os
import sys
from collections.abc import Sequence

import click

from waypost.cli import outcomes
from waypost.cli.outcomes import Exit
from waypost.config.types import BadSetting
from waypost.host.data_directory import NotRunning
from waypost.host.directory_files import DataDirectoryError


def run(arguments: Sequence[str]) -> None:
    """Run the command that the arguments name, and exit."""
    from waypost.cli import administration, client, secret_files

    as_json = "--json" in itertools.takewhile(lambda argument: argument != "--", arguments)
    try:
        secret_files.read_into(os.environ)
        _run(arguments, as_json=as_json)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(1)
    except click.ClickException as error:
        outcomes.print_error(error.format_message(), Exit(error.exit_code), as_json=as_json)
        sys.exit(error.exit_code)
    except (NotRunning, client.NoServer) as error:
        outcomes.print_error(str(error), Exit.NO_SERVER, as_json=as_json)
        sys.exit(Exit.NO_SERVER)
    except (BadSetting, DataDirectoryError, client.ServerRefused, administration.Refused) as error:
        outcomes.print_error(str(error), Exit.REFUSED, as_json=as_json)
        sys.exit(Exit.REFUSED)


def _run(arguments: Sequence[str], *, as_json: bool) -> None:
    if arguments[:1] == ["serve"]:
        from waypost.cli.commands import serving

        options = serving.options_in([one for one in arguments if one not in serving.FLAGS])
        if options is not None:
            file = serving.settings_file(options)
            ready_json, attached, check = (flag in arguments for flag in serving.FLAGS)
            serving.run(options, file, ready_json=ready_json, attached=attached, check=check)
            return
    from waypost.cli.program import app

    # In click's standalone mode, click prints the errors of a command line itself, as text.
    ended = app(list(arguments), prog_name="waypost", standalone_mode=not as_json)
    sys.exit(ended if isinstance(ended, int) else 0)
