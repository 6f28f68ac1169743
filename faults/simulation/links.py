"""When each alias link existed, as far as the outcomes of the calls say."""

from faults.simulation.history import ALWAYS


class Links:
    """The links of one history."""

    def __init__(self, history):
        self._keys, self._history = history.ids, history
        self._made = [one for one in history.calls if one.kind == "associate" and one.outcome in {"ok", None}]
        self._ended = [one for one in history.calls if one.kind in {"disassociate", "delete"}]

    def primaries(self, alias, began, ended):
        """Return the addresses that may have been the primary of an alias at any moment between two times."""
        return {
            self._keys[call.arguments[0]]
            for call in self._of(alias)
            if call.invoked_at <= ended and self._sure_end(call) >= began
        }

    def by_replay(self, alias):
        """Return the addresses that may have got the mail of an alias because it was replayed."""
        replays = [one for one in self._history.replays if one.about == alias]
        return {key for one in replays for key in self.primaries(alias, one.began, one.ended)}

    def sure_primaries(self, alias, began, ended):
        """Return the addresses that were certainly the primary of an alias all the time."""
        return {
            self._keys[call.arguments[0]]
            for call in self._of(alias)
            if call.returned_at is not None and call.returned_at <= began and self._possible_end(call) >= ended
        }

    def _of(self, alias):
        return [call for call in self._made if self._keys.get(call.arguments[1]) == alias]

    def _ends_of(self, made):
        return [
            call
            for call in self._ended
            if call.outcome in {"ok", None}
            and (call.arguments == made.arguments or (call.kind == "delete" and call.arguments[0] in made.arguments))
        ]

    def _sure_end(self, made):
        """The time at which a link had certainly ended."""
        later = [
            call.returned_at
            for call in self._ends_of(made)
            if call.outcome and call.invoked_at >= (made.returned_at or ALWAYS)
        ]
        return min(later, default=ALWAYS)

    def _possible_end(self, made):
        """The time until which a link certainly existed."""
        return min(
            (call.invoked_at for call in self._ends_of(made) if (call.returned_at or ALWAYS) >= made.invoked_at),
            default=ALWAYS,
        )
