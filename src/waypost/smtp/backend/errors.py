"""Domain errors as replies, in one table. Any other error is internal, and temporary.

If in doubt, the mail is still the sender's: an unexpected error never makes it bounce, and its text never
leaves the backend.
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
    """The reply for an error that the sender must learn, or None for an unexpected error."""
    if isinstance(error, errors.WaypostError) and type(error) in _REPLIES:
        return _REPLIES[type(error)].about(reason=error.message)
    return None
