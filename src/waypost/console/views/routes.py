"""The pages that list, add, move, remove and test routes."""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace
from starlette.responses import Response

from waypost.app.mail import explain, routes
from waypost.console.views import explaining
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.iam.actions import CHANGE_ROUTES
from waypost.domain.mail import route_options
from waypost.domain.mail.routes import INBOX, Fault, LineEnds, Route, Tls, checked, shown, without_secret

DEFAULTS = {"match": "", "to": "", "tls": Tls.OPPORTUNISTIC.value, "connections": "10", "rewrite_sender": "on"}
"""The values of an empty form for a new route."""

_Choice = TypeVar("_Choice", bound=StrEnum)


class Row(Struct, frozen=True):
    """A route as the page shows it."""

    number: int | None
    """The number with which the route can be changed; None for a route from the settings file."""
    name: str
    """The name of the route in the log, with which a form refers to it."""
    match: str
    to: str
    """The target, without secrets."""
    options: list[str]
    fault: str


class Course(Struct, frozen=True):
    """What would happen to one delivery, as the page shows it."""

    address: str
    via: str
    route: Row | None
    """The matching route; None if no route matches, so that the inbox keeps the mail."""
    destination: str
    """The destination without its secrets; empty if only the inbox keeps the mail."""
    in_inbox: bool


async def show(visit: Visit) -> Response:
    """Show all routes in their order and, with `address` in the query, what would happen to mail for this address."""
    tested = visit.query.get("address", "").strip()
    found = await explaining.explanation(visit, explain.Asked(addresses.parse_typed(tested))) if tested else None
    return await _page(visit, tested=tested, found=found)


async def add(visit: Visit) -> Response:
    """Add a route, after a check that its target can be reached. If this fails, show the form again, without the
    secret.
    """
    form = visit.form
    try:
        route = checked(_route(form))
        before = _number(form["before"]) if form.get("before") else None
        problem = "" if form.get("unchecked") else await visit.parts.problem_of(route)
        if not problem:
            file_routes = visit.parts.deployment.routes
            number = await visit.write(partial(routes.add_route, route=route, before=before, file_routes=file_routes))
            return visit.redirect("/routes", notice=f"Route {number} for {route.match} was added.")
    except (errors.Invalid, errors.Conflict, errors.NotFound) as error:
        return await _page(visit, form=form, sentence=f"{error.message.removesuffix('.')}.", status=400)
    return await _page(visit, form=form, sentence=problem, is_unreachable=True, status=400)


async def move(visit: Visit) -> Response:
    """Move a route up or down by one place."""
    number = _number(visit.form.get("number", ""))
    to = number + (1 if visit.form.get("way") == "down" else -1)
    moved = await visit.write(partial(routes.move_route, number=number, to=to, expected=visit.form.get("name", "")))
    return visit.redirect("/routes", notice=f"The route for {moved.match} has number {to} now.")


async def ask(visit: Visit) -> Response:
    """Say what the removal of a route does, and ask for a confirmation."""
    number, name = _number(visit.query.get("number", "")), visit.query.get("name", "")
    stored = await visit.long_read(routes.list_routes, what="the routes")
    if not 1 <= number <= len(stored) or stored[number - 1].log_name != name:
        raise errors.NotFound(f"There is no such route {number}. Look at the list again.")
    return visit.page("remove_route.html", row=_row(stored[number - 1], number))


async def remove(visit: Visit) -> Response:
    """Remove a route."""
    number = _number(visit.form.get("number", ""))
    removed = await visit.write(partial(routes.remove_route, number=number, expected=visit.form.get("name", "")))
    return visit.redirect("/routes", notice=f"The route for {removed.match} was removed.")


async def _page(
    visit: Visit,
    *,
    tested: str = "",
    found: explain.Explanation | None = None,
    form: Mapping[str, str] | None = None,
    sentence: str = "",
    is_unreachable: bool = False,
    status: int = 200,
) -> Response:
    """Return the page. `form` has the fields of a form that was refused, and `sentence` says why."""
    stored = await visit.long_read(routes.list_routes, what="the routes")
    rows = [_row(route, None) for route in visit.parts.deployment.routes]
    rows += [_row(route, number) for number, route in enumerate(stored, 1)]
    return visit.page(
        "routes.html",
        status=status,
        rows=rows,
        stored=len(stored),
        has_catch_all=any(row.match == "*" for row in rows),
        may_change=visit.allows(CHANGE_ROUTES),
        tested=tested,
        found=found,
        courses=_courses(found) if found else [],
        form={name: value for name, value in (form or DEFAULTS).items() if name != "secret"},
        sentence=sentence,
        is_unreachable=is_unreachable,
        tls_modes=list(Tls),
        faults=list(Fault),
        line_ends=list(LineEnds),
    )


def _row(route: Route, number: int | None) -> Row:
    open_to_all = without_secret(route)
    words = route_options.in_words({**open_to_all, "fault": None})
    return Row(number, route.log_name, route.match, open_to_all["to"], words, open_to_all["fault"] or "")


def _courses(found: explain.Explanation) -> list[Course]:
    return [
        Course(
            address=course.destination.email_address.address.text,
            via=course.destination.alias.address.text if course.destination.alias else "",
            route=_row(course.destination.route, course.route_number) if course.is_routed else None,
            destination=shown(course.leads_to),
            in_inbox=course.destination.route.keep,
        )
        for course in found.courses
    ]


def _route(form: Mapping[str, str]) -> Route:
    """Return the route that a form describes. Raises `errors.Invalid`."""
    route = Route(match=form.get("match", "").strip(), to=form.get("to", "").strip(), keep="keep" in form)
    if route.to == INBOX:
        return route  # none of the options is for the inbox
    secret = form.get("secret", "")
    if re.search(r"[\x00-\x1f\x7f]", secret):
        raise errors.Invalid("The secret must be one line of text.")
    return replace(
        route,
        tls=_choice(Tls, form.get("tls") or Tls.OPPORTUNISTIC, "TLS"),
        user=form.get("user", "").strip(),
        secret=secret,
        rewrite_sender="rewrite_sender" in form,
        allow_private="allow_private" in form,
        connections=_number(form.get("connections") or "10"),
        line_ends=_choice(LineEnds, form.get("line_ends") or LineEnds.LF, "The line endings"),
        fault=_choice(Fault, form["fault"], "The fault") if form.get("fault") else None,
    )


def _choice(choices: type[_Choice], text: str, name: str) -> _Choice:
    try:
        return choices(text)
    except ValueError as error:
        raise errors.Invalid(f"{name} must be one of {', '.join(choices)}, not {text!a}.") from error


def _number(text: str) -> int:
    """Return the number in a field of a form. Raises `errors.Invalid`."""
    if not re.fullmatch("[0-9]{1,6}", text, re.ASCII):
        raise errors.Invalid(f"There must be a number, not {text!a}.")
    return int(text)
