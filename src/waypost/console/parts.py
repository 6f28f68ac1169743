"""The parts of the server that the console needs."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.inspection_schema import CheckServer, Diagnosis
from waypost.app.mail.faults import FaultRules
from waypost.app.mail.wanted import NotesWanted
from waypost.app.rate_limits import FailedSignatures
from waypost.console.calls import Perform
from waypost.domain import errors, representation
from waypost.domain.mail.routes import Route
from waypost.mime.reader import Reader
from waypost.observe import events

PREFIX = "/console"
"""The path under which the console is, on the port of the API."""


class Setting(Struct, frozen=True, kw_only=True):
    """A setting in force, as text."""

    name: str
    option: str
    """The name of the setting on the command line, such as `--http`; empty if only the settings file can have it."""
    value: str
    """The value. A secret value is not here: the text says that it is hidden."""
    is_default: bool
    help: str


class SmtpReply(Struct, frozen=True):
    """The last reply of the SMTP server to a message."""

    code: int
    text: str


Send = Callable[[str, str, bytes], Awaitable[SmtpReply]]
"""Sends a message to one recipient over SMTP to this server. The arguments are the sender, the recipient and the bytes
of the message. Raises `SendFailed`."""


class SendFailed(Exception):
    """This server's SMTP port did not answer. The message is a sentence for people."""


async def _send_nothing(_: str, __: str, ___: bytes) -> SmtpReply:
    raise SendFailed("This server does not receive mail by SMTP.")


async def _check_nothing() -> Diagnosis:
    raise errors.Conflict("This server does not check itself.")


async def _no_problem(_: Route) -> str:
    return ""


class Parts(Struct, frozen=True, kw_only=True):
    """The parts of the server that the console needs. The clock for mail can be virtual; `clock` is the real clock."""

    store: ports.Store
    deployment: Deployment
    failures: FailedSignatures
    clock: ports.Clock
    mail_clock: ports.Clock
    emit: events.Emit
    wake: Callable[[], None]
    """Tells the worker that there are new deliveries to attempt."""
    perform: Perform
    """Runs a call of the Amazon Connect API, with all of its checks."""
    is_full: Callable[[], bool]
    """Returns whether the disk is too full to accept mail."""
    own_names: frozenset[str]
    """The host names, in lower case, that browsers may use in addition to IP addresses and localhost."""
    form_key: bytes
    """The secret key of the CSRF tokens, of receipts, and of the URLs of pictures. It is the same in all processes of a
    deployment.
    """
    is_https_only: bool = False
    """Whether browsers may remember that they can use only HTTPS for the host name of this server."""
    notes: NotesWanted
    """Lets the jobs run that note and index mail, because people see their results."""
    reader: Reader
    """Reads messages in a process of its own."""
    faults: FaultRules
    """The rules by which a server for tests injects faults into incoming mail."""
    refusal_retention: timedelta
    """How long the server keeps the records of refused mail."""
    settings: Callable[[], Sequence[Setting]] = tuple
    """Returns the settings in force."""
    send: Send = _send_nothing
    """Sends a test message."""
    check_server: CheckServer = _check_nothing
    """Runs the checks of `waypost doctor`."""
    problem_of: Callable[[Route], Awaitable[str]] = _no_problem
    """Connects to the target of a route, and returns a sentence with the reason why the route cannot be used now; an
    empty string if it can be used."""

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "form_key")
