"""`waypost serve`."""

import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import waypost
from waypost.config.settings import BadSetting, Settings, environment_name, help_of, option_name
from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.config.settings_file import SettingsFile
    from waypost.host.data_directory import Run
    from waypost.server.assembly import Service

_DEFAULTS = Settings()


def _option(name: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(option_name(name), help=help_of(name), envvar=environment_name(name))
    return option


def read_file(ctx: typer.Context, config: str) -> str:
    """Read the settings file before all other options are looked at: what it says is their default."""
    from waypost.config import settings_file

    ctx.obj = settings_file.read(Path(config)) if config else settings_file.SettingsFile()
    ctx.default_map = dict(ctx.obj.values)
    return config


def settings_of(file: "SettingsFile") -> Settings:
    """The settings of a server that is started with this settings file, in this environment, without options.

    Raises `BadSetting`.
    """
    given = {
        setting.name: os.environ.get(environment_name(setting.name)) or file.values.get(setting.name, "")
        for setting in fields(Settings)
    }
    return Settings(**{name: value for name, value in given.items() if value})


def serve(
    ctx: typer.Context,
    config: Annotated[
        str,
        typer.Option(
            "--config", help=help_of("config"), envvar=environment_name("config"), is_eager=True, callback=read_file
        ),
    ] = _DEFAULTS.config,
    data: Annotated[str, _option("data")] = _DEFAULTS.data,
    http: Annotated[str, _option("http")] = _DEFAULTS.http,
    http_connections: Annotated[str, _option("http_connections")] = _DEFAULTS.http_connections,
    http_connections_each: Annotated[str, _option("http_connections_each")] = _DEFAULTS.http_connections_each,
    http_names: Annotated[str, _option("http_names")] = _DEFAULTS.http_names,
    smtp: Annotated[str, _option("smtp")] = _DEFAULTS.smtp,
    smtps: Annotated[str, _option("smtps")] = _DEFAULTS.smtps,
    lmtp: Annotated[str, _option("lmtp")] = _DEFAULTS.lmtp,
    tls_certificate: Annotated[str, _option("tls_certificate")] = _DEFAULTS.tls_certificate,
    tls_key: Annotated[str, _option("tls_key")] = _DEFAULTS.tls_key,
    tls_required: Annotated[str, _option("tls_required")] = _DEFAULTS.tls_required,
    tls_clients: Annotated[str, _option("tls_clients")] = _DEFAULTS.tls_clients,
    proxy_networks: Annotated[str, _option("proxy_networks")] = _DEFAULTS.proxy_networks,
    trusted_networks: Annotated[str, _option("trusted_networks")] = _DEFAULTS.trusted_networks,
    smtp_connections: Annotated[str, _option("smtp_connections")] = _DEFAULTS.smtp_connections,
    smtp_connections_each: Annotated[str, _option("smtp_connections_each")] = _DEFAULTS.smtp_connections_each,
    smtp_new_connections_each: Annotated[
        str, _option("smtp_new_connections_each")
    ] = _DEFAULTS.smtp_new_connections_each,
    smtp_messages_each: Annotated[str, _option("smtp_messages_each")] = _DEFAULTS.smtp_messages_each,
    smtp_unknown_recipients: Annotated[str, _option("smtp_unknown_recipients")] = _DEFAULTS.smtp_unknown_recipients,
    smtp_memory: Annotated[str, _option("smtp_memory")] = _DEFAULTS.smtp_memory,
    greeting_delay: Annotated[str, _option("greeting_delay")] = _DEFAULTS.greeting_delay,
    authentication: Annotated[str, _option("authentication")] = _DEFAULTS.authentication,
    dns: Annotated[str, _option("dns")] = _DEFAULTS.dns,
    hostname: Annotated[str, _option("hostname")] = _DEFAULTS.hostname,
    subaddressing: Annotated[str, _option("subaddressing")] = _DEFAULTS.subaddressing,
    shared_domains: Annotated[str, _option("shared_domains")] = _DEFAULTS.shared_domains,
    database: Annotated[str, _option("database")] = _DEFAULTS.database,
    database_connections: Annotated[str, _option("database_connections")] = _DEFAULTS.database_connections,
    account: Annotated[str, _option("account")] = _DEFAULTS.account,
    region: Annotated[str, _option("region")] = _DEFAULTS.region,
    limits: Annotated[str, _option("limits")] = _DEFAULTS.limits,
    token_retention: Annotated[str, _option("token_retention")] = _DEFAULTS.token_retention,
    trace_refusals: Annotated[str, _option("trace_refusals")] = _DEFAULTS.trace_refusals,
    disk_reserve: Annotated[str, _option("disk_reserve")] = _DEFAULTS.disk_reserve,
    clock: Annotated[str, _option("clock")] = _DEFAULTS.clock,
) -> None:
    """Run the server until Ctrl-C or SIGTERM stops it, or its terminal goes away."""
    try:
        settings = Settings(
            config=config,
            data=data,
            http=http,
            http_connections=http_connections,
            http_connections_each=http_connections_each,
            http_names=http_names,
            smtp=smtp,
            smtps=smtps,
            lmtp=lmtp,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            tls_required=tls_required,
            tls_clients=tls_clients,
            proxy_networks=proxy_networks,
            trusted_networks=trusted_networks,
            smtp_connections=smtp_connections,
            smtp_connections_each=smtp_connections_each,
            smtp_new_connections_each=smtp_new_connections_each,
            smtp_messages_each=smtp_messages_each,
            smtp_unknown_recipients=smtp_unknown_recipients,
            smtp_memory=smtp_memory,
            greeting_delay=greeting_delay,
            authentication=authentication,
            dns=dns,
            hostname=hostname,
            subaddressing=subaddressing,
            shared_domains=shared_domains,
            database=database,
            database_connections=database_connections,
            account=account,
            region=region,
            limits=limits,
            token_retention=token_retention,
            trace_refusals=trace_refusals,
            disk_reserve=disk_reserve,
            clock=clock,
        )
    except BadSetting as error:
        raise _with_its_file(ctx, config, error) from error

    DataDirectory(settings.directory).forget_killed_server()

    import uvloop

    from waypost.server import assembly, opening

    file: SettingsFile = ctx.obj
    service = assembly.Service(settings, file, warn=lambda sentence: typer.echo(f"waypost: {sentence}", err=True))
    try:
        uvloop.run(service.run(lambda run: _banner(service, file, run)))
    except opening.CannotStart as error:
        typer.echo(f"waypost: {error}", err=True)
        raise typer.Exit(1) from error
    _drop_unread_output()


def _drop_unread_output() -> None:
    """Drop output that has no reader: Python would flush it at its exit, fail, and end with exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _with_its_file(ctx: typer.Context, config: str, error: BadSetting) -> BadSetting:
    """The same, with the name of the settings file if that is where the setting is from."""
    option, _, _ = str(error).partition(" ")
    name = option.removeprefix("--").replace("-", "_")
    source = ctx.get_parameter_source(name)
    return BadSetting(f"{config}: `{name}`: {error}") if source and source.name == "DEFAULT_MAP" else error


def _spoken(settings: Settings) -> str:
    if not settings.tls_certificate:
        return "SMTP"
    return "SMTP, over STARTTLS alone" if settings.tls_required == "yes" else "SMTP, STARTTLS"


def _also(run: "Run") -> str:
    """The other addresses for mail, if any."""
    smtps = f"  mail, TLS    {run.smtps}   (SMTP over TLS from the beginning)\n" if run.smtps else ""
    lmtp = f"  mail, LMTP   {run.lmtp}   (from a mail server of yours)\n" if run.lmtp else ""
    return smtps + lmtp


def _from_file(service: "Service", file: "SettingsFile") -> str:
    """What the settings file says, if there is one."""
    settings = service.settings
    faulty = sum(1 for route in file.routes if route.fault)
    said = ", ".join(
        [
            _count(len(file.routes), "route") + (f" ({faulty} with a fault on purpose)" if faulty else ""),
            _count(len(file.retention), "rule") + " of retention",
        ]
    )
    read = f"  settings     {settings.config}: {said}\n" if settings.config else ""
    moved = "  clock        VIRTUAL: moved on by POST /_waypost/clock/advance\n" if settings.has_virtual_clock else ""
    return read + moved


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what if number == 1 else what + 's'}"


def _banner(service: "Service", file: "SettingsFile", run: "Run") -> None:
    """Say where everything is, for the person who started it."""
    directory = service.directory
    typer.echo(
        f"Waypost {waypost.__version__} is ready.\n"
        f"  API          http://{run.http}   (Amazon Connect; signatures and policies are enforced)\n"
        f"  limits       {service.settings.limits}   ({service.settings.limits_profile.in_words})\n"
        f"  mail         {run.smtp}   ({_spoken(service.settings)}; only for email addresses that exist)\n"
        f"{_also(run)}"
        f"  instance     {service.instance_id}\n"
        f"  access key   in {directory.credentials}\n"
        f"  data         {service.where}\n"
        f"{_from_file(service, file)}"
        f'Point your tools at it:  eval "$(waypost env --data {shlex.quote(str(directory.path))})"\n'
        "Ctrl-C stops it."
    )
