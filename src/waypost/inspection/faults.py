"""The pages that list, add and remove fault rules, by which a server for tests injects faults into incoming mail."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app.mail.faults import ActiveRule, FaultRules
from waypost.domain import durations, errors
from waypost.domain.mail.fault_rules import FaultRule
from waypost.inspection import guard, requests

MEMBERS = ("stage", "action", "sender", "recipient", "source", "larger_than", "probability", "times", "delay", "reply")
"""The members of a rule in a request: the same as the keys of a `[[fault]]` table."""


class FaultPages:
    """The pages about fault rules. Each page is a method with two arguments: the request, and the account of its access
    key.

    Only the server's owner may use them, because a fault rule applies to the mail of every account.
    """

    def __init__(self, faults: FaultRules, read: Callable[[Mapping[str, Any]], FaultRule], *, owner: str) -> None:
        """`read` returns the rule that a request describes, or raises `errors.Invalid`. `owner` is the account that
        owns the server.
        """
        self._faults = faults
        self._read = read
        self._owner = owner

    async def faults(self, _: Request, account: str) -> Response:
        """Respond with all fault rules, in the order in which they are tried."""
        self._check(account)
        return JSONResponse(schema.Faults(faults=[_shown(active) for active in self._faults.active]))

    async def add_fault(self, request: Request, account: str) -> Response:
        """Add a fault rule before the others. Respond with its id."""
        self._check(account)
        body = await requests.json_body(request, members=MEMBERS)
        return JSONResponse(schema.FaultAdded(id=self._faults.add(self._read(body)).id))

    async def remove_fault(self, request: Request, account: str) -> Response:
        """Remove a fault rule that was added by a request."""
        self._check(account)
        self._faults.remove(request.path_params["id"])
        return JSONResponse(schema.FaultsRemoved(removed=1))

    async def reset_faults(self, _: Request, account: str) -> Response:
        """Remove all fault rules that were added by requests, and let those in the settings apply as often as at the
        start.
        """
        self._check(account)
        return JSONResponse(schema.FaultsRemoved(removed=self._faults.reset()))

    def _check(self, account: str) -> None:
        guard.refuse_others(self._owner, account, "use fault rules", "they apply to the mail of every account")
        if not self._faults.allowed:
            raise errors.Conflict("This server injects no faults. To allow fault rules, start it with --testing yes.")


def _shown(active: ActiveRule) -> schema.Fault:
    rule = active.rule
    return schema.Fault(
        id=active.id,
        stage=rule.stage,
        action=rule.action,
        sender=rule.sender,
        recipient=rule.recipient,
        source=str(rule.source) if rule.source else None,
        larger_than=rule.larger_than or None,
        probability=rule.probability,
        times=rule.times,
        delay=durations.written(rule.delay) if rule.delay else None,
        reply=rule.reply or None,
        applied=active.applied,
    )
