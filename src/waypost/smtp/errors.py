"""Domain errors as replies, in one table. What is not in the table is our fault, and temporary.

If in doubt, the mail is still the sender's: an unexpected error never makes it bounce, and its text never
leaves the house.
"""

from waypost.domain import errors
from waypost.smtp import replies
from waypost.smtp.replies import Reply

_REPLIES: dict[type[errors.WaypostError], Reply] = {
    errors.UnknownRecipient: replies.NO_SUCH_USER,
    errors.RecipientsChanged: replies.RECIPIENTS_CHANGED,
    errors.MailLoop: replies.MAIL_LOOP,
}


def reply(error: BaseException, incident_id: str) -> Reply:
    """The reply for an error; for one we did not expect, `451 4.3.0` with the id to look for in our log."""
    if isinstance(error, errors.WaypostError) and type(error) in _REPLIES:
        return _REPLIES[type(error)].about(reason=error.message)
    return replies.TRY_AGAIN.about(id=incident_id)
