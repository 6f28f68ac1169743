"""Tests that every difference between Waypost, aiosmtpd and Postfix in a thousand dialogues has a known reason.

Other tests send messages with ambiguous ends through Waypost to Postfix and Exim: one message must stay one message.
"""

import pytest

from tests.differential import comparison, expected, peers, player, smuggling
from tests.differential.dialogues import BAD_ENDS, Generator
from tests.differential.test_differential import refusals
from tests.differential.test_smuggling import WAYS
from tests.kit.mail_programs import exim, postfix

COUNT = 1_000

needs_postfix = pytest.mark.skipif(postfix.why_not() is not None, reason=str(postfix.why_not()))
needs_exim = pytest.mark.skipif(exim.why_not() is not None, reason=str(exim.why_not()))


@pytest.fixture(scope="module")
def dialogues():
    return Generator().dialogues(COUNT)


@pytest.fixture(scope="module")
def waypost():
    with peers.waypost() as running:
        yield running


@pytest.fixture(scope="module")
def postfix_peer():
    with peers.postfix_server() as running:
        yield running


@pytest.fixture(scope="module")
def exim_peer():
    with peers.exim_server() as running:
        yield running


@pytest.fixture(scope="module")
def ours(dialogues):
    with peers.waypost() as waypost:
        outcomes = player.play_all(dialogues, waypost)
        assert waypost.count() == sum(len(outcome.ids) for outcome in outcomes), "a message was stored without a reply"
    return outcomes


def differences(dialogues, ours, peer):
    theirs = player.play_all(dialogues, peer)
    assert peer.count() == sum(len(outcome.ids) for outcome in theirs)
    return comparison.all_differences(dialogues, ours, theirs, peer.name)


def judge(found, peer):
    counts, unexpected = expected.sorted_out(found)
    print(f"\n{COUNT} dialogues, {len(found)} differences from {peer}:")
    for (name, _), number in counts.most_common():
        print(f"  {number:4} {name}")
    assert not unexpected, f"{len(unexpected)} without a reason:\n" + "\n".join(map(str, unexpected[:20]))
    assert expected.dead(counts, [peer]) == []


def test_waypost_never_reads_one_message_as_two(dialogues, ours):
    """Each stored message is exactly one message that the client sent."""
    for dialogue, outcome in zip(dialogues, ours, strict=True):
        for _, message in outcome.messages:
            assert message.content in dialogue.contents, dialogue
        if dialogue.kind.startswith("end of data"):
            assert len(outcome.messages) <= 1, dialogue


def test_no_dialogue_has_so_many_errors_that_a_server_would_end_the_session(dialogues, ours):
    for dialogue, outcome in zip(dialogues, ours, strict=True):
        assert refusals(outcome) < 15, dialogue


def test_waypost_differs_from_aiosmtpd_only_for_known_reasons(dialogues, ours):
    with peers.aiosmtpd() as peer:
        judge(differences(dialogues, ours, peer), peer.name)


@needs_postfix
def test_waypost_differs_from_postfix_only_for_known_reasons(dialogues, ours):
    with peers.postfix_server() as peer:
        judge(differences(dialogues, ours, peer), peer.name)


def relayed(waypost, peer, relay):
    """Return how many messages the peer made from one, for each kind of end and each way that Waypost accepted it."""
    made = {}
    for name, end in BAD_ENDS.items():
        for way, dialogue in WAYS.items():
            for raw in smuggling.accepted(dialogue(end), waypost):
                made[name, way] = smuggling.messages_made(raw, peer, relay)
    assert made
    return made


@needs_postfix
def test_one_message_through_waypost_is_one_message_for_postfix(waypost, postfix_peer):
    made = relayed(waypost, postfix_peer, smuggling.relay)
    assert set(made.values()) == {1}, made


@needs_exim
def test_one_message_through_waypost_is_one_message_for_exim(waypost, exim_peer):
    made = relayed(waypost, exim_peer, smuggling.relay)
    assert set(made.values()) == {1}, made


@needs_postfix
def test_one_message_received_by_data_is_one_message_for_postfix_with_minimal_dot_stuffing(waypost, postfix_peer):
    """The relay adds only the dots that the standard requires. A binary message may contain any bytes."""
    made = relayed(waypost, postfix_peer, smuggling.relay_octets)
    assert {count for (_, way), count in made.items() if way != "BDAT binary"} == {1}, made
    print("\nTwo of one, if a binary message is relayed by DATA:", [key for key, count in made.items() if count != 1])


@needs_exim
def test_one_message_received_by_data_is_one_message_for_exim_with_minimal_dot_stuffing(waypost, exim_peer):
    made = relayed(waypost, exim_peer, smuggling.relay_octets)
    assert {count for (_, way), count in made.items() if way != "BDAT binary"} == {1}, made
    print("\nTwo of one, if a binary message is relayed by DATA:", [key for key, count in made.items() if count != 1])
