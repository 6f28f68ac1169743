"""All checks of one message, one after the other, in a given time."""

from collections.abc import Sequence

from waypost.authentication import dkim_check, message, spf_check
from waypost.authentication.resolver import NotAnswered, Questions, Resolver
from waypost.domain import authentication
from waypost.domain.authentication import Claim, Dkim, Dmarc, Outcome, Spf, Verdicts

SPF_SHARE, DKIM_SHARE = 0.3, 0.55
"""When SPF, and when DKIM, has to be finished, so that a silent server of one cannot hold up all."""


def check(claim: Claim, pieces: Sequence[bytes], resolver: Resolver, seconds: float) -> tuple[Verdicts, bool]:
    """The verdicts on this message, and whether the DNS was asked and nobody said anything."""
    questions = Questions(resolver, seconds)
    questions.use(SPF_SHARE)
    spf = spf_check.check(claim, questions)
    parts = message.split(pieces)
    authors = message.author_domains(parts.fields)
    questions.use(DKIM_SHARE)
    dkim = dkim_check.check(parts, authors, questions)
    questions.use(1)
    return Verdicts(spf, dkim, _dmarc(authors, spf, dkim, questions)), questions.silent


def _dmarc(authors: Sequence[str], spf: Spf, dkim: Sequence[Dkim], questions: Questions) -> Dmarc:
    """The domain decides; what it wants to know is asked here."""
    decision = authentication.decide(authors, spf, dkim)
    try:
        name = next(decision)
        while True:
            name = decision.send(questions.answer(name))
    except StopIteration as decided:
        verdict: Dmarc = decided.value
        return verdict
    except NotAnswered as error:
        return Dmarc(Outcome.TEMPERROR, authors[0], "", str(error))
