"""Waypost and aiosmtpd differ in the same dialogues only where a table has the reason.

These tests play only some dialogues. `proofs/test_differential.py` plays a thousand, also to Postfix.
"""

from tests.differential import comparison, expected, peers, player
from tests.differential.dialogues import BAD_ENDS, Generator, in_data

COUNT = 60


def test_waypost_differs_from_aiosmtpd_only_as_expected():
    dialogues = Generator().dialogues(COUNT)
    with peers.waypost() as waypost:
        ours = player.play_all(dialogues, waypost)
        assert waypost.count() == sum(len(outcome.ids) for outcome in ours)
    assert max(refusals(outcome) for outcome in ours) < 15
    with peers.aiosmtpd() as aiosmtpd:
        theirs = player.play_all(dialogues, aiosmtpd)
        assert aiosmtpd.count() == sum(len(outcome.ids) for outcome in theirs)
    found = comparison.all_differences(dialogues, ours, theirs, "aiosmtpd")
    counts, unexpected = expected.sorted_out(found)
    assert not unexpected, "\n" + "\n".join(map(str, unexpected))
    assert counts


def refusals(outcome):
    """Return the number of 5xx replies. After too many of them, a server would close the connection."""
    return sum(code >= 500 for codes in [*outcome.codes, outcome.rest] for code in codes)


def test_the_same_seed_makes_the_same_dialogues():
    assert repr(Generator(7).dialogues(50)) == repr(Generator(7).dialogues(50))
    assert repr(Generator(7).dialogues(50)) != repr(Generator(8).dialogues(50))


def test_a_thousand_dialogues_contain_each_bad_end():
    said = [dialogue.rest for dialogue in Generator().dialogues(1_000)]
    assert all(any(rest.find(b"Hello." + end) >= 0 for rest in said) for end in BAD_ENDS.values())


def test_a_message_in_data_is_dot_stuffed():
    assert in_data(b".\r\n..x\r\n") == b"..\r\n...x\r\n.\r\n"


def test_an_unexpected_difference_is_reported():
    dialogue = Generator().dialogues(1)[0]
    ours = player.Outcome(codes=[[250]] * 4, rest=[250, 221])
    theirs = player.Outcome(codes=[[250], [250], [451], []], rest=[250, 221])
    (difference,) = comparison.differences(dialogue, ours, theirs, "Postfix")
    assert (difference.kind, difference.ours, difference.theirs) == ("command", 250, 451)
    assert expected.sorted_out([difference]) == ({}, [difference])


def test_the_table_has_a_line_for_each_reason():
    lines = expected.markdown().splitlines()
    assert len(lines) == 2 + len(expected.EXPECTED)
    assert all(name in line for name, line in zip(expected.EXPECTED, lines[2:], strict=True))
