"""Spans for OpenTelemetry: their contexts, which work makes which span, and the thread that sends them."""

import asyncio
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.patience import NEVER, PATIENCE, wait_until
from waypost.domain.mail import messages
from waypost.observe import events
from waypost.observe.measures import Measures
from waypost.observe.spans import contexts, sender
from waypost.observe.spans.contexts import Context
from waypost.observe.spans.sender import AT_ONCE, LOG_EVERY, MOST_WAITING, SpanSender
from waypost.observe.spans.spans import Kind, Span, Spans
from waypost.smtp.backend.ids import Ids

NOW = datetime(2026, 12, 1, 12, 0, 0, 250_000, tzinfo=UTC)
MESSAGE_ID = Ids().new(NOW)
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


# Contexts


@pytest.mark.parametrize(
    ("traceparent", "is_sampled"),
    [
        (PARENT, True),
        (PARENT[:-2] + "00", False),
        (PARENT[:-2] + "03", True),  # level 2 has another flag
        ("cc" + PARENT[2:] + "-what-the-future-brings", True),
    ],
)
def test_a_valid_traceparent_is_read(traceparent, is_sampled):
    assert contexts.read(traceparent) == Context(TRACE_ID, SPAN_ID, is_sampled)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT + "-more",
        PARENT + "0",
        PARENT[:-1],
        " " + PARENT,
        PARENT + "\n",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        PARENT.replace("4", "٤"),
    ],
)
def test_another_traceparent_is_no_context(traceparent):
    assert contexts.read(traceparent) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_context_that_is_written_is_read_again(trace_id, span_id, is_sampled):
    context = Context(f"{trace_id:032x}", f"{span_id:016x}", is_sampled)
    assert contexts.read(context.traceparent) == context


def test_the_context_of_a_message_follows_from_its_id():
    accepted = contexts.of_acceptance(MESSAGE_ID, 1.0)
    assert accepted == contexts.of_acceptance(MESSAGE_ID, 1.0)
    assert uuid.UUID(accepted.trace_id) == uuid.UUID(MESSAGE_ID)
    assert contexts.read(accepted.traceparent) == accepted
    assert accepted.span_id != contexts.of_acceptance(Ids().new(NOW), 1.0).span_id


def test_the_time_in_a_message_id_is_found():
    assert contexts.milliseconds_of(MESSAGE_ID) / 1000 == messages.time_of(MESSAGE_ID).timestamp() == NOW.timestamp()


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_a_share_of_the_messages_is_recorded(ratio):
    """OpenTelemetry's own sampler would record none or all of them, because of the constant bits of a UUID."""
    ids = Ids()
    made = [ids.new(NOW) for _ in range(2_000)]
    share = sum(contexts.of_acceptance(each, ratio).is_sampled for each in made) / len(made)
    assert abs(share - ratio) < 0.1


def test_all_messages_are_recorded_with_the_ratio_1():
    ids = ("0" * 32, "f" * 32, contexts.trace_of(MESSAGE_ID))
    assert all(contexts.is_sampled(trace_id, 1.0) for trace_id in ids)


def test_a_trace_that_is_recorded_with_a_ratio_is_recorded_with_each_higher_ratio():
    ids = Ids()
    for message_id in (ids.new(NOW) for _ in range(200)):
        answers = [contexts.of_acceptance(message_id, ratio / 10).is_sampled for ratio in range(1, 11)]
        assert answers == sorted(answers)


# Which work makes which span


class Made:
    """The spans that a `Spans` object makes, with a clock that the test sets."""

    def __init__(self, ratio=1.0):
        self.now = NOW
        self.spans = []
        self.make = Spans(self.spans.append, ratio=ratio, clock=lambda: self.now)

    def attempt(self, *, then="delivered", was_accepted=True, number=1, **result):
        span = self.make.begin_attempt(f"{MESSAGE_ID}.x", MESSAGE_ID, number=number, was_accepted=was_accepted)
        self.now += timedelta(seconds=3)
        span.end("https://crm.example/...", then=then, **{"stage": "end", "code": 200, "trouble": ""} | result)
        return span

    def call(self, operation="DescribeEmailAddress", status=200, traceparent=None, is_authenticated=True):
        self.make.call(
            operation,
            status,
            0.25,
            request_id="a-request",
            traceparent=traceparent,
            is_authenticated=is_authenticated,
        )


