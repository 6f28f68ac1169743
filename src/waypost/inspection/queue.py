"""The pages that show waiting deliveries and dead letters, redrive or replay mail, and show or advance the mail
clock.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.queue import redrive, removing, waiting
from waypost.app.steps import Step, run_steps
from waypost.domain import errors, moments
from waypost.inspection import answers, guard, requests
from waypost.observe import events


class QueuePages:
    """The pages of the inspection API that show and change the queue.

    Each page is a method with two arguments: the request, and the account of its access key.
    """

    def __init__(
        self,
        store: ports.Store,
        deployment: Deployment,
        clock: ports.Clock,
        wake: Callable[[], None],
        advance: Callable[[timedelta], Awaitable[datetime]] | None,
        *,
        is_held: bool,
        emit: events.Emit,
    ) -> None:
        self._store = store
        self._deployment = deployment
        self._clock = clock
        self._wake = wake
        self._advance = advance
        self._is_held = is_held
        self._emit = emit

    async def waiting(self, request: Request, account: str) -> Response:
        """Respond with the waiting deliveries of an account, and their destinations."""
        query = request.query_params
        destination, after = requests.text(query, "destination"), requests.after(query) or ""
        limit = requests.limit(query)

        def page(tx: ports.ReadTx) -> schema.Queue:
            found = waiting.page(tx, account, destination=destination, after=after, limit=limit)
            return {
                "deliveries": [_queue_line(tx, account, line) for line in found.lines],
                "destinations": [answers.destination(one.waiting, one.count) for one in found.destinations],
                "is_held": self._is_held,
            }

        instead = guard.FEWER if destination else f"Name one destination. {guard.FEWER}"
        return JSONResponse(
            await guard.long_read(self._store, page, account=account, what="the queue", instead=instead)
        )

    async def dead_letters(self, request: Request, account: str) -> Response:
        """Respond with the dead letters of an account, in the order in which their messages arrived."""
        query = request.query_params
        use_case = partial(
            redrive.dead_letters,
            account=account,
            address=requests.some_address(query),
            since=requests.moment(query, "since"),
            given_up_before=requests.moment(query, "given_up_before"),
            destination=requests.text(query, "destination"),
            after=requests.after(query) or "",
            limit=requests.limit(query),
        )

        def page(tx: ports.ReadTx) -> list[schema.DeadLetter]:
            return [answers.dead_letter(letter) for letter in use_case(tx)]

        instead = f"Select fewer dead letters with `since` or `address`. {guard.FEWER}"
        found = await guard.long_read(self._store, page, account=account, what="the dead letters", instead=instead)
        return JSONResponse(schema.DeadLetters(dead_letters=found))

    async def redrive(self, request: Request, account: str) -> Response:
        """Redrive dead letters, in many small transactions."""
        body = await requests.json_body(request, members=("ids", "all", "address", "since"))
        ids = requests.ids(body)
        address, since = requests.some_address(body), requests.moment(body, "since")
        if requests.flag(body, "all") is bool(ids):
            raise errors.Invalid(
                'Give either {"ids": […]} or {"all": true}. With "all", the members `address` and `since` are optional.'
            )
        if ids and (address or since):
            raise errors.Invalid("The members `address` and `since` can be used with `all`, but not with `ids`.")

        def step(tx: ports.WriteTx, after: str | None) -> Step[int, str]:
            now = self._clock()
            return redrive.redrive(tx, account, ids=ids, address=address, since=since, after=after or "", now=now)

        count = sum([done async for done in run_steps(self._store.write, step)])
        self._wake()
        return JSONResponse(schema.Redriven(redriven=count))

    async def remove(self, request: Request, account: str) -> Response:
        """Remove dead letters, in many small transactions, or only count those that would be removed."""
        members = ("ids", "all", "address", "since", "given_up_before", "destination", "dry_run")
        body = await requests.json_body(request, members=members)
        address, destination = requests.some_address(body), requests.text(body, "destination")
        since, given_up_before = (requests.moment(body, name) for name in ("since", "given_up_before"))
        ids = requests.ids(body)
        if requests.flag(body, "all") is bool(ids):
            raise errors.Invalid(
                'Give either {"ids": […]} or {"all": true}. With "all", the members `address`, `since`, '
                "`given_up_before` and `destination` are optional."
            )
        if ids and any((address, destination, since, given_up_before)):
            raise errors.Invalid("The members that select dead letters can be used with `all`, but not with `ids`.")
        selection = removing.Selection(
            ids=ids, address=address, since=since, given_up_before=given_up_before, destination=destination
        )
        if requests.flag(body, "dry_run"):
            count = await removing.count(self._store, account, selection)
        else:
            count = await removing.remove(self._store, account, selection, clock=self._clock)
            if count:
                self._emit(events.DeadLettersRemoved(count=count, reason="request"))
        return JSONResponse(schema.Removed(removed=count))

    async def replay(self, request: Request, account: str) -> Response:
        """Forward the mail that an alias has received since a given time to the alias's primary, in many small
        transactions.
        """
        body = await requests.json_body(request, members=("address", "since"))
        alias, since = requests.address(body), requests.moment(body, "since")
        if since is None:
            raise errors.Invalid("The member `since` is required, and must be a time such as 2026-11-22T23:14:05Z.")
        deployment, clock = self._deployment, self._clock

        def step(tx: ports.WriteTx, before: str | None) -> Step[int, str]:
            return redrive.replay(tx, deployment, account, alias, since=since, before=before, now=clock())

        count = sum([done async for done in run_steps(self._store.write, step)])
        self._wake()
        return JSONResponse(schema.Replayed(forwarded=count))

    async def clock(self, _: Request, __: str) -> Response:
        """Respond with the time of the mail clock."""
        return JSONResponse(schema.Clock(now=moments.iso8601(self._clock()), is_virtual=self._advance is not None))

    async def advance(self, request: Request, account: str) -> Response:
        """Advance the virtual clock, and respond after all deliveries that have become due have been attempted.

        Only the server's owner may advance the clock, because the clock applies to the mail of every account.
        """
        because = "the clock applies to the mail of every account"
        guard.refuse_others(self._deployment.owner, account, "advance the clock", because)
        by = requests.step(await requests.json_body(request, members=("by",)))
        if self._advance is None:
            raise errors.Conflict(
                "This server uses the real time. To use a clock that you can advance, add --clock virtual."
            )
        return JSONResponse(schema.Advanced(now=moments.iso8601(await self._advance(by))))


def _queue_line(tx: ports.ReadTx, account: str, line: ports.QueueLine) -> schema.QueueLine:
    """Return the JSON object for a waiting delivery, with details of its message."""
    return answers.queue_line(line, tx.message(account, line.delivery.message_id))
