"""All checks of one message, one after the other, in a given time."""

from collections.abc import Sequence

from waypost.domain.mailauth import verdicts as authentication
from waypost.domain.mailauth.from_header import Authors, Naming
from waypost.domain.mailauth.verdicts import Claim, Dkim, Dmarc, Outcome, Spf, Verdicts
from waypost.mailauth import dkim_check, message, spf_check
from waypost.mailauth.resolver import NotAnswered, Questions, Resolver

SPF_SHARE, DKIM_SHARE = 0.3, 0.55
"""When SPF, and when DKIM, must be finished, so that a silent server for one check does not delay the others."""


def check(claim: Claim, pieces: Sequence[bytes], resolver: Resolver, seconds: float) -> tuple[Verdicts, bool]:
    """The verdicts on this message, and whether every DNS query for it timed out."""
    questions = Questions(resolver, seconds)
    questions.use(SPF_SHARE)
    spf = spf_check.check(claim, questions)
    parts = message.split(pieces)
    authors = message.author_domains(parts)
    questions.use(DKIM_SHARE)
    dkim = dkim_check.check(parts, authors, questions)
    return Verdicts(spf, dkim, _dmarc(authors, spf, dkim, questions)), questions.silent


def _dmarc(authors: Authors, spf: Spf, dkim: Sequence[Dkim], questions: Questions) -> Dmarc:
    """The verdict on each domain in From. They share the time, so that a silent server of one domain does not use up
    all of it.
    """
    verdicts = []
    domains = authors.domains if authors.naming is not Naming.TOO_MANY else ()
    for place, domain in enumerate(domains, 1):
        questions.use(DKIM_SHARE + (1 - DKIM_SHARE) * place / len(domains))
        verdicts.append(_dmarc_of(domain, spf, dkim, questions))
    return authentication.conclude(authors, verdicts)


def _dmarc_of(domain: str, spf: Spf, dkim: Sequence[Dkim], questions: Questions) -> Dmarc:
    """The rules decide; this function looks up the names that they need."""
    decision = authentication.decide([domain], spf, dkim)
    try:
        name = next(decision)
        while True:
            name = decision.send(questions.answer(name))
    except StopIteration as decided:
        verdict: Dmarc = decided.value
        return verdict
    except NotAnswered as error:
        return Dmarc(Outcome.TEMPERROR, domain, "", str(error))