def accepted(message_id=MESSAGE_ID):
    return events.MessageAccepted(id=message_id, peer="192.0.2.1", size=4096, recipients=2)


def test_an_accepted_message_has_a_span_and_its_event_is_passed_on():
    made, passed_on = Made(), []
    made.now += timedelta(milliseconds=20)
    emit = made.make.following(passed_on.append)
    for event in (accepted(), events.Stopped()):
        emit(event)
    assert passed_on == [accepted(), events.Stopped()]
    (span,) = made.spans
    assert (span.name, span.kind, span.parent_id, span.error) == ("accept message", Kind.SERVER, "", "")
    assert span.context == contexts.of_acceptance(MESSAGE_ID, 1.0)
    began = round(NOW.timestamp() * 1000) * 1_000_000
    assert (span.begin, span.end) == (began, began + 20_000_000)
    assert "192.0.2.1" not in str(span)


def test_a_span_does_not_end_before_it_begins_if_the_clock_was_set_back():
    made = Made()
    made.now -= timedelta(hours=1)
    made.make.following(lambda _: None)(accepted())
    span = made.make.begin_attempt("x", MESSAGE_ID, number=1, was_accepted=True)
    made.now -= timedelta(hours=1)
    span.end("lmtp:...", then="delivered", stage="end", code=250, trouble="")
    assert all(span.begin == span.end for span in made.spans)


def test_each_attempt_is_a_child_of_the_acceptance_even_days_later_on_another_server():
    first, second = Made(), Made()
    first.make.following(lambda _: None)(accepted())
    second.now += timedelta(days=4)
    contexts_given = [second.attempt(number=number).context for number in (1, 2)]
    (acceptance,) = first.spans
    assert [span.context for span in second.spans] == contexts_given
    assert {span.parent_id for span in second.spans} == {acceptance.context.span_id}
    assert {span.context.trace_id for span in second.spans} == {acceptance.context.trace_id}
    assert len({acceptance.context.span_id, *(span.context.span_id for span in second.spans)}) == 3
    span = second.spans[0]
    assert (span.name, span.kind, span.end - span.begin) == ("attempt webhook", Kind.CLIENT, 3_000_000_000)
    assert span.attributes["waypost.delivery.attempt"] == 1
    assert span.attributes["waypost.delivery.result"] == "delivered"


def test_the_peer_gets_the_context_of_the_attempt():
    made = Made()
    traceparent = made.attempt().traceparent
    assert contexts.read(traceparent) == made.spans[0].context


@pytest.mark.parametrize(
    ("then", "code", "trouble", "error"),
    [("delivered", 250, "", ""), ("retry", 450, "", "450"), ("give up", 0, "timeout", "timeout")],
)
def test_an_attempt_that_fails_is_an_error(then, code, trouble, error):
    made = Made()
    made.attempt(then=then, code=code, trouble=trouble)
    assert made.spans[0].error == error
    assert made.spans[0].attributes.get("waypost.delivery.code", 0) == code


def test_the_attempt_of_a_notice_has_no_parent_because_no_client_sent_it():
    made = Made()
    made.attempt(was_accepted=False)
    assert made.spans[0].parent_id == ""
    assert made.spans[0].context.trace_id == contexts.trace_of(MESSAGE_ID)


def test_a_message_that_is_not_recorded_makes_no_spans_and_the_peer_is_told():
    made = Made(ratio=1e-9)
    made.make.following(lambda _: None)(accepted())
    assert made.attempt().traceparent.endswith("-00")
    made.call()
    assert made.spans == []


def test_a_call_without_a_parent_has_a_trace_of_its_own():
    made = Made()
    made.call()
    made.call()
    assert len({span.context.trace_id for span in made.spans}) == 2
    span = made.spans[0]
    assert (span.name, span.kind, span.parent_id) == ("Connect/DescribeEmailAddress", Kind.SERVER, "")
    assert span.end - span.begin == 250_000_000
    assert span.attributes["rpc.method"] == "DescribeEmailAddress"
    assert span.attributes["aws.request_id"] == "a-request"
    assert span.attributes["waypost.call.result"] == "ok"


