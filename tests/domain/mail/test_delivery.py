"""The meaning of attempt results: all of `decide` as tables, and properties that are always true."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.values import NOW
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import (
    AttemptResult,
    Delivery,
    Event,
    Notify,
    Policy,
    Protocol,
    Queued,
    Reason,
    Stage,
    Status,
    Then,
    Trouble,
    after,
    decide,
    expired,
    is_delivered,
    latest_due,
    pause_after,
    wants,
)

SMTP, LMTP, MAILDIR, WEBHOOK = Protocol.SMTP, Protocol.LMTP, Protocol.MAILDIR, Protocol.WEBHOOK
QUEUED = Queued(delivery_id="m.e", attempts=0, queued_at=NOW)
POLICY = Policy()
MINUTE = timedelta(minutes=1)

DELIVERED = (Then.DELIVERED, "2.0.0", False)


def RETRY(status):
    return (Then.RETRY, status, False)


def PAUSE(status):
    return (Then.RETRY, status, True)


def GIVE_UP(status):
    return (Then.GIVE_UP, status, False)


def result(stage, code=None, enhanced="", trouble=None, protocol=SMTP, **options):
    facts = {"protocol": protocol, "stage": stage, "code": code, "enhanced": enhanced, "trouble": trouble}
    return AttemptResult(**facts | {"peer": "mx [192.0.2.1]:25"} | options)


BEFORE = [Stage.CONNECT, Stage.TLS, Stage.GREETING, Stage.HELLO, Stage.AUTH]
DURING = [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.END]
OF_DESTINATION = [
    (Trouble.TIMEOUT, "4.4.2"),
    (Trouble.DISCONNECTED, "4.4.2"),
    (Trouble.GARBAGE, "4.4.2"),
    (Trouble.UNREACHABLE, "4.4.1"),
    (Trouble.NO_SUCH_HOST, "4.4.3"),
    (Trouble.DNS_FAILED, "4.4.3"),
    (Trouble.NO_TLS, "4.0.0"),
    (Trouble.BAD_TLS, "4.0.0"),
    (Trouble.NO_AUTH, "4.0.0"),
    (Trouble.FORBIDDEN, "4.0.0"),
    (Trouble.IS_OURSELVES, "4.0.0"),
]
PERMANENT = [
    (Trouble.NULL_MX, "5.1.10"),
    (Trouble.NEEDS_UTF8, "5.6.7"),
    (Trouble.NEEDS_BINARY, "5.6.3"),
    (Trouble.TOO_BIG, "5.3.4"),
]


@pytest.mark.parametrize("protocol", [SMTP, LMTP])
@pytest.mark.parametrize(
    ("facts", "decided"),
    [
        ((Stage.END, 250, "2.0.0"), DELIVERED),
        ((Stage.END, 299, ""), DELIVERED),
        ((Stage.STORED,), DELIVERED),
        ((Stage.END, 250, "", Trouble.GARBAGE), RETRY("4.4.2")),
        ((Stage.STORED, None, "", Trouble.FAILED), RETRY("4.0.0")),
        ((Stage.END, 300, ""), RETRY("4.0.0")),
        ((Stage.END, 199, ""), RETRY("4.0.0")),
        ((Stage.END,), RETRY("4.0.0")),
        ((Stage.RCPT, 250, ""), RETRY("4.0.0")),
        # Before the message, a refusal is not about the message
        *[((stage, code, "5.7.1"), PAUSE("4.0.0")) for stage in BEFORE for code in (500, 554, 535)],
        *[((stage, 450, "4.7.0"), PAUSE("4.7.0")) for stage in BEFORE],
        *[((stage, None, "", trouble), PAUSE(status)) for stage in BEFORE for trouble, status in OF_DESTINATION],
        *[((stage, None, "", Trouble.FAILED), RETRY("4.0.0")) for stage in BEFORE],
        ((Stage.CONNECT,), RETRY("4.0.0")),
        # With the message
        *[((stage, None, "", trouble), RETRY(status)) for stage in DURING for trouble, status in OF_DESTINATION],
        *[((stage, 450, "4.2.1"), RETRY("4.2.1")) for stage in DURING],
        *[((stage, 450, "5.2.1"), RETRY("4.0.0")) for stage in DURING],
        *[((stage, 421, "4.3.2"), PAUSE("4.3.2")) for stage in DURING],
        *[((stage, 599, ""), GIVE_UP("5.0.0")) for stage in (Stage.DATA, Stage.END)],
        *[((stage, 600, ""), RETRY("4.0.0")) for stage in DURING],
        *[((stage, code, "5.5.1"), RETRY("4.0.0")) for stage in DURING for code in (502, 503, 530, 535, 538)],
        ((Stage.MAIL, 550, ""), GIVE_UP("5.1.0")),
        ((Stage.MAIL, 550, "5.7.1"), GIVE_UP("5.7.1")),
        ((Stage.MAIL, 550, "4.7.1"), GIVE_UP("5.1.0")),
        ((Stage.RCPT, 550, ""), GIVE_UP("5.1.1")),
        ((Stage.RCPT, 500, "5.1.6"), GIVE_UP("5.1.6")),
        ((Stage.RCPT, 552, ""), RETRY("4.0.0")),
        ((Stage.RCPT, 552, "5.2.2"), GIVE_UP("5.2.2")),
        ((Stage.MAIL, 552, ""), GIVE_UP("5.1.0")),
        ((Stage.BODY, 554, "5.6.0"), RETRY("4.0.0")),
        ((Stage.END, 554, "5.6.0"), GIVE_UP("5.6.0")),
        *[((Stage.CONNECT, None, "", trouble), GIVE_UP(status)) for trouble, status in PERMANENT],
        *[((Stage.MAIL, None, "", trouble), GIVE_UP(status)) for trouble, status in PERMANENT],
    ],
)
def test_the_decision_about_each_smtp_and_lmtp_result(protocol, facts, decided):
    decision = decide(QUEUED, result(*facts, protocol=protocol), NOW, POLICY)
    assert (decision.then, decision.status, decision.is_of_destination) == decided


@pytest.mark.parametrize(
    ("facts", "decided"),
    [
        ((Stage.END, 200, ""), DELIVERED),
        ((Stage.END, 204, ""), DELIVERED),
        *[((Stage.END, code, ""), GIVE_UP("5.3.0")) for code in (410, 413, 415, 422)],
        *[((Stage.END, code, ""), RETRY("4.0.0")) for code in (302, 400, 401, 403, 404, 409, 500, 501, 550)],
        *[((Stage.END, code, ""), PAUSE("4.0.0")) for code in (429, 502, 503, 504)],
        *[((Stage.CONNECT, None, "", trouble), PAUSE(status)) for trouble, status in OF_DESTINATION],
        *[((Stage.END, None, "", trouble), PAUSE(status)) for trouble, status in OF_DESTINATION],
        ((Stage.CONNECT, None, "", Trouble.FAILED), RETRY("4.0.0")),
    ],
)
def test_the_decision_about_each_webhook_result(facts, decided):
    decision = decide(QUEUED, result(*facts, protocol=WEBHOOK), NOW, POLICY)
    assert (decision.then, decision.status, decision.is_of_destination) == decided


@pytest.mark.parametrize(
    ("facts", "decided"),
    [
        ((Stage.STORED,), DELIVERED),
        ((Stage.BODY, None, "", Trouble.FAILED), PAUSE("4.0.0")),
        ((Stage.BODY,), RETRY("4.0.0")),
    ],
)
def test_the_decision_about_each_maildir_result(facts, decided):
    decision = decide(QUEUED, result(*facts, protocol=MAILDIR), NOW, POLICY)
    assert (decision.then, decision.status, decision.is_of_destination) == decided


def test_an_injected_fault_does_not_pause_other_deliveries():
    bad = result(Stage.END, 421, "4.3.2", fault="tempfail")
    assert not decide(QUEUED, bad, NOW, POLICY).is_of_destination


@pytest.mark.parametrize(("enhanced", "is_loop"), [("5.4.6", True), ("5.4.60", False), ("5.1.1", False), ("", False)])
def test_a_mail_loop_is_recognized_by_its_enhanced_status_code(enhanced, is_loop):
    assert decide(QUEUED, result(Stage.END, 554, enhanced), NOW, POLICY).is_loop is is_loop


@pytest.mark.parametrize(
    ("attempt", "because"),
    [
        (result(Stage.RCPT, 550, "5.1.1", text="no such user"), "mx [192.0.2.1]:25 at rcpt: 550 5.1.1 no such user"),
        (result(Stage.RCPT, 550, text="no", peer=""), "at rcpt: 550 no"),
        (result(Stage.TLS, trouble=Trouble.BAD_TLS), "mx [192.0.2.1]:25 at tls: bad tls"),
        (result(Stage.END, trouble=Trouble.TIMEOUT, text="60 s"), "mx [192.0.2.1]:25 at end: timeout: 60 s"),
        (result(Stage.END, 354, trouble=Trouble.GARBAGE, text="x"), "mx [192.0.2.1]:25 at end: garbage: 354 x"),
        (result(Stage.STORED, peer="/var/mail"), "/var/mail at stored: stored"),
    ],
)
def test_the_reason_names_the_peer_the_stage_and_the_reply(attempt, because):
    assert decide(QUEUED, attempt, NOW, POLICY).because == because


# The times of attempts


def queued(attempts=0, delivery_id="m.e", queued_at=NOW):
    return Queued(delivery_id=delivery_id, attempts=attempts, queued_at=queued_at)


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(0, 1), (1, 5), (2, 15), (3, 30), (4, 60), (5, 120), (6, 240), (7, 240), (1000, 240)]
)
def test_the_pauses_grow_and_the_last_pause_repeats(attempts, minutes):
    exact = Policy(jitter=0)
    assert pause_after(queued(attempts), exact) == minutes * MINUTE
    assert minutes * MINUTE <= pause_after(queued(attempts), POLICY) <= 1.1 * minutes * MINUTE


@given(st.text(), st.integers(0, 100), st.floats(0, 1))
def test_a_pause_is_deterministic_and_within_its_bounds(delivery_id, attempts, jitter):
    policy = Policy(jitter=jitter)
    pause = pause_after(queued(attempts, delivery_id), policy)
    assert pause == pause_after(queued(attempts, delivery_id), policy)
    exact = pause_after(queued(attempts, delivery_id), Policy(jitter=0))
    assert exact <= pause <= exact * (1 + jitter) + timedelta(milliseconds=1)


@given(st.text(), st.integers(0, 100), st.floats(0, 1))
def test_no_delivery_is_deferred_for_longer_than_the_longest_pause(delivery_id, attempts, jitter):
    policy = Policy(jitter=jitter)
    assert NOW + pause_after(queued(attempts, delivery_id), policy) <= latest_due(NOW, policy) + timedelta(
        milliseconds=1
    )
    assert latest_due(NOW, Policy(jitter=0.1)) == NOW + 4.4 * 60 * MINUTE


def test_messages_that_failed_together_are_not_retried_together():
    pauses = {pause_after(queued(delivery_id=f"m{number}.x"), POLICY) for number in range(100)}
    assert len(pauses) > 90
    assert max(pauses) - min(pauses) > 4 * timedelta(seconds=1)


def test_deliveries_of_one_message_are_retried_together():
    pauses = {pause_after(queued(delivery_id=f"m.{number}"), POLICY) for number in range(100)}
    assert len(pauses) == 1


LATER = result(Stage.RCPT, 450, "4.2.0", text="later")


def test_the_next_attempt_is_after_the_pause():
    decision = decide(queued(2), LATER, NOW, Policy(jitter=0))
    assert (decision.then, decision.at) == (Then.RETRY, NOW + 15 * MINUTE)


@pytest.mark.parametrize(
    ("age", "then"),
    [
        (timedelta(days=5) - MINUTE - timedelta(milliseconds=1), Then.RETRY),
        (timedelta(days=5) - MINUTE, Then.RETRY),
        (timedelta(days=5) - timedelta(milliseconds=1), Then.RETRY),
        (timedelta(days=5), Then.GIVE_UP),
        (timedelta(days=9), Then.GIVE_UP),
    ],
)
def test_the_last_attempt_is_made_at_the_time_limit_and_then_the_delivery_is_a_dead_letter(age, then):
    decision = decide(queued(queued_at=NOW - age), LATER, NOW, Policy(jitter=0))
    assert decision.then is then
    if then is Then.RETRY:
        assert decision.at == min(NOW + MINUTE, NOW - age + timedelta(days=5))
    if then is Then.GIVE_UP:
        assert (decision.status, decision.at, decision.is_of_destination) == ("5.4.7", None, False)
        assert decision.because == ("Not delivered in 5d. Last result: mx [192.0.2.1]:25 at rcpt: 450 4.2.0 later")


def test_a_failed_last_attempt_can_still_pause_the_destination():
    unreachable = result(Stage.CONNECT, trouble=Trouble.UNREACHABLE)
    decision = decide(queued(queued_at=NOW - timedelta(days=6)), unreachable, NOW, Policy(expire=timedelta(hours=36)))
    assert (decision.then, decision.is_of_destination) == (Then.GIVE_UP, True)
    assert decision.because.startswith("Not delivered in 36h.")


@pytest.mark.parametrize(
    ("expire", "words"),
    [
        (timedelta(days=3650), "3650d"),
        (timedelta(days=1), "1d"),
        (timedelta(hours=23), "23h"),
        (timedelta(hours=1), "1h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=20), "20s"),
    ],
)
def test_the_reason_of_a_dead_letter_says_how_long_it_was_attempted(expire, words):
    assert expired(Policy(expire=expire), "no.").because == f"Not delivered in {words}. Last result: no."


ATTEMPTS = st.builds(
    AttemptResult,
    protocol=st.sampled_from(Protocol),
    stage=st.sampled_from(Stage),
    code=st.none() | st.integers(0, 1000),
    enhanced=st.sampled_from(["", "2.0.0", "4.2.0", "4.4.6", "5.1.1", "5.4.6"]),
    trouble=st.none() | st.sampled_from(Trouble),
    text=st.text(max_size=9),
    fault=st.sampled_from(["", "tempfail"]),
)


@given(ATTEMPTS, st.integers(0, 20), st.timedeltas(timedelta(0), timedelta(days=10)))
def test_each_attempt_delivers_the_mail_or_leads_to_a_retry_in_time_or_to_a_dead_letter(attempt, attempts, age):
    decision = decide(queued(attempts, queued_at=NOW - age), attempt, NOW, POLICY)
    assert (decision.at is not None) is (decision.then is Then.RETRY)
    assert decision.status[0] == {Then.DELIVERED: "2", Then.RETRY: "4", Then.GIVE_UP: "5"}[decision.then]
    assert decision.because
    assert is_delivered(attempt) is (decision.then is Then.DELIVERED)
    if decision.at:
        assert NOW < decision.at <= NOW - age + POLICY.expire
    if attempt.fault:
        assert not decision.is_of_destination


@given(ATTEMPTS)
def test_an_unknown_result_is_temporary(attempt):
    """Only a reply of the peer, or a permanent problem with the message, ends the attempts."""
    decision = decide(QUEUED, attempt, NOW, POLICY)
    if decision.then is Then.DELIVERED:
        assert attempt.trouble is None
        assert attempt.stage is Stage.STORED or (attempt.stage is Stage.END and 200 <= (attempt.code or 0) < 300)
    if decision.then is Then.GIVE_UP:
        assert attempt.trouble in dict(PERMANENT) or (attempt.trouble is None and (attempt.code or 0) >= 400)


# The states of a delivery


@pytest.mark.parametrize(
    ("status", "event", "then"),
    [
        (Status.QUEUED, Event.DELIVERED, Status.DELIVERED),
        (Status.QUEUED, Event.DEFERRED, Status.QUEUED),
        (Status.QUEUED, Event.MOVED, Status.QUEUED),
        (Status.QUEUED, Event.DEAD, Status.DEAD),
        (Status.DEAD, Event.REDRIVEN, Status.QUEUED),
        (Status.DELIVERED, Event.REDRIVEN, Status.QUEUED),
    ],
)
def test_an_event_changes_the_status_of_a_delivery(status, event, then):
    assert after(status, event) is then


def test_a_delivery_that_ended_changes_only_if_it_is_redriven():
    for status in (Status.DELIVERED, Status.DEAD):
        for event in set(Event) - {Event.REDRIVEN}:
            with pytest.raises(KeyError):
                after(status, event)


# The notices that a sender requests


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        ((), {Notify.FAILURE, Notify.DELAY}),
        (("NEVER",), {Notify.NEVER}),
        (("SUCCESS",), {Notify.SUCCESS}),
        (("FAILURE", "SUCCESS"), {Notify.FAILURE, Notify.SUCCESS}),
        ([Notify.DELAY], {Notify.DELAY}),
    ],
)
def test_the_notify_parameter_selects_the_notices(notify, wanted):
    assert {what for what in Notify if wants(notify, what)} == wanted


def test_a_delivery_has_the_same_id_at_each_attempt():
    delivery = Delivery(
        message_id="m",
        email_address_id="e",
        account="000000000000",
        address=addresses.parse("a@example.com"),
        reason=Reason.DIRECT,
        sent_to="a@example.com",
        via=None,
        status=Status.QUEUED,
        trace_header=b"",
    )
    assert delivery.id == "m.e"
