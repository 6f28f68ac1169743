"""`waypost completion` prints the script that completes commands in a shell."""

from typing import Annotated

import click
from click.shell_completion import get_completion_class

from waypost.cli.parameters import Argument

SHELLS = ("bash", "zsh", "fish")

VARIABLE = "_WAYPOST_COMPLETE"
"""The environment variable with which the script asks `waypost` for completions."""


def completion(shell: Annotated[str, Argument(metavar="SHELL", help="bash, zsh or fish.", choices=SHELLS)]) -> None:
    """Print the script that completes commands and options in a shell.

    Put one of these lines into the shell's start file. bash (from version 4.4) in ~/.bashrc: eval "$(waypost completion
    bash)". zsh in ~/.zshrc, after compinit: eval "$(waypost completion zsh)". fish in ~/.config/fish/config.fish:
    waypost completion fish | source.
    """
    from waypost.cli.program import app

    script = get_completion_class(shell)
    assert script is not None, shell
    click.echo(script(app, {}, "waypost", VARIABLE).source())
