"""The banner of `waypost serve`, which shows the server's addresses and files to the operator."""

import shlex

import waypost
from waypost.cli.ready import Started
from waypost.config.settings import Clock, Role, Settings
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run


def text(settings: Settings, started: Started) -> str:
    """Return the banner, without the line end at its end."""
    run, directory = started.run, started.directory
    return (
        f"Waypost {waypost.__version__} is ready.\n"
        f"{_roles_line(settings)}"
        f"{_api_line(run)}"
        f"{_console_line(started.console_link)}"
        f"  limits       {settings.limits.name}   ({settings.limits.in_words})\n"
        f"{mail_lines(settings, run) if run.smtp else ''}"
        f"  instance     {started.instance_id}\n"
        f"  access key   in {directory.credentials}\n"
        f"  data         {started.where}\n"
        f"{_workers_line(settings)}"
        f"{_settings_lines(settings)}"
        f"{_env_line(directory) if run.has_api else ''}"
        "Ctrl-C stops the server."
    )


def _protocols(settings: Settings) -> str:
    if not settings.tls_certificate:
        return "SMTP"
    return "SMTP, STARTTLS required" if settings.tls_required else "SMTP, STARTTLS"


def _other_mail_addresses(run: Run) -> str:
    """Return the banner lines that show the SMTPS and LMTP addresses, if there are any."""
    smtps = f"  mail, TLS    {run.smtps}   (SMTP with implicit TLS)\n" if run.smtps else ""
    lmtp = f"  mail, LMTP   {run.lmtp}   (for mail from your own mail server)\n" if run.lmtp else ""
    return smtps + lmtp


def mail_lines(settings: Settings, run: Run) -> str:
    """Return the banner lines that show the mail addresses, the host name, the trusted networks and the sender
    checks.
    """
    trusted = ", ".join(map(str, settings.trusted_networks)) or "no network"
    checked = settings.authentication.value if settings.checks_senders else "off"
    return (
        f"  mail         {run.smtp}   ({_protocols(settings)}; only for email addresses that exist)\n"
        f"{_other_mail_addresses(run)}"
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


def _roles_line(settings: Settings) -> str:
    """Return the banner line that shows the roles, unless the server has all roles."""
    roles = [role for role in Role if role in settings.roles]
    return f"  roles        {', '.join(roles)}\n" if len(roles) < len(Role) else ""


def _api_line(run: Run) -> str:
    """Return the banner lines that show the addresses of the API, if the server has it."""
    return (
        f"  API          http://{run.http}   (Amazon Connect; signatures and policies are enforced)\n"
        if run.http
        else ""
    ) + (f"  API, TLS     {run.https_url}\n" if run.https else "")


def _env_line(directory: DataDirectory) -> str:
    return f'To use this server, run in your shell:  eval "$(waypost env --data {shlex.quote(str(directory.path))})"\n'


def _workers_line(settings: Settings) -> str:
    """Return the banner line that shows the number of worker processes, if there are several."""
    return f"  workers      {settings.workers} processes\n" if settings.workers > 1 else ""


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what if number == 1 else what + 's'}"


def _console_line(url: str) -> str:
    """Return the banner line with the link to the console, if there is one."""
    return f"  console      {url}   (signs in once, within 10 minutes)\n" if url else ""
