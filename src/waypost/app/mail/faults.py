"""The fault rules of a running server: those in its settings, and those that clients of the inspection API add."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory.addresses import Address
from waypost.domain.mail import fault_rules
from waypost.domain.mail.fault_rules import Action, FaultRule, Situation, Stage

MOST_RULES = 100
"""The maximum number of fault rules that clients of the inspection API may add."""


@dataclass(slots=True)
class ActiveRule:
    """A fault rule, and how often it has applied."""

    id: str
    """The id of the rule in the trace, such as `settings-1` or `fault-1`."""
    rule: FaultRule
    applied: int = field(default=0, compare=False)

    @property
    def left(self) -> int | None:
        """How often the rule may still apply; None for no limit."""
        return None if self.rule.times is None else self.rule.times - self.applied


class Expected(Struct, frozen=True):
    """A fault rule that would apply to mail now."""

    id: str
    rule: FaultRule
    is_certain: bool
    """Whether the rule applies whatever the client, the size of the message, and chance are."""

    @property
    def refuses(self) -> bool:
        """Whether the rule certainly prevents the server from accepting the mail."""
        return self.is_certain and self.rule.action in {Action.REFUSE, Action.DEFER, Action.DROP}


class FaultRules:
    """The fault rules of one process."""

    def __init__(
        self, of_settings: Sequence[FaultRule] = (), *, allowed: bool = False, draw: Callable[[], float] = lambda: 0.0
    ) -> None:
        """`of_settings` are the rules in the settings. `allowed` is whether the settings allow faults at all. `draw`
        returns a random number from 0 up to, but not including, 1; the default lets each rule apply always.
        """
        self.allowed = allowed
        self._draw = draw
        self._of_settings = [ActiveRule(f"settings-{number}", rule) for number, rule in enumerate(of_settings, 1)]
        self._added: list[ActiveRule] = []
        self._numbers = 0

    @property
    def active(self) -> Sequence[ActiveRule]:
        """All rules, in the order in which they are tried: the added rules, the newest first, and then the rules in the
        settings.
        """
        return [*self._added, *self._of_settings]

    def add(self, rule: FaultRule) -> ActiveRule:
        """Add a rule before the others. Raises `errors.Conflict` if too many rules were added."""
        if len(self._added) >= MOST_RULES:
            raise errors.Conflict(f"There are already {MOST_RULES} fault rules. Remove some of them first.")
        self._numbers += 1
        added = ActiveRule(f"fault-{self._numbers}", rule)
        self._added.insert(0, added)
        return added

    def remove(self, rule_id: str) -> None:
        """Remove a rule that was added. Raises `errors.NotFound`."""
        kept = [active for active in self._added if active.id != rule_id]
        if len(kept) == len(self._added):
            raise errors.NotFound(f"There is no fault rule {rule_id} that was added by a request.")
        self._added = kept

    def reset(self) -> int:
        """Remove all rules that were added, and let the rules in the settings apply as often as at the start. Return
        the number of removed rules.
        """
        removed, self._added = len(self._added), []
        for active in self._of_settings:
            active.applied = 0
        return removed

    @property
    def _usable(self) -> Sequence[ActiveRule]:
        return [each for each in self.active if each.left != 0]

    def expected(self, sender: str | None, recipient: Address) -> Sequence[Expected]:
        """Return the rules that would apply to mail now, in the order of the session. `sender` is None if it is
        unknown.

        No rule follows one that certainly applies at the same stage, or that certainly refuses the mail.
        """
        found: list[Expected] = []
        for stage in Stage:
            for each in self._usable:
                if each.rule.stage is stage and fault_rules.may_apply(each.rule, sender, recipient):
                    found.append(Expected(each.id, each.rule, fault_rules.is_certain(each.rule, sender)))
                    if found[-1].is_certain:
                        break
            if found and found[-1].refuses:
                break
        return found

    def find(self, situation: Situation) -> ActiveRule | None:
        """Return the rule that applies to a client now, and count that it applies; None if no rule applies."""
        usable = self._usable
        place = fault_rules.first_that_applies([each.rule for each in usable], situation, draw=self._draw)
        if place is None:
            return None
        usable[place].applied += 1
        return usable[place]
