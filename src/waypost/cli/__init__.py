"""The `waypost` command. Each command imports its dependencies only when it runs, so that all of them start fast."""

import sys
from collections.abc import Sequence

import waypost


def main() -> None:
    """Run the command. If the command fails, print one sentence to standard error, and exit with a code from `Exit`."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"] and not {"-h", "--help"} & set(arguments):
        from waypost.server import hang_up

        hang_up.remember()  # before the other modules are imported, because SIGHUP would end the process meanwhile
        _run(arguments)  # a server continues if its output cannot be written
        return
    from waypost.cli import output

    with output.checked():
        if arguments in (["--version"], ["-V"]):
            if sys.stdout:
                sys.stdout.write(f"waypost {waypost.__version__}\n")
            sys.exit(0)
        _run(arguments)


def _run(arguments: Sequence[str]) -> None:
    from waypost.cli import running

    running.run(arguments)
