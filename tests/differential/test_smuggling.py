"""Waypost never splits a message at a known false end of message, nor relays a message that another server splits."""

import pytest

from tests.differential import peers, smuggling
from tests.differential.dialogues import BAD_ENDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def waypost():
    with peers.waypost() as running:
        yield running


@pytest.fixture(scope="module")
def aiosmtpd():
    with peers.aiosmtpd(tls=False) as running:
        yield running


WAYS = {
    "DATA": smuggling.by_data,
    "BDAT": lambda end: smuggling.by_bdat(end, "8BITMIME"),
    "BDAT binary": lambda end: smuggling.by_bdat(end, "BINARYMIME"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", BAD_ENDS.values(), ids=BAD_ENDS)
def test_a_message_with_a_bad_end_is_never_read_as_two(waypost, aiosmtpd, way, end):
    before = waypost.count()
    messages = smuggling.accepted(WAYS[way](end), waypost)
    assert len(messages) <= 1
    assert waypost.count() == before + len(messages)
    for raw in messages:
        assert smuggling.messages_made(raw, aiosmtpd, smuggling.relay) == 1


def test_a_bare_line_end_after_data_is_refused(waypost):
    """Waypost does not correct bare line ends, because that would break signatures, and does not relay them."""
    bare = [
        end for end in BAD_ENDS.values() if b"\r" in end.replace(b"\r\n", b"") or b"\n" in end.replace(b"\r\n", b"")
    ]
    assert len(bare) > 10
    assert [smuggling.accepted(smuggling.by_data(end), waypost) for end in bare] == [[]] * len(bare)
