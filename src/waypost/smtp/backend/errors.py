"""Maps domain errors to SMTP replies. An error without a mapping is unexpected, and is treated as a temporary internal
failure.

After a temporary failure, the sending server keeps the message and retries, so an unexpected error never makes mail
bounce. The client never sees the text of an unexpected error.
"""

from waypost.domain import errors
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

_REPLIES: dict[type[errors.WaypostError], Reply] = {
    errors.UnknownRecipient: replies.NO_SUCH_USER,
    errors.RecipientsChanged: replies.RECIPIENTS_CHANGED,
    errors.MailLoop: replies.MAIL_LOOP,
}


def refusal(error: Exception) -> Reply | None:
    """Return the SMTP reply for a domain error that the sender must see, or None for an unexpected error."""
    if isinstance(error, errors.WaypostError) and type(error) in _REPLIES:
        return _REPLIES[type(error)].about(reason=error.message)
    return None