def test_a_call_with_a_parent_is_its_child():
    made = Made()
    made.call(traceparent=PARENT)
    (span,) = made.spans
    assert (span.context.trace_id, span.parent_id) == (TRACE_ID, SPAN_ID)
    assert span.context.span_id != SPAN_ID


def test_the_caller_decides_whether_its_trace_is_recorded():
    made = Made(ratio=1e-9)
    made.call(traceparent=PARENT)
    assert len(made.spans) == 1
    made = Made()
    made.call(traceparent=PARENT[:-2] + "00")
    assert made.spans == []


def test_a_caller_that_is_not_authenticated_decides_nothing():
    for operation in ("", "DescribeEmailAddress"):
        made = Made()
        made.call(operation=operation, status=403, traceparent=PARENT, is_authenticated=False)
        (span,) = made.spans
        assert (span.name, span.parent_id) == (f"Connect/{operation}".removesuffix("/"), "")
        assert span.context.trace_id != TRACE_ID
        assert ("rpc.method" in span.attributes) is bool(operation)
        made = Made(ratio=1e-9)
        made.call(operation=operation, status=403, traceparent=PARENT, is_authenticated=False)
        assert made.spans == []


@pytest.mark.parametrize(("status", "error"), [(200, ""), (404, ""), (429, ""), (500, "error"), (503, "unavailable")])
def test_only_a_failure_of_the_server_is_an_error(status, error):
    made = Made()
    made.call(status=status)
    assert made.spans[0].error == error


# The thread that sends spans


def a_span(number=0):
    context = contexts.of_acceptance(MESSAGE_ID, 1.0)
    return Span(name=f"span {number}", kind=Kind.SERVER, context=context, begin=1, end=2, attributes={})


class Recorded(Measures):
    def __init__(self):
        self.counts = dict.fromkeys(("sent", "failed", "dropped"), 0)

    def spans(self, result, count):
        self.counts[result] += count


class FakeExporter:
    """Takes spans as the test says. If it hangs, only `may_go_on` lets it continue."""

    def __init__(self, *, reason="", hangs=False, error=None):
        self.reason, self.error = reason, error
        self.batches = []
        self.during = lambda: None
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.is_closed = False
        if not hangs:
            self.may_go_on.set()

    def export(self, spans):
        self.has_begun.set()
        assert self.may_go_on.wait(PATIENCE)
        self.during()
        self.batches.append(len(spans))
        if self.error:
            raise self.error
        return self.reason

    def close(self):
        self.is_closed = True


class Sending:
    """A `SpanSender` with a fake exporter."""

    def __init__(self, *, every=0.001, stop_seconds=PATIENCE, **exporter):
        self.exporter = FakeExporter(**exporter)
        self.measures, self.events = Recorded(), []
        self.seconds = 0.0
        self.sender = SpanSender(
            self.exporter,
            emit=self.events.append,
            measures=self.measures,
            monotonic=lambda: self.seconds,
            every=every,
            stop_seconds=stop_seconds,
        )

    def stop(self):
        asyncio.run(self.sender.stop())

    def lost(self):
        return [(event.count, event.reason) for event in self.events if isinstance(event, events.SpansLost)]


def test_spans_are_sent_in_batches():
    sending = Sending(every=NEVER)
    for number in range(AT_ONCE + 1):
        sending.sender.add(a_span(number))
    sending.sender.start()
    sending.stop()
    assert sending.exporter.batches == [AT_ONCE, 1]
    assert sending.measures.counts == {"sent": AT_ONCE + 1, "failed": 0, "dropped": 0}
    assert sending.events == []


def test_spans_are_sent_while_the_server_runs():
    sending = Sending()
    sending.sender.start()
    sending.sender.add(a_span())
    wait_until(lambda: sending.measures.counts["sent"] == 1)
    sending.stop()


