"""The actions on one message: redrive its dead letters, and forward it again."""

from functools import partial

from starlette.responses import Response

from waypost.app import ports
from waypost.app.queue import redrive as queue
from waypost.console.views.mail.selection import id_in, selected
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.domain.mail.delivery import Status


async def redrive(visit: Visit) -> Response:
    """Redrive all dead letters of a message."""
    message_id = id_in(visit.request.path_params)
    now = visit.parts.mail_clock()

    def use_case(tx: ports.WriteTx) -> None:
        dead = [one.id for one in tx.deliveries_of(visit.account, message_id) if one.status is Status.DEAD]
        if not dead:
            raise errors.NotFound(f"Message {message_id} has no dead letter in account {visit.account}.")
        queue.redrive(tx, visit.account, ids=dead, now=now)

    await visit.write(use_case)
    visit.parts.wake()
    return _back(visit, message_id, "redriven")


async def forward(visit: Visit) -> Response:
    """Forward a message again from the aliases that have kept it."""
    message_id = id_in(visit.request.path_params)
    use_case = partial(
        queue.forward_again,
        deployment=visit.parts.deployment,
        account=visit.account,
        message_id=message_id,
        now=visit.parts.mail_clock(),
    )
    to = await visit.write(use_case)
    visit.parts.wake()
    return _back(visit, message_id, "forwarded" if to else "not-forwarded")


def _back(visit: Visit, message_id: str, done: str) -> Response:
    query = selected(visit.query).query
    return visit.redirect(f"/mail/{message_id}{query}{'&' if query else '?'}done={done}")
