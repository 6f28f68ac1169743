"""`waypost serve` runs the server."""

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import waypost
from waypost.config.settings import ROWS, Clock, Settings
from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.config.file import SettingsFile
    from waypost.host.run_file import Run


def read_file(ctx: typer.Context, config: str) -> str:
    """Read the settings file. Typer calls this function before it parses the other options, because the file sets their
    defaults.
    """
    from waypost.config import file

    ctx.obj = file.read(Path(config)) if config else file.SettingsFile()
    ctx.default_map = dict(ctx.obj.values)
    return config


def _takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each row of the settings table.

    Typer derives a command's options from its signature, so this function replaces the signature.
    """
    options = [
        inspect.Parameter(
            row.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=row.default,
            annotation=Annotated[
                str,
                typer.Option(
                    row.option,
                    help=row.help,
                    envvar=row.variable,
                    is_eager=not row.in_file,
                    callback=None if row.in_file else read_file,
                ),
            ],
        )
        for row in ROWS.values()
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    vars(command)["__signature__"] = inspect.Signature([context, *options])
    return command


@_takes_settings
def serve(ctx: typer.Context, **given: str) -> None:
    """Run the server until Ctrl-C or SIGTERM stops it, or until its terminal is closed."""
    options = {
        name: text
        for name, text in given.items()
        if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    run(options, ctx.obj)


def options_in(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return the options of `waypost serve` in the arguments of `waypost`, by the names of the settings.

    Return None unless the arguments are `serve` and known options with values. Then Typer must read them, and run
    another command, print help, or name the mistake. Where this function is enough, the server starts without Typer's
    conversion of options. The conversion would take a sixth of the start time, and 6 MB of the idle server's memory.
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


def run(options: Mapping[str, str], file: "SettingsFile") -> None:
    """Run the server with these options and this settings file, until a signal stops it. Raises `BadSetting`."""
    from waypost.config import sources

    settings = sources.read(options, os.environ, file)
    DataDirectory(settings.data).forget_killed_server()

    from waypost.server import opening, runtime, start_warnings

    for sentence in start_warnings.of_environment(os.environ):
        _warn(sentence)
    try:
        if settings.workers > 1:
            _run_workers(settings)
        else:
            _run_one_process(settings)
    except (opening.CannotStart, runtime.ServerFailed) as error:
        typer.echo(f"waypost: {error}", err=True)
        raise typer.Exit(1) from error
    _drop_unread_output()


def _run_one_process(settings: Settings) -> None:
    import uvloop

    from waypost.observe import logs
    from waypost.server import runtime, service

    with runtime.process_of_a_server(logs.Log()) as process:
        server = service.Service(
            settings, emit=process.emit, files=process.files, warn=_warn, has_reader=sys.stdout.isatty()
        )

        def when_ready(run: "Run") -> None:
            _banner(settings, server.directory, run, server.instance_id, server.where, server.console_link)

        uvloop.run(runtime.run(server, when_ready))


def _run_workers(settings: Settings) -> None:
    from waypost.observe import logs
    from waypost.server import runtime
    from waypost.server.supervisor import supervisor

    directory = DataDirectory(settings.data)
    with runtime.process_of_a_server(logs.Log(has_thread=False)) as process:
        supervisor.Supervisor(settings, emit=process.emit, warn=_warn, has_reader=sys.stdout.isatty()).run(
            lambda ready: _banner(settings, directory, ready.run, ready.instance_id, ready.where, ready.console_link)
        )


def _warn(sentence: str) -> None:
    typer.echo(f"waypost: {sentence}", err=True)


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


def _protocols(settings: Settings) -> str:
    if not settings.tls_certificate:
        return "SMTP"
    return "SMTP, STARTTLS required" if settings.tls_required else "SMTP, STARTTLS"


def _other_mail_addresses(run: "Run") -> str:
    """Return the banner lines that show the SMTPS and LMTP addresses, if there are any."""
    smtps = f"  mail, TLS    {run.smtps}   (SMTP with implicit TLS)\n" if run.smtps else ""
    lmtp = f"  mail, LMTP   {run.lmtp}   (for mail from your own mail server)\n" if run.lmtp else ""
    return smtps + lmtp


def _mail_lines(settings: Settings) -> str:
    """Return the banner lines that show the host name, the trusted networks and the sender checks."""
    trusted = ", ".join(map(str, settings.trusted_networks)) or "no network"
    checked = settings.authentication.value if settings.checks_senders else "off"
    return (
        f"  host name    {settings.real_hostname}\n"
        f"  trusted      {trusted}\n"
        f"  senders      {checked}   (SPF, DKIM and DMARC of mail from untrusted clients)\n"
    )


def _settings_lines(settings: Settings) -> str:
    """Return the banner lines that show the settings file, if there is one, and the virtual clock, if it is used."""
    faulty = sum(1 for route in settings.routes if route.fault)
    summary = ", ".join(
        [
            _count(len(settings.routes), "route") + (f" ({faulty} with an injected fault)" if faulty else ""),
            _count(len(settings.retention), "retention rule"),
        ]
    )
    read = f"  settings     {settings.config}: {summary}\n" if settings.config else ""
    clock = (
        "  clock        VIRTUAL: advanced by POST /_waypost/clock/advance\n" if settings.clock is Clock.VIRTUAL else ""
    )
    return read + clock


def _workers_line(settings: Settings) -> str:
    """Return the banner line that shows the number of worker processes, if there are several."""
    return f"  workers      {settings.workers} processes\n" if settings.workers > 1 else ""


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what if number == 1 else what + 's'}"


def _console_line(url: str) -> str:
    """Return the banner line with the link to the console, if there is one."""
    return f"  console      {url}   (signs in once, within 10 minutes)\n" if url else ""


def _banner(
    settings: Settings, directory: DataDirectory, run: "Run", instance_id: str, where: str, console_link: str
) -> None:
    """Print the banner, which tells the operator the server's addresses and files."""
    typer.echo(
        f"Waypost {waypost.__version__} is ready.\n"
        f"  API          http://{run.http}   (Amazon Connect; signatures and policies are enforced)\n"
        f"{_console_line(console_link)}"
        f"  limits       {settings.limits.name}   ({settings.limits.in_words})\n"
        f"  mail         {run.smtp}   ({_protocols(settings)}; only for email addresses that exist)\n"
        f"{_other_mail_addresses(run)}"
        f"{_mail_lines(settings)}"
        f"  instance     {instance_id}\n"
        f"  access key   in {directory.credentials}\n"
        f"  data         {where}\n"
        f"{_workers_line(settings)}"
        f"{_settings_lines(settings)}"
        f'To use this server, run in your shell:  eval "$(waypost env --data {shlex.quote(str(directory.path))})"\n'
        "Ctrl-C stops the server."
    )
