"""Makes the console when a browser first asks for one of its pages.

Until then, the server needs neither the memory nor the start time of the console, its templates and Jinja2.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from waypost.api.application import Api
from waypost.api.errors import ApiError
from waypost.api.operations.calls import Source
from waypost.app.rate_limits import FailedSignatures
from waypost.config.settings import ROWS, Settings
from waypost.config.types import Endpoint
from waypost.domain import durations
from waypost.domain.limits.rates import Limits
from waypost.domain.mail import routes
from waypost.host.clock import now
from waypost.host.directory_files import DataDirectoryError
from waypost.mime.reader import Reader
from waypost.server import routes_check
from waypost.server.assembly.common import Common
from waypost.server.opening import Refused

if TYPE_CHECKING:
    from waypost.app.inspection_schema import CheckServer
    from waypost.console.calls import Call, Caller, Perform
    from waypost.console.parts import Setting

PREFIX = "/console/"
"""The paths of the console. `waypost.console.parts` has the prefix too, but it must not be imported at the start."""

LANDINGS = frozenset({"/", PREFIX.removesuffix("/")})
"""The paths that send a browser to the console. Programs reach the API there."""


class Console:
    """The console as an ASGI application, which is made at the first request."""

    def __init__(
        self,
        common: Common,
        reader: Reader,
        *,
        api: Api,
        failures: FailedSignatures,
        wake: Callable[[], None],
        check_server: "CheckServer",
    ) -> None:
        self._make = partial(
            _application,
            common,
            perform=_calls_of(api),
            failures=failures,
            wake=wake,
            reader=reader,
            check_server=check_server,
            in_force=lambda: settings_in_force(self._settings),
        )
        self._settings: Settings = common.settings
        common.when_reloaded(self._use)
        self._made: ASGIApp | None = None
        self._making = asyncio.Lock()

    def _use(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. The first request waits until a thread has imported the modules of the console, so that
        the event loop continues to answer calls and mail.
        """
        if scope["path"] in LANDINGS:
            # A relative URL: the host name in the Host field is not trustworthy.
            headers = {"cache-control": "no-store", "vary": "accept"}
            await RedirectResponse(PREFIX, status_code=302, headers=headers)(scope, receive, send)
            return
        if self._made is None:
            async with self._making:
                if self._made is None:
                    self._made = await asyncio.to_thread(self._make)
        await self._made(scope, receive, send)


def _calls_of(api: Api) -> "Perform":
    """Return the function with which the console runs calls of the API."""

    async def perform(call: "Call", caller: "Caller") -> Mapping[str, Any]:
        try:
            return await api.perform(
                call.operation,
                call.members,
                key=caller.key,
                region=call.region,
                source=Source(caller.ip, caller.is_secure),
                agent=caller.user_agent,
            )
        except ApiError as error:
            from waypost.console import calls  # noqa: PLC0415 - as below

            raise calls.Refused(error.code, error.status, error.message) from error

    return perform


def _application(
    common: Common,
    *,
    perform: "Perform",
    failures: FailedSignatures,
    wake: Callable[[], None],
    reader: Reader,
    check_server: "CheckServer",
    in_force: "Callable[[], Sequence[Setting]]",
) -> ASGIApp:
    from waypost.console import asgi  # noqa: PLC0415 - only when a browser asks for the console
    from waypost.console.parts import Parts  # noqa: PLC0415
    from waypost.server import own_smtp  # noqa: PLC0415

    settings = common.settings
    return asgi.application(
        Parts(
            store=common.store,
            deployment=common.deployment,
            failures=failures,
            clock=now,
            mail_clock=common.mail_clock,
            emit=common.emit,
            wake=wake,
            perform=perform,
            is_full=common.disk_guard.is_full,
            own_names=settings.own_http_names,
            is_https_only=settings.is_https_only,
            form_key=common.directory.master_keys.derived("console forms"),
            reader=reader,
            notes=common.notes,
            faults=common.faults,
            refusal_retention=settings.trace_refusals,
            settings=in_force,
            send=partial(own_smtp.send, common.directory),
            check_server=check_server,
            problem_of=partial(_problem_of, common),
        )
    )


async def _problem_of(common: Common, route: routes.Route) -> str:
    """Return why a route cannot be used now, as a sentence; an empty string if it can be used."""
    try:
        server = routes_check.OurServer.running(await asyncio.to_thread(common.directory.running))
    except DataDirectoryError:  # the server is still starting
        server = routes_check.OurServer.of(common.settings)
    try:
        await routes_check.check(route, server)
    except Refused as error:
        return f"{str(error).removesuffix('.')}."
    return ""


def settings_in_force(settings: Settings) -> "Sequence[Setting]":
    """Return the settings as text, for people. Secret values are replaced."""
    from waypost.console.parts import Setting  # noqa: PLC0415 - as above

    standard = Settings()
    found = [
        Setting(
            name=name,
            option=row.option,
            value=_hidden(value) if row.is_secret else _written(value),
            is_default=value == getattr(standard, name),
            help=row.help,
        )
        for name, row in ROWS.items()
        for value in [getattr(settings, name)]
    ]
    of_delivery = [
        Setting(
            name=f"delivery.{each.name}",
            option="",
            value=_written(value),
            is_default=value == getattr(standard.delivery, each.name),
            help=each.metadata["key"].text if "key" in each.metadata else "",
        )
        for each in fields(settings.delivery)
        for value in [getattr(settings.delivery, each.name)]
    ]
    return found + of_delivery


def _hidden(value: object) -> str:
    return "(hidden)" if value else ""


def _written(value: Any) -> str:
    """Return the value of a setting in the form of the command line."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return durations.written(value)
        case routes.Route():
            return routes.shown(value.to)  # without its secrets
        case Limits():
            return value.name
        case StrEnum():
            return value.value
        case Endpoint() | str() | int() | float():
            return str(value)
        case tuple():
            return ", ".join(map(_written, value))
        case frozenset():
            return ", ".join(sorted(map(_written, value)))
    return str(value)
