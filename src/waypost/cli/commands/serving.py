"""`waypost serve` runs the server."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from waypost.cli import banner, ready
from waypost.cli.outcomes import Exit
from waypost.cli.parameters import Option
from waypost.cli.ready import Started
from waypost.config.headings import headings
from waypost.config.settings import ROWS, Settings
from waypost.config.types import BadSetting
from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.config.file import SettingsFile
    from waypost.host.run_file import Run


READY_JSON = "--ready-json"
"""The option with which the server prints a line of JSON instead of the banner."""

ATTACHED = "--attached"
"""The option with which the server belongs to the program that started it."""

CHECK = "--check"
"""The option with which the command checks the settings and does not run a server."""

FLAGS = (READY_JSON, ATTACHED, CHECK)
"""The options without a value. They are about this one process, so they are no settings."""


def read_file(ctx: click.Context, _: click.Parameter, config: str) -> str:
    """Read the settings file. click calls this function before it parses the other options, because the file sets their
    defaults.
    """
    from waypost.config import file

    ctx.obj = file.read(Path(config)) if config else file.SettingsFile()
    ctx.default_map = dict(ctx.obj.values)
    return config


def _takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each row of the settings table.

    `Command` derives a command's options from its signature, so this function replaces the signature.
    """
    under = headings(ROWS)
    options = [
        inspect.Parameter(
            row.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=row.default,
            annotation=Annotated[
                str,
                Option(
                    row.option,
                    help=row.help,
                    envvar=row.variable,
                    is_eager=not row.in_file,
                    callback=None if row.in_file else read_file,
                    heading=under[row.name],
                ),
            ],
        )
        for row in ROWS.values()
    ]
    first = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
    vars(command)["__signature__"] = inspect.Signature([*first, *options])
    return command


