"""A kit for tests of other software: a real Waypost server, and everything that a test does with it.

    with waypost.testing.Waypost() as waypost:
        support = waypost.address("support")
        waypost.send(to=support, subject="Hello")
        assert waypost.wait_for(to=support).subject == "Hello"

The pytest plugin has a fixture `waypost`; `WaypostMixin` is for `unittest`, `mock_connect_email` for tests of code that
uses boto3, and `WaypostContainer` for Testcontainers. Each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waypost.client.connect import CallFailed
    from waypost.client.http import NoServer, ServerRefused
    from waypost.testing.cases import WaypostMixin
    from waypost.testing.containers import WaypostContainer
    from waypost.testing.kit import Waypost
    from waypost.testing.mail import Attachment, Mail, Trace, TraceEvent
    from waypost.testing.mocking import ConnectEmailMock, mock_connect_email
    from waypost.testing.process import Server, ServerDied, server
    from waypost.testing.resources import AddedFaultRule, AddedRoute, AliasLink, DeadLetter, EmailAddress, MailClock
    from waypost.testing.sending import Sent
    from waypost.testing.waiting import NoSuchMail

__all__ = [
    "AddedFaultRule",
    "AddedRoute",
    "AliasLink",
    "Attachment",
    "CallFailed",
    "ConnectEmailMock",
    "DeadLetter",
    "EmailAddress",
    "Mail",
    "MailClock",
    "NoServer",
    "NoSuchMail",
    "Sent",
    "Server",
    "ServerDied",
    "ServerRefused",
    "Trace",
    "TraceEvent",
    "Waypost",
    "WaypostContainer",
    "WaypostMixin",
    "mock_connect_email",
    "server",
]

_MODULES = {
    "client.connect": ("CallFailed",),
    "client.http": ("NoServer", "ServerRefused"),
    "testing.cases": ("WaypostMixin",),
    "testing.containers": ("WaypostContainer",),
    "testing.kit": ("Waypost",),
    "testing.mail": ("Attachment", "Mail", "Trace", "TraceEvent"),
    "testing.mocking": ("ConnectEmailMock", "mock_connect_email"),
    "testing.process": ("Server", "ServerDied", "server"),
    "testing.resources": ("AddedFaultRule", "AddedRoute", "AliasLink", "DeadLetter", "EmailAddress", "MailClock"),
    "testing.sending": ("Sent",),
    "testing.waiting": ("NoSuchMail",),
}
_HOMES = {name: f"waypost.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load the module that has a name, when the name is first used (PEP 562)."""
    import importlib  # noqa: PLC0415 - pytest imports this package in every run, also where nobody uses it

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
