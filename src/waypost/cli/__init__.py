"""The `waypost` command. Each command imports its dependencies only when it runs, so that `--help` is fast."""

import sys
from typing import Annotated

import typer

import waypost
from waypost.cli import administration, client
from waypost.cli.commands import (
    console,
    environment,
    explain,
    keys,
    mail,
    probe,
    purge,
    queue,
    routes,
    serving,
    show,
    trace,
    watch,
)
from waypost.cli.outcomes import Exit
from waypost.config.types import BadSetting
from waypost.host.data_directory import DataDirectoryError, NotRunning

app = typer.Typer(
    name="waypost",
    help="A mail server with email addresses, aliases and forwarding behind the Amazon Connect API.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(serving.serve)
app.command(cls=environment.Evaluated)(environment.env)
app.command()(console.console)
app.command()(mail.inbox)
app.command()(mail.search)
app.command()(show.show)
app.command()(watch.watch)
app.command()(explain.explain)
app.command()(trace.trace)
app.command()(queue.queue)
app.add_typer(queue.dead, name="dead")
app.command()(queue.replay)
app.command()(purge.purge)
app.add_typer(keys.app, name="keys")
app.add_typer(routes.app, name="routes")
routes.app.command("test")(probe.probe)


@app.command()
def demo(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Exit when the demo ends. By default, the server keeps running if the output is a terminal."
        ),
    ] = False,
) -> None:
    """Demonstrate aliases and forwarding, step by step, with a real server and real clients."""
    from waypost.cli.commands.demonstration import run_demo

    raise typer.Exit(run_demo(stay=sys.stdout.isatty() and not once))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"waypost {waypost.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command. If the command fails, print one sentence to standard error, and exit with a code from `Exit`."""
    try:
        options = serving.options_in(sys.argv[1:])
        if options is None:
            app()
        else:
            serving.run(options, serving.settings_file(options))
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except KeyboardInterrupt:
        sys.exit(1)
    except (NotRunning, client.NoServer) as error:
        typer.echo(f"waypost: {error}", err=True)
        sys.exit(Exit.NO_SERVER)
    except (BadSetting, DataDirectoryError, client.ServerRefused, administration.Refused) as error:
        typer.echo(f"waypost: {error}", err=True)
        sys.exit(Exit.REFUSED)
