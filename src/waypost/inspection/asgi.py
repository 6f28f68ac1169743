"""The inspection API, which shows mail, its traces and explanations, and redrives dead letters.

The API uses JSON over HTTP. Every path except `/_waypost/health`, `/_waypost/ready` and `/_waypost/openapi.json`
requires HTTP Basic authentication with the id and the secret of an access key, and shows only the mail of that key's
account. For each request, the table `operations` names the action that the key's policy must allow.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import instances
from waypost.app.mail import copies, explain, mailbox, searching, trace
from waypost.app.mail.faults import FaultRules
from waypost.app.mail.wanted import NotesWanted
from waypost.app.rate_limits import FailedSignatures
from waypost.domain import errors
from waypost.domain.directory.instances import Tenant
from waypost.domain.mail import mail_search
from waypost.domain.mail.fault_rules import FaultRule
from waypost.domain.mail.mail_filter import MailFilter
from waypost.inspection import answers, guard, openapi, requests
from waypost.inspection.content import ContentPages
from waypost.inspection.counting import CountingPage
from waypost.inspection.deleting import DeletingPages
from waypost.inspection.doctor import DoctorPage
from waypost.inspection.faults import FaultPages
from waypost.inspection.following import FollowingPage
from waypost.inspection.guard import Guard
from waypost.inspection.health import HealthPages
from waypost.inspection.metrics import MetricsPage, Rendered
from waypost.inspection.operations import OPERATIONS, Operation
from waypost.inspection.queue import QueuePages
from waypost.inspection.resetting import Reset, ResettingPage
from waypost.inspection.routing import RoutePages
from waypost.mime.reader import Reader
from waypost.net.feeds import Feeds
from waypost.observe import events
from waypost.observe.incidents import Incidents

T = TypeVar("T")

PREFIX = "/_waypost"


def application(
    store: ports.Store,
    *,
    deployment: Deployment,
    failures: FailedSignatures,
    clock: ports.Clock,
    mail_clock: ports.Clock,
    emit: events.Emit,
    wake: Callable[[], None],
    is_queue_held: bool = False,
    advance: Callable[[timedelta], Awaitable[datetime]] | None,
    reset: Reset | None = None,
    refusal_retention: timedelta,
    own_names: frozenset[str] = frozenset(),
    is_full: Callable[[], bool] = lambda: False,
    metrics: Rendered,
    check_server: schema.CheckServer,
    reader: Reader,
    feeds: Feeds[bytes],
    notes: NotesWanted,
    faults: FaultRules,
    read_fault: Callable[[Mapping[str, Any]], FaultRule],
) -> Starlette:
    """Return the inspection API as an ASGI application.

    `own_names` are the host names, in lower case, that clients may use in addition to IP addresses and localhost.
    `clock` is the clock for access keys, and `mail_clock` is the clock for mail. `wake` tells the worker that there are
    new deliveries to attempt. `is_queue_held` is whether this server attempts no deliveries. `advance` advances the
    mail clock; it is None if mail uses the real time. `reset` forgets everything; it is None if the server is not for
    tests. `is_full` returns whether the disk has too little space to accept mail. `metrics` returns the text of the
    metrics. `check_server` runs the checks of `waypost doctor`. `reader` reads the content of messages, and `feeds` are
    the changes to the mail of each account (`following.feeds`). `notes` lets the jobs run that note and index mail.
    `faults` are the fault rules, and `read_fault` returns the rule that a request describes.
    """
    keeper = Guard(store, failures=failures, clock=clock, emit=emit, own_names=own_names)
    pages = _Pages(
        store,
        deployment,
        mail_clock,
        refusal_retention,
        notes,
        incidents=keeper.incidents,
        is_full=is_full,
        faults=faults,
    )
    found: Sequence[object] = (
        pages,
        HealthPages(store),
        MetricsPage(metrics, owner=deployment.owner),
        DoctorPage(check_server, owner=deployment.owner),
        QueuePages(store, deployment, mail_clock, wake, advance, is_held=is_queue_held, emit=emit),
        ContentPages(store, reader, PREFIX),
        DeletingPages(store, mail_clock),
        ResettingPage(deployment, reset),
        RoutePages(store, deployment),
        CountingPage(store, deployment, mail_clock, notes=notes),
        FollowingPage(feeds, store, notes, mail_clock),
        FaultPages(faults, read_fault, owner=deployment.owner),
    )
    routes = [
        Route(operation.path, _page(keeper, operation, found, deployment.owner), methods=[operation.method])
        for operation in OPERATIONS
    ]
    handlers: dict[Any, Any] = {HTTPException: guard.http_error}
    # There are no redirects, because they would contain the host name from the Host header, which is not trustworthy.
    router = Router(routes=routes, redirect_slashes=False, default=_not_found(routes))
    return Starlette(routes=[Mount(PREFIX, app=router)], exception_handlers=handlers)


def _page(keeper: Guard, operation: Operation, found: Sequence[object], owner: str) -> guard.OpenPage:
    """Return the page that answers a request, with the checks that the request needs. `owner` is the account that owns
    the server.
    """
    page = next(getattr(each, operation.name) for each in found if hasattr(each, operation.name))
    if operation.action is None:
        return keeper.open(page)
    return keeper.page(page, operation.action, local_account=owner if operation.is_open_to_local else None)


def _not_found(routes: Sequence[Route]) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the handler for unknown paths, which responds with 404 and a list of the paths of this API."""
    pages = [
        f"{method} {PREFIX}{route.path}"
        for route in routes
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    message = f"This path does not exist. The paths of this API are {', '.join(pages)}."

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await guard.refusal(404, message)(scope, receive, send)

    return answer


class _Pages:
    """The read-only pages. Most pages are methods with two arguments: the request, and the account of its access
    key.
    """

    def __init__(
        self,
        store: ports.Store,
        deployment: Deployment,
        clock: ports.Clock,
        refusal_retention: timedelta,
        notes: NotesWanted,
        *,
        incidents: Incidents,
        is_full: Callable[[], bool],
        faults: FaultRules,
    ) -> None:
        self._store = store
        self._deployment = deployment
        self._clock = clock
        self._refusal_retention = refusal_retention
        self._notes = notes
        self._incidents = incidents
        self._is_full = is_full
        self._faults = faults

    async def openapi(self, _: Request) -> Response:
        """Respond with the OpenAPI description of this API. This page needs no credentials."""
        return JSONResponse(openapi.description(PREFIX))

    async def instance(self, request: Request, account: str) -> Response:
        """Respond with the id of the account's oldest instance in a region, for tools that need an instance."""
        tenant = Tenant(account, request.query_params.get("region", ""))
        oldest = await self._long_read(account, partial(instances.oldest, tenant=tenant), "the instances", guard.AGAIN)
        return JSONResponse(schema.OldestInstance(id=oldest.id if oldest else None))

    async def messages(self, request: Request, account: str) -> Response:
        """Respond with the deliveries in the inbox of an address, or with all deliveries of the account, newest first.
        With `reason` or `status`, the list has all matching deliveries, whether or not an inbox keeps them.
        """
        query = request.query_params
        address = requests.some_address(query)
        given: dict[str, Any] = {"account": account, "after": requests.after(query), "limit": requests.limit(query)}
        filters = requests.filters(query, address)
        if address and filters == MailFilter(address_key=address.key):
            page = partial(trace.inbox, address=address, **given)
        else:
            page = partial(mailbox.page, filters=filters, **given)
        found = await self._long_read(account, page, "the deliveries", guard.FEWER)
        listed = [answers.delivery(delivery, message) for delivery, message in found]
        return JSONResponse(schema.Messages(messages=listed))

    async def refusals(self, request: Request, account: str) -> Response:
        """Respond with the refusals of mail for the account, newest first."""
        query = request.query_params
        page = partial(
            mailbox.refusals,
            account=account,
            servers_owner=self._deployment.owner,
            since=self._clock() - self._refusal_retention,
            after=requests.text(query, "after"),
            limit=requests.limit(query),
        )
        found = await self._long_read(account, page, "the refusals", guard.FEWER)
        return JSONResponse(
            schema.Refusals(refusals=[answers.refusal(refusal) for refusal in found.refusals], next=found.next)
        )

    async def message(self, request: Request, account: str) -> Response:
        """Respond with a message, its deliveries and its trace."""
        message_id = request.path_params["id"]
        use_case = partial(trace.message_details, account=account, message_id=message_id)
        found = await self._long_read(account, use_case, "the trace of the message", guard.AGAIN)
        return JSONResponse(answers.details(found))

    async def raw(self, request: Request, account: str) -> Response:
        """Respond with the exact bytes of a message, as they were (or would have been) delivered to an address."""
        message_id = request.path_params["id"]
        address = requests.address(request.query_params)

        def beginning(tx: ports.ReadTx) -> tuple[trace.Copy, bytes]:
            copy = trace.copy(tx, account, message_id, address)
            return copy, tx.octets(message_id, start=0, limit=copies.PART)

        # One transaction reads both, so a message that fits into one part is read completely or not at all.
        copy, first = await self._long_read(account, beginning, "the message", guard.AGAIN)
        if copy.size and not first:
            raise errors.NotFound(f"Message {message_id} was delivered over its routes, and no copy of it was kept.")
        if len(first) < min(copies.PART, copy.size):
            raise errors.NotFound(f"Message {message_id} is being deleted.")
        headers = {
            "content-disposition": "attachment",
            "content-length": str(len(copy.trace_header) + copy.size),
        }
        parts = copies.parts(self._store, account, copy, first)
        sent = self._incidents.while_sending(parts, where="inspection", unless=copies.Gone)
        return StreamingResponse(sent, media_type="message/rfc822", headers=headers)

    async def search(self, request: Request, account: str) -> Response:
        """Respond with the mail, or the refusals, that match a query."""
        self._notes.renew_searches()
        query = request.query_params
        found = mail_search.parse(requests.text(query, "q") or "")
        page = partial(
            searching.search,
            account=account,
            query=found,
            servers_owner=self._deployment.owner,
            refused_since=self._clock() - self._refusal_retention,
            after=requests.text(query, "after"),
            limit=requests.limit(query),
        )
        results = await self._long_read(account, page, "the results of the search", f"Add words. {guard.FEWER}")
        return JSONResponse(answers.results(results))

    async def traced(self, request: Request, account: str) -> Response:
        """Respond with the traces and refusals of one message, or of the mail for an address."""
        what = requests.text(request.query_params, "what")
        if what is None:
            raise errors.Invalid("Give a message id, a Message-ID or an email address as the query parameter `what`.")
        limit = requests.limit(request.query_params)
        since = self._clock() - self._refusal_retention
        use_case = partial(
            trace.find,
            account=account,
            what=what,
            servers_owner=self._deployment.owner,
            since=since,
            limit=limit,
            subaddressed=self._deployment.subaddressed,
        )
        instead = f"Request the trace of a single message by its id. {guard.FEWER}"
        found = await self._long_read(account, use_case, "the traces", instead)
        return JSONResponse(
            schema.Traced(
                messages=[answers.details(message) for message in found.messages],
                refusals=[answers.refusal(refusal) for refusal in found.refusals],
            )
        )

    async def explained(self, request: Request, account: str) -> Response:
        """Respond with an explanation of what would happen to mail for an address, or to the message in the request."""
        question = explain.Asked(
            address=requests.address(request.query_params),
            sender=requests.sender(request.query_params),
            header=await requests.header_in_body(request) if request.method == "POST" else None,
        )
        use_case = partial(
            explain.explain,
            deployment=self._deployment,
            account=account,
            asked=question,
            now=self._clock(),
            faults=self._faults,
        )
        found = await self._long_read(account, use_case, "the explanation", guard.AGAIN)
        if self._is_full():
            found = explain.without_room(found)
        return JSONResponse(answers.explanation(found))

    async def _long_read(self, account: str, use_case: Callable[[ports.ReadTx], T], what: str, instead: str) -> T:
        return await guard.long_read(self._store, use_case, account=account, what=what, instead=instead)
