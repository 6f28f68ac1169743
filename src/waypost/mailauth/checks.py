"""Run all checks on one message, one after the other, within a time limit."""

from collections.abc import Sequence

from waypost.domain.mailauth import verdicts as authentication
from waypost.domain.mailauth.from_header import Authors, Naming
from waypost.domain.mailauth.verdicts import Claim, Dkim, Dmarc, Outcome, Spf, Verdicts
from waypost.mailauth import dkim_check, message, spf_check
from waypost.mailauth.resolver import NotAnswered, Questions, Resolver

SPF_SHARE, DKIM_SHARE = 0.3, 0.55
"""The fractions of the time limit after which the SPF check, and then the DKIM check, must be complete.

Because of these limits, a DNS server that does not respond during one check cannot use up the time for the other
checks.
"""


def check(claim: Claim, pieces: Sequence[bytes], resolver: Resolver, seconds: float) -> tuple[Verdicts, bool]:
    """Check a message within `seconds`. Return the verdicts, and whether all DNS queries were unanswered."""
    questions = Questions(resolver, seconds)
    questions.use(SPF_SHARE)
    spf = spf_check.check(claim, questions)
    parts = message.split(pieces)
    authors = message.author_domains(parts)
    questions.use(DKIM_SHARE)
    dkim = dkim_check.check(parts, authors, questions)
    return Verdicts(spf, dkim, _dmarc(authors, spf, dkim, questions)), questions.silent


def _dmarc(authors: Authors, spf: Spf, dkim: Sequence[Dkim], questions: Questions) -> Dmarc:
    """Decide the DMARC result from the verdicts on all domains in From.

    Each domain gets an equal share of the remaining time, so that one unresponsive server cannot use up all the time.
    """
    verdicts = []
    domains = authors.domains if authors.naming is not Naming.TOO_MANY else ()
    for number, domain in enumerate(domains, 1):
        questions.use(DKIM_SHARE + (1 - DKIM_SHARE) * number / len(domains))
        verdicts.append(_dmarc_of(domain, spf, dkim, questions))
    return authentication.conclude(authors, verdicts)


def _dmarc_of(domain: str, spf: Spf, dkim: Sequence[Dkim], questions: Questions) -> Dmarc:
    """Look up the names that `verdicts.decide` needs, and return its verdict on one domain."""
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
