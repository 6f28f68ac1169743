"""Rate limits: the generic cell rate algorithm gives the same results as a token bucket."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from waypost.domain.limits import rates
from waypost.domain.limits.rates import Rate, admit

AWS = rates.AWS.rate
NOW = 1_795_350_000.0
"""A realistic time, so that floating-point numbers have their real precision."""


class Bucket:
    """A bucket with requests at some seconds after NOW. It keeps the state that `admit` returns."""

    def __init__(self, rate, *, patience=0.0):
        self.rate, self.patience = rate, patience
        self.full_at = 0.0

    def at(self, seconds):
        admission = admit(self.full_at, NOW + seconds, self.rate, patience=self.patience)
        self.full_at = admission.full_at
        return admission

    def admitted(self, *moments):
        return [int(self.at(seconds).admitted) for seconds in moments]


CASES = {
    "a whole burst at the same time": (AWS, [0] * 7, [1, 1, 1, 1, 1, 0, 0]),
    "one more request each half second": (AWS, [0] * 5 + [0.4, 0.5, 0.5, 1.0, 1.1], [1] * 5 + [0, 1, 0, 1, 0]),
    "a refused request takes no token": (AWS, [0] * 5 + [0.1, 0.2, 0.3, 0.4, 0.5], [1] * 5 + [0, 0, 0, 0, 1]),
    "full again after a pause": (AWS, [0] * 5 + [2.5] * 6, [1] * 10 + [0]),
    "never more than a full bucket": (AWS, [0] + [3600] * 6, [1] * 6 + [0]),
    "continuously at the rate": (AWS, [number / 2 for number in range(200)], [1] * 200),
    "a burst of one": (Rate(10, 1), [0, 0.05, 0.1, 0.1, 0.2], [1, 0, 1, 0, 1]),
    "once an hour": (Rate(1 / 3600, 2), [0, 0, 3599, 3600, 7199, 7200], [1, 1, 0, 1, 0, 1]),
}


@pytest.mark.parametrize(("rate", "moments", "admitted"), CASES.values(), ids=CASES)
def test_a_bucket_admits_requests_at_its_rate(rate, moments, admitted):
    assert Bucket(rate).admitted(*moments) == admitted


def test_thousands_of_requests_per_second_are_counted_with_the_precision_of_the_clock():
    relaxed = rates.RELAXED.rate
    assert sum(Bucket(relaxed).admitted(*[0] * (relaxed.burst + 1000))) == pytest.approx(relaxed.burst, rel=0.005)


def test_the_wait_is_returned_for_admitted_and_refused_requests():
    bucket = Bucket(Rate(1, 2), patience=1.5)
    results = [(each.admitted, each.wait) for each in (bucket.at(0) for _ in range(5))]
    # The refused request took no token, so the next request would wait for just as long.
    assert results == [(True, 0), (True, 0), (True, 1), (False, 2), (False, 2)]


def test_patience_admits_requests_ahead_of_time():
    bucket = Bucket(Rate(1, 2), patience=3)
    assert bucket.admitted(0, 0, 0, 0, 0, 0) == [1, 1, 1, 1, 1, 0]
    assert bucket.admitted(1, 1, 6, 6, 6, 6) == [1, 0, 1, 1, 1, 1]
    assert bucket.at(5.5).wait == pytest.approx(3.5)


def test_a_refused_request_does_not_change_the_bucket():
    bucket = Bucket(Rate(1, 1))
    bucket.at(0)
    before = bucket.full_at
    assert bucket.at(0.5) == rates.Admission(admitted=False, full_at=before, wait=0.5)


def test_a_bucket_recovers_in_its_usual_time_after_the_clock_is_set_back():
    bucket = Bucket(AWS)
    bucket.at(3600)
    assert bucket.admitted(0, 2.5) == [0, 1]


RATES = st.builds(Rate, st.sampled_from([0.5, 1, 2, 3, 7, 10, 1000]), st.integers(1, 8))
GAPS = st.lists(st.sampled_from([0, 0, 0, 1, 3, 10, 100, 333, 500, 999, 1000, 2500, 60_000]), max_size=60)


@settings(max_examples=examples(100), deadline=None, database=None)
@given(rate=RATES, patience=st.sampled_from([0, 0.25, 1, 5]), gaps=GAPS)
def test_the_algorithm_agrees_with_a_token_bucket(rate, patience, gaps):
    """The reference is a token bucket with exact numbers. It may owe as many tokens as return within the patience."""
    per_second = Fraction(rate.per_second)
    bucket, tokens, moment = Bucket(rate, patience=patience), Fraction(rate.burst), 0
    for gap in gaps:
        moment += gap
        tokens = min(Fraction(rate.burst), tokens + per_second * Fraction(gap, 1000))
        wait = max(Fraction(0), (1 - tokens) / per_second)
        expected = wait <= Fraction(patience)
        found = bucket.at(moment / 1000)
        # Floating-point sums are not exact, so a request exactly at the limit may be admitted or refused.
        if abs(wait - Fraction(patience)) > Fraction(1, 10_000):
            assert found.admitted is expected
        assert found.wait == pytest.approx(float(wait), abs=1e-4)
        tokens -= found.admitted


@settings(max_examples=examples(100), deadline=None, database=None)
@given(rate=RATES, gaps=GAPS)
def test_no_period_has_more_requests_than_a_burst_plus_the_rate(rate, gaps):
    bucket, moment, passed = Bucket(rate), 0, []
    for gap in gaps:
        moment += gap
        if bucket.at(moment / 1000).admitted:
            passed.append(moment / 1000)
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            assert last - first + 1 <= rate.burst + (end - start) * rate.per_second + 1e-3


def test_each_profile_has_the_limits_of_its_name():
    assert rates.PROFILES == {"relaxed": rates.RELAXED, "aws": rates.AWS}
    assert (rates.AWS.rate.per_second, rates.AWS.rate.burst, rates.AWS.email_addresses) == (2, 5, 100)
    assert rates.RELAXED.email_addresses is None


def test_a_profile_describes_its_limits_in_words():
    assert rates.AWS.in_words == "100 email addresses per instance; 2 calls/s per operation, 5 at once"
    assert rates.RELAXED.in_words.startswith("any number of email addresses per instance; 20,000 calls/s per account")
