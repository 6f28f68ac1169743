"""Injects the faults of one client's session, and records them in the log and the trace."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from waypost.app.mail.faults import ActiveRule, FaultRules
from waypost.domain.mail import fault_rules
from waypost.domain.mail.fault_rules import Action, Situation, Stage
from waypost.observe import events
from waypost.smtp.backend.refusal_trace import RefusalTrace
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import ContentOffered, MessageReceived, RecipientGiven, Request, SenderGiven

Pause = Callable[[float], Awaitable[object]]
"""A function that delays a reply by a number of seconds."""


class Fault(Struct, frozen=True):
    """A fault that a session gets."""

    rule: str
    """The id of the rule, or the beginning of the magic recipient, such as `tempfail+`."""
    action: Action
    reply: Reply
    """The reply that the client gets. For `Action.DROP`, it is only recorded."""
    seconds: float = 0.0
    """The delay, in seconds."""


class FaultInjection:
    """The faults of one client's session."""

    def __init__(self, faults: FaultRules, trace: RefusalTrace, *, peer: str, emit: events.Emit) -> None:
        """`peer` is the client's IP address."""
        self._faults = faults
        self._trace = trace
        self._peer = peer
        self._emit = emit
        self._of_request = ""
        self._of_message: list[str] = []
        self.is_cut = False
        """Whether a fault closes the connection now, without a reply."""

    @property
    def of_message(self) -> str:
        """The rules that have delayed or cut off the current mail transaction, each once, separated by commas."""
        return ", ".join(dict.fromkeys(self._of_message))

    def in_refusal(self, request: Request) -> dict[str, str]:
        """Return the details for the trace if the server refuses a request that rules have delayed or cut off: the
        rules of the mail transaction for a message, or the rule of another request.
        """
        rules = self.of_message if isinstance(request, MessageReceived) else self._of_request
        return {"fault": rules} if rules else {}

    def at_connect(self) -> Fault | None:
        """Return the fault for a client that has just connected; None for no fault. Only the log has it, because no
        account owns a connection.
        """
        fault = self._find(Situation(Stage.CONNECT, self._peer))
        if fault:
            self._log(fault, Stage.CONNECT)
        return fault

    async def inject(self, request: Request, pause: Pause) -> Reply | None:
        """Inject the fault that a rule or a magic recipient asks for. `pause` delays the reply.

        Returns the reply of a fault that takes the place of the answer to the request; otherwise None.
        """
        situation = _situation(request, self._peer)
        self._of_request = ""
        if situation is None:
            return None
        if situation.stage is Stage.MAIL:
            self._of_message.clear()
        fault, account = self._find(situation), ""
        if fault is None and isinstance(request, RecipientGiven):
            fault, account = await self._magic(request)
        if fault is None:
            return None
        self._log(fault, situation.stage)
        if fault.action is Action.DELAY:
            await pause(fault.seconds)
        self.is_cut = fault.action in {Action.DROP, Action.CUT}
        if fault.action in {Action.DELAY, Action.CUT}:
            self._of_request = fault.rule
            self._of_message.append(fault.rule)
            return None
        await self._trace.add(request, fault.reply, {"fault": fault.rule}, account)
        return fault.reply

    def _find(self, situation: Situation) -> Fault | None:
        active = self._faults.find(situation)
        if active is None:
            return None
        delay = active.rule.delay
        return Fault(active.id, active.rule.action, _reply(active), delay.total_seconds() if delay else 0.0)

    async def _magic(self, request: RecipientGiven) -> tuple[Fault | None, str]:
        """Return the fault that a magic recipient asks for, and the account of the address that it stands for.

        Returns no fault if the recipient is not magic, or if the address that it stands for does not exist.
        """
        found = fault_rules.read_magic(request.address)
        account = await self._trace.account_of(found[1]) if found else ""
        if not found or not account:
            return None, ""
        magic, _ = found
        reply = replies.MAGIC_DEFERRED if magic.action is Action.DEFER else replies.MAGIC_REFUSED
        return Fault(f"{magic}+", magic.action, reply.about(magic=magic)), account

    def _log(self, fault: Fault, stage: Stage) -> None:
        self._emit(events.FaultInjected(peer=self._peer, stage=stage, action=fault.action, rule=fault.rule))


def _situation(request: Request, peer: str) -> Situation | None:
    """Return the facts that fault rules are compared with; None for a request at which no fault can be injected."""
    match request:
        case SenderGiven(mail):
            return Situation(Stage.MAIL, peer, mail.sender)
        case RecipientGiven(address, sender):
            return Situation(Stage.RCPT, peer, sender, (address,))
        case ContentOffered(recipients, sender):
            return Situation(Stage.DATA, peer, sender, recipients)
        case MessageReceived(envelope, recipients, raw, start):
            return Situation(Stage.MESSAGE, peer, envelope.sender, recipients, start + len(raw))
        case _:
            return None


def _reply(active: ActiveRule) -> Reply:
    """Return the reply of a rule."""
    rule = active.rule
    is_deferral = rule.action is Action.DEFER
    if rule.action is Action.DROP:
        usual = replies.FAULT_DROPPED
    elif rule.stage is Stage.CONNECT:
        usual = replies.FAULT_BUSY if is_deferral else replies.FAULT_NO_SERVICE
    else:
        usual = replies.FAULT_DEFERRED if is_deferral else replies.FAULT_REFUSED
    if not rule.reply:
        return usual.about(rule=active.id)
    code, _, text = rule.reply.partition(" ")
    return Reply(code=int(code), enhanced=None, text=text, means=usual.means, sender=usual.sender)
