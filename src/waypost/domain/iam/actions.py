"""The IAM actions of Waypost itself, for the inspection API and the console.

A policy must allow each of them for the whole account. The actions of the Amazon Connect API are in the API's model.
"""

from datetime import datetime

from waypost.domain.directory.instances import Tenant
from waypost.domain.iam import decisions
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.iam.facts import Circumstances

INSPECT = "waypost:Inspect"
"""Read mail, its routes and the queue."""

REDRIVE = "waypost:Redrive"
"""Redrive dead letters, and forward mail again."""

DELETE_MAIL = "waypost:DeleteMail"
"""Delete mail."""

SEND_TEST_MESSAGE = "waypost:SendTestMessage"
"""Send a test message to an email address of the account."""

LIST_ACCESS_KEYS = "waypost:ListAccessKeys"
"""Read the ids and the policies of the account's access keys."""

ADVANCE_CLOCK = "waypost:AdvanceClock"
"""Advance a virtual clock. The access key must also belong to the server owner's account."""

INJECT_FAULTS = "waypost:InjectFaults"
"""Read, add and remove fault rules. The access key must also belong to the server owner's account."""

RESET = "waypost:Reset"
"""Reset a server for tests. The access key must also belong to the server owner's account."""

LIST_ROUTES = "waypost:ListRoutes"
"""Read all routes. The access key must also belong to the server owner's account, because routes name email addresses
of every account."""

CHANGE_ROUTES = "waypost:ChangeRoutes"
"""Add, move and remove routes. The access key must also belong to the server owner's account."""

READ_SETTINGS = "waypost:ReadSettings"
"""Read the server's settings. The access key must also belong to the server owner's account."""

CHECK_SERVER = "waypost:CheckServer"
"""Check the server, its machine and its database. The access key must also belong to the server owner's account."""


def is_allowed(action: str, key: AccessKey, *, ip: str, is_secure: bool, user_agent: str, now: datetime) -> bool:
    """Return whether the policy of a key allows one of these actions for the whole account. `ip`, `is_secure` (whether
    the request came over TLS) and `user_agent` describe the request.
    """
    circumstances = Circumstances(
        key=key,
        tenant=Tenant(key.account, region=""),  # mail does not belong to a region
        ip=ip,
        is_secure=is_secure,
        user_agent=user_agent,
        now=now,
    )
    decision = decisions.decide_for_all(key.policy, action=action, lookup=circumstances.look_up)
    return decision is decisions.Decision.ALLOWED
