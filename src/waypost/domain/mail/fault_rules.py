"""Fault rules: for tests, the server refuses, defers, delays or cuts off incoming mail that matches a rule.

A rule has a stage of the SMTP session, conditions, and an action. The first rule that applies decides. The settings
(`--testing yes`) must allow faults, because they make a server refuse mail that it could accept.

This module has only the rules. `app.mail.faults` counts how often a rule may still apply, and
`smtp.backend.fault_injection` injects the fault.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import Address

LONGEST_DELAY = timedelta(minutes=10)
"""The maximum delay of a rule. RFC 5321 section 4.5.3.2 lets clients wait for 10 minutes at most."""

REPLY_LIMIT = 500
"""The maximum length of a rule's reply, in characters. A reply line has at most 512 bytes (RFC 5321 section
4.5.3.1.5)."""


class Stage(StrEnum):
    """The stage of an SMTP session at which a fault is injected."""

    CONNECT = "connect"
    """Before the greeting."""
    MAIL = "mail"
    """In place of the reply to MAIL."""
    RCPT = "rcpt"
    """In place of the reply to RCPT."""
    DATA = "data"
    """In place of the reply to DATA, or at the first BDAT."""
    MESSAGE = "message"
    """In place of the reply to the complete message."""


class Action(StrEnum):
    """What the server does to a client to which a rule applies."""

    REFUSE = "refuse"
    """The client gets a permanent refusal (5yz)."""
    DEFER = "defer"
    """The client gets a temporary refusal (4yz)."""
    DELAY = "delay"
    """The client gets the usual reply after a delay."""
    DROP = "drop"
    """The server closes the connection and does not carry out the command, so a message is not stored."""
    CUT = "cut"
    """The server carries out the command, so a message is stored, but closes the connection before it replies."""


class FaultRule(Struct, frozen=True, kw_only=True):
    """A fault rule. Use `checked` to validate a rule."""

    stage: Stage
    action: Action
    sender: str = "*"
    """The senders to which the rule applies: an address, `*@DOMAIN`, `<>` for the null sender, or `*` for all."""
    recipient: str = "*"
    """The recipients to which the rule applies: an address, `*@DOMAIN`, or `*` for all. At later stages than RCPT, the
    rule applies if at least one recipient matches."""
    source: IPv4Network | IPv6Network | None = None
    """The network of the clients to which the rule applies; None for all clients."""
    larger_than: int = 0
    """The rule applies only to messages with more bytes. It needs the stage `MESSAGE`."""
    probability: float = 1.0
    """The probability that the rule applies to a client that meets its conditions."""
    times: int | None = None
    """How often the rule applies before it has no effect any more; None for no limit."""
    delay: timedelta | None = None
    """The delay of the action `DELAY`."""
    reply: str = ""
    """The reply of the actions `REFUSE` and `DEFER`, such as `450 4.2.0 Mailbox busy`; empty for the usual one."""


class Situation(Struct, frozen=True):
    """The facts about a session that the conditions of rules are compared with."""

    stage: Stage
    peer: str
    """The IP address of the client."""
    sender: str | None = None
    """The sender in MAIL FROM; an empty string for the null sender, and None before MAIL."""
    recipients: Sequence[Address] = ()
    size: int = 0
    """The size of the complete message, in bytes."""


def first_that_applies(rules: Iterable[FaultRule], situation: Situation, *, draw: Callable[[], float]) -> int | None:
    """Return the place of the first rule that applies; None if no rule applies.

    `draw` returns a random number from 0 up to, but not including, 1.
    """
    for place, rule in enumerate(rules):
        if _meets(rule, situation) and draw() < rule.probability:
            return place
    return None


def may_apply(rule: FaultRule, sender: str | None, recipient: Address) -> bool:
    """Return whether a rule may apply to mail of which only the sender and the recipient are known. The sender is None
    if it is not known either.
    """
    return (rule.sender == "*" or sender is None or _is_sender(rule.sender, sender)) and (
        rule.recipient == "*" or _matches(rule.recipient, recipient.key)
    )


def is_certain(rule: FaultRule, sender: str | None) -> bool:
    """Return whether a rule that may apply (`may_apply`) applies whatever the client, the size of the message, and
    chance are.
    """
    is_known = rule.sender == "*" or sender is not None
    return is_known and rule.source is None and not rule.larger_than and rule.probability == 1


def _meets(rule: FaultRule, situation: Situation) -> bool:
    """Return whether a situation meets the conditions of a rule, apart from chance."""
    return (
        rule.stage is situation.stage
        and (rule.source is None or ip_address(situation.peer) in rule.source)
        and situation.size >= (rule.larger_than + 1 if rule.larger_than else 0)
        and (rule.sender == "*" or (situation.sender is not None and _is_sender(rule.sender, situation.sender)))
        and (rule.recipient == "*" or any(_matches(rule.recipient, each.key) for each in situation.recipients))
    )


def _is_sender(pattern: str, sender: str) -> bool:
    if not sender or pattern == "<>":
        return not sender and pattern == "<>"
    try:
        return _matches(pattern, addresses.parse(sender).key)
    except errors.Invalid:  # a sender may have a domain that no email address here can have
        return False


def _matches(pattern: str, key: str) -> bool:
    return key == pattern or (pattern.startswith("*@") and key.rpartition("@")[2] == pattern[2:])


def checked(rule: FaultRule) -> FaultRule:
    """Return the rule with its patterns in canonical spelling. Raises `errors.Invalid` with the reason if the rule
    cannot be used.
    """
    if rule.sender != "*" and rule.stage is Stage.CONNECT:
        raise errors.Invalid('a rule with the stage "connect" cannot have a `sender`, which is not known yet')
    if rule.recipient != "*" and rule.stage in {Stage.CONNECT, Stage.MAIL}:
        raise errors.Invalid(f'a rule with the stage "{rule.stage}" cannot have a `recipient`, which is not known yet')
    if rule.larger_than and rule.stage is not Stage.MESSAGE:
        raise errors.Invalid('`larger_than` needs the stage "message", because the size is not known before')
    if not 0 < rule.probability <= 1:
        raise errors.Invalid("`probability` must be more than 0 and at most 1")
    if rule.action is Action.CUT and rule.stage is Stage.CONNECT:
        raise errors.Invalid('the action "cut" needs a stage with a command; use "drop" at the stage "connect"')
    if (rule.action is Action.DELAY) is (rule.delay is None):
        raise errors.Invalid('a rule needs `delay` if its action is "delay", and cannot have it otherwise')
    if rule.delay and rule.delay > LONGEST_DELAY:
        raise errors.Invalid("`delay` must be at most 10m")
    _check_reply(rule)
    sender = rule.sender if rule.sender == "<>" else _canonical("sender", rule.sender)
    return replace(rule, sender=sender, recipient=_canonical("recipient", rule.recipient))


_FIRST_DIGITS: Mapping[Action, str] = {Action.REFUSE: "5", Action.DEFER: "4"}

_REPLY = re.compile(r"([45])[0-5][0-9] (?:([45])\.[0-9]{1,3}\.[0-9]{1,3} )?[ -~]+", re.ASCII)


def _check_reply(rule: FaultRule) -> None:
    if not rule.reply:
        return
    if rule.action not in _FIRST_DIGITS:
        raise errors.Invalid('`reply` needs the action "refuse" or "defer"')
    found = _REPLY.fullmatch(rule.reply)
    digit = _FIRST_DIGITS[rule.action]
    if not found or found[1] != digit or (found[2] or digit) != digit or len(rule.reply) > REPLY_LIMIT:
        raise errors.Invalid(
            f'`reply` of the action "{rule.action}" must be a code {digit}yz and a text in ASCII, such as '
            f'"{digit}50 {digit}.2.0 Mailbox busy", and at most {REPLY_LIMIT} characters'
        )
    if rule.reply.startswith("421") and rule.stage is not Stage.CONNECT:
        raise errors.Invalid('`reply` can be 421 only at the stage "connect"; use the action "drop" elsewhere')


def _canonical(name: str, pattern: str) -> str:
    if pattern == "*":
        return pattern
    try:
        if pattern.startswith("*@"):
            return f"*@{addresses.domain_key(pattern[2:])}"
        return addresses.parse(pattern).key
    except errors.Invalid as error:
        raise errors.Invalid(f"`{name}` must be an address, *@DOMAIN or *: {error.message}") from error


class Magic(StrEnum):
    """The beginning of a recipient's local part that makes a testing server refuse the recipient.

    `tempfail+support@` stands for `support@`, before any subaddressing.
    """

    TEMPFAIL = "tempfail"
    BOUNCE = "bounce"

    @property
    def action(self) -> Action:
        """The action at RCPT."""
        return Action.DEFER if self is Magic.TEMPFAIL else Action.REFUSE


def read_magic(address: Address) -> tuple[Magic, Address] | None:
    """Return the meaning of a magic recipient, and the address that it stands for; None for other recipients."""
    beginning, delimiter, rest = address.key.partition(addresses.SUBADDRESS_DELIMITER)
    if not delimiter or beginning not in set(Magic) or rest.startswith("@"):
        return None
    return Magic(beginning), Address(rest, rest)