def test_a_collector_that_hangs_delays_nothing_and_spans_are_dropped():
    sending = Sending(hangs=True)
    sending.sender.start()
    sending.sender.add(a_span())
    assert sending.exporter.has_begun.wait(PATIENCE)
    for number in range(MOST_WAITING + 7):
        sending.sender.add(a_span(number))
    assert len(sending.sender._waiting) == MOST_WAITING
    sending.exporter.may_go_on.set()
    wait_until(lambda: sending.measures.counts["dropped"] == 7)
    sending.stop()
    assert sending.measures.counts == {"sent": MOST_WAITING + 1, "failed": 0, "dropped": 7}
    assert sending.lost() == [(7, "too many spans wait")]


def test_the_end_of_the_server_does_not_wait_for_a_collector_that_hangs():
    sending = Sending(hangs=True, stop_seconds=0.01)
    sending.sender.start()
    for number in range(AT_ONCE + 3):
        sending.sender.add(a_span(number))
    assert sending.exporter.has_begun.wait(PATIENCE)
    sending.stop()
    assert sending.exporter.is_closed
    assert sending.lost() == [(AT_ONCE + 3, "the server stops")]
    assert sending.sender._thread.daemon
    sending.exporter.may_go_on.set()
    sending.sender._thread.join(PATIENCE)


def test_spans_that_the_collector_does_not_take_are_counted_and_logged_once_in_a_minute():
    sending = Sending(reason="the collector cannot be reached")
    sending.sender.start()

    def lose(count):
        wanted = sending.measures.counts["failed"] + count
        for _ in range(count):
            sending.sender.add(a_span())
        wait_until(lambda: sending.measures.counts["failed"] == wanted)

    lose(1)
    wait_until(lambda: len(sending.lost()) == 1)
    lose(2)
    lose(3)
    assert len(sending.lost()) == 1
    sending.seconds = LOG_EVERY
    wait_until(lambda: len(sending.lost()) == 2)
    lose(4)
    sending.stop()
    reason = "the collector cannot be reached"
    assert sending.lost() == [(1, reason), (5, reason), (4, reason)]


def test_lost_spans_are_logged_although_new_spans_arrive_during_each_request():
    sending = Sending(reason="the collector cannot be reached")
    are_enough = threading.Event()

    def add_another():
        if not are_enough.is_set():
            sending.sender.add(a_span())

    sending.exporter.during = add_another
    sending.sender.add(a_span())
    sending.sender.start()
    wait_until(lambda: len(sending.lost()) == 1)
    wait_until(lambda: sending.measures.counts["failed"] > 10)
    assert len(sending.lost()) == 1
    sending.seconds = LOG_EVERY
    wait_until(lambda: len(sending.lost()) == 2)
    are_enough.set()
    sending.stop()
    assert sum(count for count, _ in sending.lost()) == sending.measures.counts["failed"]


def test_spans_that_are_lost_at_the_end_of_the_server_are_logged_once():
    sending = Sending(hangs=True, stop_seconds=0.01, reason="the collector cannot be reached", every=NEVER)
    for number in range(MOST_WAITING + 7):
        sending.sender.add(a_span(number))
    sending.sender.start()
    sending.stop()  # it wakes the thread
    assert sending.exporter.has_begun.wait(PATIENCE)
    sending.exporter.may_go_on.set()
    sending.sender._thread.join(PATIENCE)
    assert sending.lost() == [(MOST_WAITING + 7, "the server stops")]


def test_a_bug_does_not_end_the_thread():
    sending = Sending(error=RuntimeError("a bug"))
    sending.sender.start()
    for count in (1, 2):
        sending.sender.add(a_span())
        wait_until(lambda count=count: sending.measures.counts["failed"] == count)
    sending.stop()
    (first, *_) = [event for event in sending.events if isinstance(event, events.Failed)]
    assert first.where == "spans"


def test_the_limits_of_the_sender_are_those_in_the_documentation():
    assert (sender.SEND_EVERY, sender.STOP_SECONDS, LOG_EVERY, MOST_WAITING) == (0.5, 2.0, 60.0, 8_192)
