"""The trace of a message, told in lines for people."""

from collections.abc import Iterator
from typing import Any

_HEADS = {
    "accepted": "accepted from {peer} ({helo}) by {protocol}, {size} octets",
    "checked": "sender checked: SPF {spf}; DKIM {dkim}; DMARC {dmarc}",
    "queued": "queued for {address}, by {destination}",
    "delivered": "delivered to {address}",
    "moved": "queued for {address}, by {destination} now",
    "deferred": "attempt {attempt} for {address} did not succeed; the next one is at {until}",
    "dead": "given up for {address} after attempt {attempt}: a dead letter",
    "redriven": "tried again for {address}",
    "delayed": "{address} still waits, and a warning is due",
    "notified": "the {whom} was sent a notice about {address} ({what}): message {notice}",
    "not notified": "nobody was sent a notice about {address} ({what})",
    "late bounce": "came back for {address}: message {bounce}",
    "spared": "no second copy for {address}",
}
"""What happened, in words, by the kind of the event. Details that are not in them follow on lines of their own."""

_DETAILS = {
    "because": "{because}",
    "reply": "{peer} at {stage}: {reply}",
    "trouble": "{trouble}",
    "path": "its way: {path}",
    "status": "status {status}",
    "route": "the route is for {route}",
    "inbox": "the inbox {inbox}",
    "tls": "TLS: {tls}",
    "fault": "A FAULT ON PURPOSE: {fault}",
    "unchecked": "sender not checked: {unchecked}",
    "routes": "routes as of {routes}",
    "forged_authentication_results": "{forged_authentication_results} forged Authentication-Results fields",
}
"""Details on lines of their own, in this order; others follow."""

_ORDER = {name: number for number, name in enumerate(_DETAILS)}

_SAID_ELSEWHERE = {"peer", "stage", "attempt", "destination", "reason", "from", "address"}
"""Details that are in the line of another one, or above the trace."""

_INDENT = " " * 6


class _Details(dict[str, Any]):
    """The details of an event. One of another version of the server may have fewer."""

    def __missing__(self, name: str) -> str:
        return "?"


def message(found: dict[str, Any]) -> Iterator[str]:
    """All of one message: what it is, where it went, and what happened when."""
    to = dict.fromkeys(delivery["to"] for delivery in found["deliveries"])
    yield f"Message {found['id']}, received {found['received_at']}"
    yield f"  from       <{plain(found['from'])}>"
    for recipient in to:
        yield f"  to         <{plain(recipient)}>"
    yield f"  subject    {plain(found['subject']) or '(none)'}"
    for delivery in found["deliveries"]:
        yield f"  {delivery['status']:9}  {plain(delivery['address'])}{_where(delivery)}"
    yield ""
    for event in found["trace"]:
        yield from told(event)


def told(event: dict[str, Any]) -> Iterator[str]:
    """One event: a line with its time, and its details under that."""
    kind = event["event"]
    details = _Details({name: value for name, value in event.items() if name not in {"at", "event"}})
    head = _HEADS.get(kind, kind)
    if kind == "delivered" and "attempt" in details:
        head += " by {destination}, with attempt {attempt}"
    yield f"  {event['at']}  {plain(head.format_map(details))}"
    because = str(details.get("because", ""))
    for name in sorted(details, key=lambda name: _ORDER.get(name, len(_ORDER))):
        if name in _SAID_ELSEWHERE or f"{{{name}}}" in head:
            continue
        if name in {"reply", "trouble"} and str(details[name]) in because:
            continue
        form = _reply(details) if name == "reply" else _DETAILS.get(name, f"{name} {{{name}}}")
        yield _INDENT + " ".join(plain(form.format_map(details)).split())


def _reply(details: dict[str, Any]) -> str:
    """Who said something, and when."""
    if "stage" not in details:
        return "far end reported: {reply}"  # in a bounce, which came later
    if str(details.get("destination", "")).startswith("maildir:"):
        return "{peer}: {reply}"  # nobody is spoken with
    return _DETAILS["reply"]


def refusal(found: dict[str, Any]) -> Iterator[str]:
    """Mail that was refused."""
    yield f"Refused {found['at']}, for <{plain(found['to'])}>"
    yield f"  from       <{plain(found['from'])}>, by {plain(found['peer'])} ({plain(found['helo'])})"
    yield f"  reply      {plain(found['reply'])}"
    for name, value in found.items():
        if name not in {"at", "from", "to", "peer", "helo", "stage", "reply"}:
            yield f"  {name:9}  {plain(value)}"


def plain(text: object) -> str:
    """What others wrote, without anything in it that could harm a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def _where(delivery: dict[str, Any]) -> str:
    """Where a delivery goes, if not to the inbox alone, and why it is there, if not addressed."""
    said = [
        f"through {delivery['via']}" if delivery["via"] else "",
        f"by {delivery['destination']}" if delivery["destination"] else "",
        "and in the inbox" if delivery["destination"] and delivery["in_inbox"] else "",
    ]
    told = ", ".join(filter(None, said))
    return f"  ({plain(told)})" if told else ""
