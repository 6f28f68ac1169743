"""Explains the results of SPF, DKIM and DMARC in sentences for people."""

import re
from collections.abc import Iterable

from msgspec import Struct

from waypost.domain.mail.trace_events import AcceptedEvent, CheckedEvent, TraceDetail
from waypost.domain.mailauth.verdicts import Outcome

_SUMMARY = re.compile(r"([a-z]+)(?: \((.*)\))?")

_SPF = {
    Outcome.NONE: "{domain} has no SPF record, so it does not say which servers may send its mail.",
    Outcome.PASS: "The client's IP address may send mail for {domain}.",
    Outcome.FAIL: "According to the SPF record of {domain}, this client may not send its mail.",
    Outcome.SOFTFAIL: "According to the SPF record of {domain}, this client probably may not send its mail.",
    Outcome.NEUTRAL: "The SPF record of {domain} says nothing about this client.",
}
_DKIM = {
    Outcome.NONE: "The message has no DKIM signature.",
    Outcome.PASS: "The signature of {domain} is valid, so the signed parts of the message were not changed.",
    Outcome.FAIL: "The signature of {domain} is not valid: the message was changed, or the signature is forged.",
    Outcome.NEUTRAL: "The signature of {domain} cannot be checked, because it has an error.",
    Outcome.POLICY: "The signature of {domain} is valid, but its key or algorithm is too weak.",
}
_DMARC = {
    Outcome.NONE: "{domain} has no DMARC record, so it does not say what to do with forged mail.",
    Outcome.PASS: "SPF or DKIM proves that the message is from {domain}, the domain in From.",
    Outcome.FAIL: "Neither SPF nor DKIM proves that the message is from {domain}, the domain in From.",
}
_FOR_ALL = {
    Outcome.TEMPERROR: "The DNS did not answer for {domain}, so the check has no result.",
    Outcome.PERMERROR: "The record of {domain} in the DNS is not valid, so the check has no result.",
}
_LOOKS = {Outcome.PASS: ("✓", "green"), Outcome.FAIL: ("✕", "red"), Outcome.NONE: ("–", "grey")}


class Verdict(Struct, frozen=True):
    """The result of a check, for people."""

    name: str
    outcome: str
    sign: str
    colour: str
    sentences: tuple[str, ...]


def explained(details: Iterable[TraceDetail]) -> tuple[list[Verdict], str]:
    """Return the results of the checks in a trace, and a sentence if the sender was not checked."""
    unchecked = "This server does not check senders (--authentication)."
    for detail in details:
        if isinstance(detail, CheckedEvent):
            return [
                _verdict("SPF", _SPF, [detail.spf]),
                _verdict("DKIM", _DKIM, detail.dkim.split(", ")),
                _verdict("DMARC", _DMARC, [detail.dmarc]),
            ], ""
        if isinstance(detail, AcceptedEvent) and detail.unchecked:
            unchecked = f"The sender was not checked, because {detail.unchecked}."
    return [], unchecked


def _verdict(name: str, sentences: dict[Outcome, str], results: list[str]) -> Verdict:
    """`results` are of the form `pass (shop.example)`. The best result is the result of the check."""
    read = [_read(result) for result in results]
    outcome = Outcome.PASS if any(one is Outcome.PASS for one, _ in read) else read[0][0]
    sign, colour = _LOOKS.get(outcome, ("?", "amber"))
    return Verdict(name, outcome.value, sign, colour, tuple(_sentence(sentences, *one) for one in read))


def _sentence(sentences: dict[Outcome, str], outcome: Outcome, domain: str) -> str:
    sentence = (sentences | _FOR_ALL).get(outcome, f"The result for {{domain}} is {outcome.value}.")
    text = sentence.format(domain=domain or "the sender's domain")
    return text[0].upper() + text[1:] if not domain else text


def _read(result: str) -> tuple[Outcome, str]:
    found = _SUMMARY.fullmatch(result)
    if found is None or found[1] not in set(Outcome):
        return Outcome.NEUTRAL, ""
    return Outcome(found[1]), found[2] or ""