@_takes_settings
def serve(
    ctx: click.Context,
    *,
    ready_json: Annotated[
        bool,
        Option(READY_JSON, help="When the server is ready, print one line of JSON for programs, and no banner."),
    ] = False,
    attached: Annotated[
        bool,
        Option(
            ATTACHED,
            help="Stop also when standard input ends, or when the program that started the server does. The data are "
            "in a temporary directory, which the server removes when it stops.",
        ),
    ] = False,
    check: Annotated[
        bool,
        Option(
            CHECK,
            help="Check the settings and the files that they name, and end. If a server is running, show which "
            "settings differ from its settings, and whether they need a restart.",
        ),
    ] = False,
    **given: str,
) -> None:
    """Run the server until Ctrl-C or SIGTERM stops it, or until its terminal is closed."""
    options = {
        name: text
        for name, text in given.items()
        if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    run(options, ctx.obj, ready_json=ready_json, attached=attached, check=check)


def options_in(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return the options of `waypost serve` in the arguments of `waypost`, by the names of the settings.

    Return None unless the arguments are `serve` and known options with values. Then click must read them, and run
    another command, print help, or name the mistake. Where this function is enough, the server starts without click.
    """
    if arguments[:1] != ["serve"]:
        return None
    names = {row.option: row.name for row in ROWS.values()}
    options = {}
    following = iter(arguments[1:])
    for argument in following:
        option, equals, value = argument.partition("=")
        if not equals:
            value = next(following, "-")
        if option not in names or value.startswith("-"):
            return None
        options[names[option]] = value
    return options


def settings_file(options: Mapping[str, str]) -> "SettingsFile":
    """Read the settings file that the options or the environment name. Raises `BadSetting`."""
    from waypost.config import file

    row = ROWS["config"]
    path = options.get(row.name, os.environ.get(row.variable, ""))
    return file.read(Path(path)) if path else file.SettingsFile()


def run(
    options: Mapping[str, str],
    file: "SettingsFile",
    *,
    ready_json: bool = False,
    attached: bool = False,
    check: bool = False,
) -> None:
    """Run the server with these options and this settings file, until a signal stops it. Raises `BadSetting`.

    If `check` is true, only check the settings. When the server is ready, print the banner or, if `ready_json` is true,
    a line of JSON. If `attached` is true, the server belongs to the program that started it: the server stops when that
    program ends, and has its data in a temporary directory.
    """
    if check:
        from waypost.config import sources

        _check(sources.read(options, os.environ, file))
        return
    if attached:
        import tempfile

        from waypost.host.parent_process import ParentProcess

        _refuse_directory(options, file)
        parent = ParentProcess()
        with tempfile.TemporaryDirectory(prefix="waypost-") as directory:
            parent.end_with(directory)
            run({**options, "data": f"{directory}/data"}, file, ready_json=ready_json)
        return

    from waypost.config import sources

    settings = sources.read(options, os.environ, file)
    DataDirectory(settings.data).forget_killed_server()
    _open_standard_files()

    from waypost.server import hang_up, opening, runtime, start_warnings

    def reread() -> Settings:
        return sources.read(options, os.environ, settings_file(options))

    for sentence in start_warnings.of_environment(os.environ):
        _warn(sentence)

    def tell(started: Started) -> None:
        if ready_json:
            click.echo(ready.line(started))
        else:
            click.echo(banner.text(settings, started))

    try:
        if settings.workers > 1:
            _run_workers(settings, tell, reread)
        else:
            _run_one_process(settings, tell, reread)
    except (opening.CannotStart, runtime.ServerFailed) as error:
        click.echo(f"waypost: {error}", err=True)
        raise click.exceptions.Exit(1) from error
    hang_up.ignore()
    _drop_unread_output()


def _check(settings: Settings) -> None:
    """Print whether a server can use the settings, and how they differ from those of the running server."""
    from waypost.server import settings_check

    found = list(settings_check.problems(settings))
    for sentence in found:
        _warn(sentence)
    if found:
        raise click.exceptions.Exit(Exit.REFUSED)
    click.echo("The settings are valid.")
    running = settings_check.running_with_other_settings(settings)
    if running is None:
        click.echo(f"No server is using {settings.data}.")
        return
    server, differences = running
    if differences.reloadable:
        names = ", ".join(differences.reloadable)
        click.echo(
            f"The running server will use new values after SIGHUP (kill -HUP {server.pid}), or after a restart if it "
            f"was started under nohup: {names}"
        )
    if differences.need_restart:
        click.echo(f"The running server will use new values after a restart: {', '.join(differences.need_restart)}")
    if not differences.reloadable and not differences.need_restart:
        click.echo("The running server uses these settings.")


def _refuse_directory(options: Mapping[str, str], file: "SettingsFile") -> None:
    """Raise `BadSetting` if a data directory is given for a server that uses a temporary one."""
    row = ROWS["data"]
    if row.name in options or os.environ.get(row.variable) or row.name in file.values:
        raise BadSetting(f"{row.option} cannot be set with {ATTACHED}, which keeps the data in a temporary directory")


def _run_one_process(settings: Settings, tell: Callable[[Started], None], reread: Callable[[], Settings]) -> None:
    import uvloop

    from waypost.host import systemd
    from waypost.observe.metrics.arrays import Arrays
    from waypost.server import opening, runtime, service

    metrics = Arrays().of(0)
    with runtime.process_of_a_server(opening.open_log(settings, count=metrics.count), metrics) as process:
        server = service.Service(
            settings,
            emit=process.emit,
            metrics=process.metrics,
            files=process.files,
            warn=_warn,
            has_reader=sys.stdout.isatty(),
            reread=reread,
            reopen_log=process.log.reopen,
        )

        def when_ready(run: "Run") -> None:
            tell(
                Started(
                    directory=server.directory,
                    run=run,
                    instance_id=server.instance_id,
                    where=server.where,
                    console_link=server.console_link,
                )
            )

        uvloop.run(runtime.run(server, when_ready, notify=systemd.notify))


def _run_workers(settings: Settings, tell: Callable[[Started], None], reread: Callable[[], Settings]) -> None:
    from waypost.observe.metrics.arrays import Arrays
    from waypost.server import opening, runtime
    from waypost.server.supervisor import supervisor

    directory = DataDirectory(settings.data)
    arrays = Arrays(settings.workers)
    metrics = arrays.of(0)
    log = opening.open_log(settings, has_thread=False, count=metrics.count)
    with runtime.process_of_a_server(log, metrics) as process:
        supervisor.Supervisor(
            settings,
            emit=process.emit,
            arrays=arrays,
            log=process.log,
            reread=reread,
            warn=_warn,
            has_reader=sys.stdout.isatty(),
        ).run(
            lambda first: tell(
                Started(
                    directory=directory,
                    run=first.run,
                    instance_id=first.instance_id,
                    where=first.where,
                    console_link=first.console_link,
                )
            )
        )


def _open_standard_files() -> None:
    """Open the null device in place of standard files that are closed, which Python calls None. Otherwise a socket
    would get the number of such a file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the process ends


def _warn(sentence: str) -> None:
    click.echo(f"waypost: {sentence}", err=True)


def _drop_unread_output() -> None:
    """Discard buffered output that cannot be written, because no process reads it any more.

    Otherwise Python would try to flush the output at exit, fail, and end with exit code 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
