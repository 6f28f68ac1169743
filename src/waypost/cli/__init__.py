"""The `waypost` command. Each command imports its dependencies only when it runs, so that all of them start fast."""

import sys

import waypost


def main() -> None:
    """Run the command. If the command fails, print one sentence to standard error, and exit with a code from `Exit`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"waypost {waypost.__version__}\n")
        sys.exit(0)
    if sys.argv[1:2] == ["serve"]:
        from waypost.server import hang_up

        hang_up.remember()  # before the other modules are imported, because SIGHUP would end the process meanwhile
    from waypost.cli import running

    running.run(sys.argv[1:])
