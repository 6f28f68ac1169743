"""Deletes a message, after a page that says what happens."""

from functools import partial

from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import deleting, reading
from waypost.console.views.mail.rows import ways_of
from waypost.console.views.mail.selection import id_in, selected
from waypost.console.visits import Visit
from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.messages import Message


async def ask(visit: Visit) -> Response:
    """Show what the deletion of a message would delete."""
    selection = selected(visit.query)
    message_id = id_in(visit.request.path_params)
    message, deliveries = await visit.long_read(
        partial(_found, account=visit.account, message_id=message_id), what="the message"
    )
    return visit.page(
        "delete_message.html",
        message=message,
        ways=ways_of(deliveries),
        count=len(deliveries),
        queued=[one for one in deliveries if one.status is Status.QUEUED],
        dead=sum(1 for one in deliveries if one.status is Status.DEAD),
        selection=selection,
    )


async def delete(visit: Visit) -> Response:
    """Delete all deliveries of a message to the account."""
    message_id = id_in(visit.request.path_params)
    await deleting.delete(
        visit.parts.store,
        visit.account,
        [message_id],
        cancel=visit.form.get("cancel") == "yes",
        clock=visit.parts.mail_clock,
    )
    query = selected(visit.query).query
    return visit.redirect(f"/mail{query}{'&' if query else '?'}done=deleted")


def _found(tx: ports.ReadTx, *, account: str, message_id: str) -> tuple[Message, list[Delivery]]:
    return reading.find(tx, account, message_id), tx.deliveries_of(account, message_id)
