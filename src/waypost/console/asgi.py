"""The console as an ASGI application: the table of its views, the sign-in, and its static files."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from waypost.console.guard import Guard, View
from waypost.console.parts import PREFIX, Parts
from waypost.console.rendering import Pages, Static
from waypost.console.sessions import Sessions
from waypost.console.views import (
    address,
    addresses,
    dead_letters,
    doctor,
    flow,
    home,
    keys,
    linking,
    mapping,
    queue,
    replay,
    routes,
    send,
    settings,
    signing_in,
    theme,
)
from waypost.console.views.mail import actions, contents, deletion, events, finding, listing, message
from waypost.console.visits import Visit
from waypost.domain.iam.actions import (
    CHANGE_ROUTES,
    CHECK_SERVER,
    DELETE_MAIL,
    INSPECT,
    LIST_ACCESS_KEYS,
    LIST_ROUTES,
    READ_SETTINGS,
    REDRIVE,
    SEND_TEST_MESSAGE,
)

ADDRESS = "/addresses/{region}/{instance}/{id}"
"""The path of the page of an email address."""

VIEWS = (
    View(path="/", show=home.show),
    View(path="/mail", show=listing.show, action=INSPECT, label="Mail"),
    View(path="/mail/{id}", show=message.show, action=INSPECT),
    View(path="/mail/{id}/html", show=contents.html, action=INSPECT),
    View(path="/mail/{id}/raw", show=contents.raw, action=INSPECT),
    View(path="/mail/{id}/parts/{number}", show=contents.part, action=INSPECT),
    View(path="/mail/{id}/redrive", show=actions.redrive, action=REDRIVE, method="POST"),
    View(path="/mail/{id}/forward", show=actions.forward, action=REDRIVE, method="POST"),
    View(path="/mail/{id}/delete", show=deletion.ask, action=DELETE_MAIL),
    View(path="/mail/{id}/delete", show=deletion.delete, action=DELETE_MAIL, method="POST"),
    # The API checks the policy for each resource of the calls that these views make.
    View(path="/addresses", show=addresses.show, label="Addresses"),
    View(path="/addresses", show=addresses.create, method="POST"),
    View(path=ADDRESS, show=address.show),
    View(path=f"{ADDRESS}/edit", show=address.edit, method="POST"),
    View(path=f"{ADDRESS}/tag", show=address.tag, method="POST"),
    View(path=f"{ADDRESS}/untag", show=address.untag, method="POST"),
    View(path=f"{ADDRESS}/link", show=linking.choose),
    View(path=f"{ADDRESS}/associate", show=address.associate, method="POST"),
    View(path=f"{ADDRESS}/disassociate", show=address.disassociate, method="POST"),
    View(path=f"{ADDRESS}/explain", show=address.explain_message, action=INSPECT, method="POST"),
    *(
        View(path=f"{ADDRESS}/{form}", show=address.back)
        for form in ("edit", "tag", "untag", "associate", "disassociate", "explain")
    ),
    View(path=f"{ADDRESS}/delete", show=address.ask_to_delete),
    View(path=f"{ADDRESS}/delete", show=address.delete, method="POST"),
    View(path="/map", show=mapping.show, action=INSPECT, label="Map"),
    View(path="/flow", show=flow.show, action=INSPECT, label="Flow"),
    View(path="/queue", show=queue.show, action=INSPECT, label="Queue"),
    View(path=dead_letters.LIST, show=dead_letters.show, action=INSPECT),
    View(path=f"{dead_letters.LIST}/redrive", show=dead_letters.ask, action=REDRIVE),
    View(path=f"{dead_letters.LIST}/redrive", show=dead_letters.redrive_chosen, action=REDRIVE, method="POST"),
    View(path=replay.PATH, show=replay.ask, action=REDRIVE),
    View(path=replay.PATH, show=replay.forward, action=REDRIVE, method="POST"),
    View(path="/routes", show=routes.show, action=LIST_ROUTES, of_owner=True, label="Routes"),
    View(path="/routes/add", show=routes.add, action=CHANGE_ROUTES, of_owner=True, method="POST"),
    View(path="/routes/move", show=routes.move, action=CHANGE_ROUTES, of_owner=True, method="POST"),
    View(path="/routes/remove", show=routes.ask, action=CHANGE_ROUTES, of_owner=True),
    View(path="/routes/remove", show=routes.remove, action=CHANGE_ROUTES, of_owner=True, method="POST"),
    View(path="/send", show=send.show, action=SEND_TEST_MESSAGE),
    View(path="/send", show=send.send, action=SEND_TEST_MESSAGE, method="POST"),
    View(path="/keys", show=keys.show, action=LIST_ACCESS_KEYS, label="Keys"),
    View(path="/settings", show=settings.show, action=READ_SETTINGS, of_owner=True),
    View(path="/doctor", show=doctor.show, action=CHECK_SERVER, of_owner=True),
    View(path="/doctor", show=doctor.check, action=CHECK_SERVER, of_owner=True, method="POST"),
)
"""The table of views. The header shows the labels in this order."""

ONLY_A_FORM = "This URL only takes a form. Open the page with the form, and send it again."
"""The answer to a browser that opens the URL to which a page sends a form."""


def application(parts: Parts) -> Starlette:
    """Return the console as an ASGI application, for the paths under `/console/`."""
    static = Static()
    navigation = [(view.label, view.path) for view in VIEWS if view.label]
    pages = Pages(navigation=navigation, operators=finding.OPERATORS, static=static.urls())
    sessions = Sessions(parts)
    guard = Guard(parts, pages, sessions)
    signing = signing_in.SignIn(guard)
    live = View(path="/mail/events", show=events.Events(guard).show, action=INSPECT)
    pictures = contents.Pictures(guard)
    paths = [
        Route(live.path, guard.view(live), methods=[live.method]),
        *(Route(view.path, guard.view(view), methods=[view.method]) for view in VIEWS),
        Route("/mail/{id}/pictures/{number}", guard.open(pictures.show, from_any_page=True), methods=["GET"]),
        Route("/sign-in", guard.open(signing.show), methods=["GET"]),
        Route("/sign-in", guard.open(signing.sign_in), methods=["POST"]),
        Route("/link/{token}", guard.open(signing.sign_in_with_link), methods=["GET"]),
        Route("/sign-out", guard.open(signing.sign_out), methods=["POST"]),
        Route("/theme", guard.open(theme.Theme(guard).change), methods=["POST"]),
        Route("/static/{digest}/{name}", guard.open(_static(static))),
    ]
    handlers: dict[Any, Any] = {HTTPException: _error(guard)}
    # There are no redirects, because they would contain the host name from the Host header, which is not trustworthy.
    router = Router(routes=paths, redirect_slashes=False, default=_not_found(guard))
    return Starlette(routes=[Mount(PREFIX, app=router)], exception_handlers=handlers)


def _static(files: Static) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        found = files.file(request.path_params["digest"], request.path_params["name"])
        if found is None:
            raise HTTPException(404, "This file does not exist. Reload the page.")
        content, kind = found
        # Not with the private pages' `no-store`: a file with a hash in its URL never changes.
        headers = {"cache-control": "public, max-age=31536000, immutable", "content-type": kind}
        return Response(content, headers=headers)

    return answer


def _not_found(guard: Guard) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the handler for unknown paths. A person who has not signed in does not learn which paths there are."""

    async def refuse(_: Visit) -> Response:
        raise HTTPException(404, "This page does not exist.")

    view = guard.view(View(path="", show=refuse))

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await view(Request(scope, receive))
        await response(scope, receive, send)

    return answer


def _error(guard: Guard) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return the handler for the errors of Starlette itself, such as a method that a path does not have."""

    async def answer(request: Request, error: Exception) -> Response:
        refusal = HTTPException(405, ONLY_A_FORM) if getattr(error, "status_code", 0) == 405 else error

        async def refuse(of: Request) -> Response:
            return await guard.refusal(of, refusal)

        return await guard.open(refuse)(request)

    return answer
